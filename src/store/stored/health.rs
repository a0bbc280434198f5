use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{self, Instant};

use crate::{
    observe::{event::EventKind, observers::Reporter, outcome::StoreOperation},
    store::error::StoreError,
};

/// Runs the operations of one driver's store within their deadline, and tells the session's
/// observers of them.
pub(super) struct Health(Mutex<HealthState>);

struct HealthState {
    /// `None` until the driver knows its session.
    reporter: Option<Reporter>,
    /// For each operation, whether it failed when it was tried last. A store that is read-only
    /// still loads, and has not recovered.
    failing: [bool; 3],
    /// The first failure since no operation failed.
    failing_since: Instant,
}

/// A change of the store's health.
enum Turn {
    Degraded,
    Recovered(Duration),
}

// === impl Health ===

impl Health {
    pub(super) fn new() -> Self {
        let failing_since = Instant::now();
        Self(Mutex::new(HealthState { reporter: None, failing: [false; 3], failing_since }))
    }

    /// Reports to the observers of this session from now on.
    pub(super) fn observe(&self, reporter: Option<Reporter>) {
        if let Some(reporter) = reporter {
            let displaced = self.state().reporter.replace(reporter);
            // Outside of the lock: this may be the last handle of an observer.
            drop(displaced);
        }
    }

    pub(super) fn report(&self, kind: EventKind<'_>) {
        let reporter = self.state().reporter.clone();
        if let Some(reporter) = reporter {
            reporter.report(kind);
        }
    }

    /// Runs an operation of the store, for at most as long as `limit`.
    ///
    /// # Cancel safety
    ///
    /// An operation that is dropped is not reported.
    pub(super) async fn within<T>(
        &self,
        operation: StoreOperation,
        limit: Duration,
        run: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = self.state().reporter.is_some().then(Instant::now);
        let result = time::timeout(limit, run).await;
        let result = result.unwrap_or_else(|_| Err(StoreError::timed_out()));
        if let Some(started) = started {
            self.report_done(operation, started, result.as_ref().err());
        }
        result
    }

    fn report_done(&self, operation: StoreOperation, started: Instant, error: Option<&StoreError>) {
        let now = Instant::now();
        let turn = self.state().turn(operation, error.is_some(), now);
        self.report(EventKind::StoreOperationDone {
            operation,
            duration: now.saturating_duration_since(started),
            error: error.map(StoreError::as_dyn),
            error_type: error.map(|error| error.kind().as_str()),
        });
        match (turn, error) {
            (Some(Turn::Degraded), Some(error)) => self.report(EventKind::StoreDegraded {
                error: error.as_dyn(),
                error_type: error.kind().as_str(),
            }),
            (Some(Turn::Recovered(duration)), _) => {
                self.report(EventKind::StoreRecovered { duration });
            }
            _ => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, HealthState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl HealthState ===

impl HealthState {
    fn turn(&mut self, operation: StoreOperation, has_failed: bool, now: Instant) -> Option<Turn> {
        let was_failing = self.failing.contains(&true);
        self.failing[operation as usize] = has_failed;
        match (was_failing, self.failing.contains(&true)) {
            (false, true) => {
                self.failing_since = now;
                Some(Turn::Degraded)
            }
            (true, false) => {
                Some(Turn::Recovered(now.saturating_duration_since(self.failing_since)))
            }
            _ => None,
        }
    }
}
