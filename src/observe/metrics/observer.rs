use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::{
    cause::Cause,
    observe::{
        contract::Observer,
        event::{Event, EventKind},
        metrics::names,
        outcome::{FlightOutcome, StoreOperation},
    },
};

/// An observer that records metrics. See the [module docs](crate::observe::metrics) for their
/// names.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MetricsObserver;

// === impl MetricsObserver ===

impl MetricsObserver {
    /// An observer that records to the recorder of the program, or to that of the current thread.
    ///
    /// Describes the metrics to the recorder that is installed at the call.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "`new` describes the metrics")]
    pub fn new() -> Self {
        names::describe();
        Self
    }
}

impl Observer for MetricsObserver {
    fn on(&self, event: &Event<'_>) {
        match *event.kind() {
            EventKind::SessionCreated => gauge!(names::SESSIONS).increment(1.0),
            EventKind::SessionDropped => gauge!(names::SESSIONS).decrement(1.0),
            EventKind::SessionEvicted => counter!(names::EVICTIONS).increment(1),
            EventKind::SessionsFull { .. } => counter!(names::SESSIONS_REFUSED).increment(1),
            EventKind::LoggedIn { .. } => counter!(names::LOGINS_STARTED).increment(1),
            EventKind::LoginEnded { how, .. } => {
                counter!(names::LOGINS_ENDED, "how" => how.as_str()).increment(1);
            }
            EventKind::HookDone { duration, outcome, .. } => {
                histogram!(names::HOOK_DURATION, "outcome" => outcome.as_str()).record(duration);
            }
            EventKind::FlightSettled { cause, duration, outcome, .. } => {
                flight_settled(cause, duration, &outcome);
            }
            EventKind::RefreshHeldOff { cause, .. } => {
                counter!(names::REFRESHES_HELD_OFF, "cause" => cause.as_str()).increment(1);
            }
            EventKind::RequestRejected { late, replay, .. } => {
                let (late, replay) = (word(late), word(replay));
                counter!(names::REJECTIONS, "late" => late, "replay" => replay).increment(1);
            }
            EventKind::WaitStarted { .. } => gauge!(names::WAITERS).increment(1.0),
            EventKind::WaitEnded { duration, outcome, .. } => {
                gauge!(names::WAITERS).decrement(1.0);
                histogram!(names::WAIT_DURATION, "outcome" => outcome.as_str()).record(duration);
            }
            EventKind::RequestReplayed { .. } => counter!(names::REPLAYS).increment(1),
            EventKind::RequestNotReplayed { obstacle, .. } => {
                counter!(names::REPLAYS_IMPOSSIBLE, "reason" => obstacle.as_str()).increment(1);
            }
            EventKind::RequestRefused { error, .. } => {
                let kind = error.kind().as_str();
                counter!(names::REQUESTS_REFUSED, "kind" => kind).increment(1);
            }
            EventKind::StoreOperationDone { operation, duration, error_type, .. } => {
                store_operation_done(operation, duration, error_type);
            }
            EventKind::StoreAdopted => counter!(names::STORE_ADOPTIONS).increment(1),
            EventKind::StoreLeaseLost => counter!(names::STORE_LEASES_LOST).increment(1),
            EventKind::StoreSaveFailed { error_type, .. } => {
                counter!(names::STORE_SAVES_FAILED, "error.type" => error_type).increment(1);
            }
            EventKind::StoreDegraded { error_type, .. } => {
                counter!(names::STORE_OUTAGES, "error.type" => error_type).increment(1);
            }
            EventKind::StoreRecovered { duration } => {
                histogram!(names::STORE_OUTAGE_DURATION).record(duration);
            }
            EventKind::Replaced { .. }
            | EventKind::FlightStarted { .. }
            | EventKind::AttemptFailed { .. } => {}
        }
    }
}

fn flight_settled(cause: Cause, duration: Duration, outcome: &FlightOutcome<'_>) {
    let (cause, word) = (cause.as_str(), outcome.as_str());
    match outcome.error() {
        Some(error) => histogram!(
            names::FLIGHT_DURATION,
            "cause" => cause, "outcome" => word, "error.type" => error.kind().as_str(),
        ),
        None => histogram!(names::FLIGHT_DURATION, "cause" => cause, "outcome" => word),
    }
    .record(duration);
}

fn store_operation_done(
    operation: StoreOperation,
    duration: Duration,
    error_type: Option<&'static str>,
) {
    let op = operation.as_str();
    match error_type {
        Some(error_type) => histogram!(
            names::STORE_OPERATION_DURATION,
            "op" => op, "error.type" => error_type,
        ),
        None => histogram!(names::STORE_OPERATION_DURATION, "op" => op),
    }
    .record(duration);
}

/// A flag as the value of a label.
fn word(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}
