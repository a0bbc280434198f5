use tokio::time::{self, Instant};

use crate::{
    observe::{event::EventKind, outcome::StoreOperation},
    store::{
        error::StoreError,
        stored::{desk::Desk, health::Turn},
    },
};

// === impl Desk ===

impl<C> Desk<C> {
    pub(super) fn report(&self, kind: EventKind<'_>) {
        let reporter = self.state().operations().reporter.clone();
        if let Some(reporter) = reporter {
            reporter.report(kind);
        }
    }

    /// Runs an operation of the store within its deadline, and tells the session's observers of
    /// it.
    ///
    /// # Cancel safety
    ///
    /// An operation that is dropped is not reported.
    pub(super) async fn within<T>(
        &self,
        operation: StoreOperation,
        run: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let is_observed = self.state().operations().reporter.is_some();
        let started = is_observed.then(Instant::now);
        let result = time::timeout(self.settings.operation_timeout, run).await;
        let result = result.unwrap_or_else(|_| Err(StoreError::timed_out()));
        if let Some(started) = started {
            self.report_done(operation, started, result.as_ref().err());
        }
        result
    }

    fn report_done(&self, operation: StoreOperation, started: Instant, error: Option<&StoreError>) {
        let now = Instant::now();
        let turn = self.state().operations().health.turn(operation, error.is_some(), now);
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
}
