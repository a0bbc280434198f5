//! Spans and events of sessions, through the facade [`tracing`](https://docs.rs/tracing).
//!
//! ```
//! use tower_refresh::{Refresher, Session, Token, observe::tracing::TracingObserver};
//!
//! # fn build(refresher: impl Refresher, token: Token) -> Session {
//! let observer = TracingObserver::new();
//! let session = Session::builder(observer.instrument_refresher(refresher))
//!     .name("billing")
//!     .credential(token)
//!     .observer(observer)
//!     .build();
//! # session }
//! ```
//!
//! [`TracingObserver::instrument_refresher`] is optional. The refresher then runs inside the span
//! of its flight, so that the spans of its HTTP client are children of it:
//!
//! ```
//! use tower_refresh::{RefreshContext, RefreshError, Token, observe::tracing::TracingObserver, refresher_fn};
//!
//! # async fn fetch() -> Result<Token, RefreshError> { unimplemented!() }
//! let observer = TracingObserver::new();
//! let refresher = observer.instrument_refresher(refresher_fn(|_: RefreshContext| async {
//!     tracing::debug!("inside of the span `refresh`");
//!     fetch().await
//! }));
//! # let _session = tower_refresh::Session::<Token>::builder(refresher).build();
//! ```
//!
//! # The span of a flight
//!
//! Each flight has a span `refresh` of the target `tower_refresh::flight` and the level `INFO`. A
//! flight outlives the request that causes it, so its span is no child of the request's span: it
//! [follows from](::tracing::Span::follows_from) it. The span closes when the flight has settled.
//!
//! | field | value |
//! |---|---|
//! | `session.name` | the name of the session, if it has one |
//! | `flight` | the number of the flight in its session |
//! | `login`, `generation` | the login, and the credential to replace |
//! | `cause` | `rejected`, `expiring`, `missing`, `forced` |
//! | `awaited` | whether requests wait from the start |
//! | `outcome` | `renewed`, `failed`, `refused`, `fenced`; recorded at the end |
//! | `error.type` | `terminal`, `transient`, `ambiguous`; recorded after a failure |
//!
//! # A request that waits
//!
//! The event `waited for a refresh` is in the current span: the request's own, where a layer around
//! the [`RefreshLayer`](crate::RefreshLayer) has one. Its field `wait` has the seconds. If the span
//! declares a field `tower_refresh.wait`, the observer records the seconds there as well.
//!
//! # Events
//!
//! Targets, levels, messages and field names are stable.
//!
//! | target | level | message | fields |
//! |---|---|---|---|
//! | `tower_refresh::flight` | `DEBUG` after a success, and after a failure that is not the first in a row; `WARN` after the first one and after a refusal | `refresh settled` | `outcome`, `duration`, `waiters`, `error.type`, `error`, `in_a_row`, `backoff` |
//! | | `DEBUG` | `attempt failed` | `attempt`, `pause`, `error.type`, `error` |
//! | | `DEBUG` | `refresh held off` | `cause`, `wait` |
//! | `tower_refresh::request` | `DEBUG` | `credential rejected` | `generation`, `late`, `replay` |
//! | | `DEBUG` | `waits for a refresh` | `flight`, `waiters` |
//! | | `DEBUG` | `waited for a refresh` | `flight`, `outcome`, `wait` |
//! | | `DEBUG` | `request replayed` | `generation` |
//! | | `DEBUG` | `request not replayed` | `generation`, `reason` |
//! | | `DEBUG` | `request refused` | `kind`, `error` |
//! | `tower_refresh::login` | `DEBUG` | `logged in` | `login` |
//! | | `DEBUG` | `credential replaced` | `login`, `generation` |
//! | | `WARN` after a refusal, else `DEBUG` | `login ended` | `login`, `how`, `error` |
//! | | `WARN` after a panic, else `DEBUG` | `logout hook done` | `login`, `outcome`, `duration` |
//! | `tower_refresh::session` | `TRACE` | `session created`, `session dropped` | |
//! | | `DEBUG` | `session evicted` | |
//! | | `DEBUG` | `registry full` | `capacity` |
//! | `tower_refresh::store` | `TRACE` | `store operation done` | `op`, `duration`, `error.type`, `error` |
//! | | `DEBUG` | `credential adopted` | |
//! | | `WARN` | `lease lost` | |
//! | | `ERROR` | `save failed` | `error.type`, `error` |
//! | | `WARN` | `store degraded` | `error.type`, `error` |
//! | | `INFO` | `store recovered` | `duration` |
//!
//! Every event has the field `session.name` if the session has a name. `duration`, `wait`, `pause`
//! and `backoff` are seconds. `error` is the error with its sources.

mod instrumented;
mod observer;
mod spans;

pub use instrumented::Instrumented;
pub use observer::TracingObserver;
