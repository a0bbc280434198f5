//! Metrics of sessions, through the facade [`metrics`](https://docs.rs/metrics).
//!
//! A [`MetricsObserver`] turns events into counters, gauges and histograms. The application
//! installs a recorder, for example that of `metrics-exporter-prometheus`. One observer may serve
//! all sessions of a program.
//!
//! ```
//! use tower_refresh::{observe::metrics::MetricsObserver, session::SessionBuilder};
//!
//! # fn f(builder: SessionBuilder) -> SessionBuilder {
//! // After the recorder is installed, so that it gets the descriptions.
//! let builder = builder.observer(MetricsObserver::new());
//! # builder }
//! ```
//!
//! The package `examples/metrics` of the repository is a whole program: it serves Prometheus' text
//! format, and tells a story that moves every metric.
//!
//! Tests and programs with a recorder of their own install it for a scope:
//!
//! ```
//! # use metrics::NoopRecorder;
//! use tower_refresh::{observe::metrics::MetricsObserver, session::SessionBuilder};
//!
//! # fn f(recorder: NoopRecorder, builder: SessionBuilder) {
//! metrics::with_local_recorder(&recorder, || {
//!     let session = builder.observer(MetricsObserver::new()).build();
//! #   drop(session);
//! });
//! # }
//! ```
//!
//! # Metrics
//!
//! The names and labels are stable. No label holds the name of a session: the number of series does
//! not grow with the number of users.
//!
//! | name | type | unit | labels | meaning |
//! |---|---|---|---|---|
//! | `tower_refresh.flight.duration` | histogram | seconds | `cause`, `outcome`, `error.type` | refreshes, from their start until the refresher is done |
//! | `tower_refresh.wait.duration` | histogram | seconds | `outcome` | waits of requests for a refresh |
//! | `tower_refresh.waiters` | gauge | requests | | requests that wait for a refresh now |
//! | `tower_refresh.rejections` | counter | requests | `late`, `replay` | requests whose credential an upstream rejected |
//! | `tower_refresh.replays` | counter | requests | | requests sent again with a newer credential |
//! | `tower_refresh.replays_impossible` | counter | requests | `reason` | rejected requests whose body could not be sent again |
//! | `tower_refresh.requests.refused` | counter | requests | `kind` | requests that failed with an error of the session |
//! | `tower_refresh.refreshes.held_off` | counter | refreshes | `cause` | refreshes that were due and did not start |
//! | `tower_refresh.sessions` | gauge | sessions | | sessions in memory now |
//! | `tower_refresh.evictions` | counter | sessions | | sessions that a registry forgot for others |
//! | `tower_refresh.sessions_refused` | counter | sessions | | sessions for which a registry had no place |
//! | `tower_refresh.logins.started` | counter | logins | | logins |
//! | `tower_refresh.logins.ended` | counter | logins | `how` | logins that ended |
//! | `tower_refresh.hook.duration` | histogram | seconds | `outcome` | hooks of ended logins |
//! | `tower_refresh.store.operation.duration` | histogram | seconds | `op`, `error.type` | operations of stores |
//! | `tower_refresh.store.adoptions` | counter | credentials | | credentials taken over from another process |
//! | `tower_refresh.store.saves.failed` | counter | saves | `error.type` | saves that failed several times |
//! | `tower_refresh.store.leases.lost` | counter | leases | | leases lost to another process |
//! | `tower_refresh.store.outages` | counter | outages | `error.type` | times that a store began to fail |
//! | `tower_refresh.store.outage.duration` | histogram | seconds | | outages of stores that are over |
//!
//! | label | values |
//! |---|---|
//! | `cause` | `rejected`, `expiring`, `missing`, `forced` ([`Cause`](crate::refresher::Cause)) |
//! | `outcome` of a flight | `renewed`, `failed`, `refused`, `fenced` ([`FlightOutcome`](crate::observe::FlightOutcome)) |
//! | `outcome` of a wait | `released`, `failed`, `dropped` ([`WaitOutcome`](crate::observe::WaitOutcome)) |
//! | `outcome` of a hook | `completed`, `panicked`, `cancelled` ([`HookOutcome`](crate::observe::HookOutcome)) |
//! | `error.type` of a flight | `terminal`, `transient`, `ambiguous` ([`RefreshErrorKind`](crate::RefreshErrorKind)); absent after a success |
//! | `error.type` of a store | the words of `store::StoreErrorKind`, such as `unavailable` or `timed_out`; absent after a success |
//! | `late` | `true` if a newer credential had arrived before the rejection |
//! | `replay` | `true` if the upstream rejected a replay, which carried the newest credential |
//! | `reason` | `marked`, `uploading`, `unrecorded` ([`ReplayObstacle`](crate::observe::ReplayObstacle)) |
//! | `kind` | the words of [`ErrorKind`](crate::ErrorKind), such as `logged_out` or `overloaded` |
//! | `how` | `refused`, `logout`, `replaced`, `idle`, `lifetime` ([`LoginEnding`](crate::observe::LoginEnding)) |
//! | `op` | `load`, `swap`, `lease` ([`StoreOperation`](crate::observe::StoreOperation)) |
//!
//! A histogram counts as well: the number of refreshes is that of `tower_refresh.flight.duration`.
//!
//! The gauges are counted up and down. A recorder that forgets a gauge which has not changed for a
//! while counts from zero again, and gets below it: `PrometheusBuilder::idle_timeout` needs a mask
//! without gauges.
//!
//! # Alerts
//!
//! Prometheus writes a name with `_` in place of `.`. The expressions work for histograms with
//! buckets and for summaries. They have the names that `PrometheusBuilder` gives by default. With
//! `with_recommended_naming(true)`, a duration ends with `_seconds`, as in
//! `tower_refresh_flight_duration_seconds_count`, and a counter with `_total`.
//!
//! Refreshes fail: more than half of them within five minutes.
//!
//! ```promql
//! sum(rate(tower_refresh_flight_duration_count{outcome="failed"}[5m]))
//!   / sum(rate(tower_refresh_flight_duration_count[5m])) > 0.5
//! ```
//!
//! Logins end: an auth server refuses what it accepted before, and users have to log in again.
//!
//! ```promql
//! sum(increase(tower_refresh_logins_ended{how="refused"}[10m])) > 10
//! ```
//!
//! Waiters pile up: the auth server is slow, and requests have waited for a whole minute.
//!
//! ```promql
//! sum(min_over_time(tower_refresh_waiters[1m])) > 50
//! ```
//!
//! An upstream rejects new tokens: its clock, its keys or the audience of the tokens is wrong. A
//! token may be revoked right after its refresh, so a few rejections are normal. The thresholds are
//! a tenth of the replays, and ten rejections in five minutes that started no refresh.
//!
//! ```promql
//! sum(rate(tower_refresh_rejections{replay="true"}[5m]))
//!   / sum(rate(tower_refresh_replays[5m])) > 0.1
//!   or sum(increase(tower_refresh_refreshes_held_off{cause="rejected"}[5m])) > 10
//! ```

mod names;
mod observer;

pub use observer::MetricsObserver;
