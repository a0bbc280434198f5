//! Observers: what happens in a session, as it happens.
//!
//! A [`Watcher`](crate::session::Watcher) shows the newest state and skips what was in between. An
//! [`Observer`] is told of every event: each flight and how it settled, each rejected request, each
//! wait, each login and its end.
//!
//! ```
//! use tower_refresh::{
//!     RefreshContext, RefreshError, Session, Token,
//!     observe::{Event, EventKind, observer_fn},
//!     refresher_fn,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let refresher = refresher_fn(|_: RefreshContext| async { Ok(Token::bearer("at-2")?) });
//! let session = Session::builder(refresher)
//!     .name("billing")
//!     .credential(Token::bearer("at-1")?)
//!     .observer(observer_fn(|event: &Event<'_>| match event.kind() {
//!         EventKind::FlightSettled { outcome, duration, .. } => {
//!             println!("{:?}: {} after {duration:?}", event.session_name(), outcome.as_str());
//!         }
//!         EventKind::LoginEnded { how, .. } => println!("logged out: {}", how.as_str()),
//!         _ => {}
//!     }))
//!     .build();
//! session.refresh().await?;
//! # Ok(()) }
//! ```
//!
//! An observer with state is a type of its own. This one counts for a status page:
//!
//! ```
//! use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
//! use tower_refresh::observe::{Event, EventKind, Observer};
//!
//! #[derive(Default)]
//! struct Rejections(AtomicU64);
//!
//! impl Observer for Rejections {
//!     fn on(&self, event: &Event<'_>) {
//!         if let EventKind::RequestRejected { late: false, .. } = event.kind() {
//!             self.0.fetch_add(1, Ordering::Relaxed);
//!         }
//!     }
//! }
//!
//! # use tower_refresh::session::SessionBuilder;
//! # fn f(builder: SessionBuilder) -> SessionBuilder {
//! let rejections = Arc::new(Rejections::default());
//! let builder = builder.observer(rejections.clone()); // the status page keeps the other handle
//! # builder }
//! ```
//!
//! The tests of an observer make events by [`testing::events`](crate::testing::events).
//!
//! Two observers are ready to use: `metrics::MetricsObserver` with the feature `metrics`, and
//! `tracing::TracingObserver` with the feature `tracing`.
//!
//! # The order of events
//!
//! - Each flight has one [`FlightStarted`] and later one [`FlightSettled`]: after a success, a
//!   failure, a time-out, a panic of the refresher, or the end of its runtime. A flight that a
//!   login, a logout or a replacement has overtaken settles when its refresher is done.
//! - Each [`WaitStarted`] has one later [`WaitEnded`], also if the caller drops the request.
//! - A rejection is reported before the flight that it starts.
//! - A refusal is reported as a [`FlightSettled`], then as a [`LoginEnded`].
//! - A [`FlightSettled`] comes after the wake-up of the waiters, so that a slow observer delays
//!   none of them. Events of the released requests may come first.
//! - Events of different tasks come in no other order, and may come at the same time.
//!
//! [`FlightSettled`]: EventKind::FlightSettled
//! [`FlightStarted`]: EventKind::FlightStarted
//! [`LoginEnded`]: EventKind::LoginEnded
//! [`WaitEnded`]: EventKind::WaitEnded
//! [`WaitStarted`]: EventKind::WaitStarted
//!
//! # The cost of a slow observer
//!
//! The task that causes an event calls the observer, outside every lock of the session. An observer
//! that takes 100 milliseconds delays that task, and what comes after in it: a request that is
//! rejected or waits, the start of a flight, or the start of a hook. Tasks that wait for the flight
//! or for the hook are late as well.
//!
//! A call of an observer is synchronous. An observer that blocks also blocks the worker thread of
//! the runtime, and with it every other task of a current-thread runtime. An observer that has to
//! do I/O hands what it needs of the event to a channel.
//!
//! A request with a usable credential causes no event, unless it starts a renewal. It costs the
//! same with and without an observer.
//!
//! # Calls from an observer
//!
//! An observer may call the session: log out, read the state, start a refresh. Events that such a
//! call causes are reported within it, before `on` has returned. An observer that holds a lock of
//! its own during the call therefore deadlocks, and one that logs in at each
//! [`LoggedIn`](EventKind::LoggedIn) never ends. An observer that owns a
//! [`Session`](crate::Session) is a reference cycle; it keeps a
//! [`WeakSession`](crate::session::WeakSession) instead.
//!
//! An event of a flight is reported by the flight's own task. Session methods that wait for the
//! flight fail there (guarantee 11 of the [session](crate::session#guarantees)).

pub(crate) mod contract;
pub(crate) mod event;
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub mod metrics;
pub(crate) mod observer_fn;
pub(crate) mod observers;
pub(crate) mod outcome;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub mod tracing;

pub use contract::Observer;
pub use event::{Event, EventKind};
pub use observer_fn::{ObserverFn, observer_fn};
pub use outcome::{
    FlightOutcome, HookOutcome, LoginEnding, ReplayObstacle, StoreOperation, WaitOutcome,
};
