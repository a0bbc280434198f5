use std::time::Duration;

use tokio::time::Instant;

use crate::observe::outcome::StoreOperation;

/// The health of a store, as the operations of one observed driver find it.
#[derive(Default)]
pub(super) struct Health {
    /// For each operation, whether it failed when it was tried last. A store that is read-only
    /// still loads, and has not recovered.
    failing: [bool; 3],
    /// The first failure since no operation failed.
    failing_since: Option<Instant>,
}

/// A change of the store's health.
pub(super) enum Turn {
    Degraded,
    Recovered(Duration),
}

// === impl Health ===

impl Health {
    pub(super) fn is_failing(&self) -> bool {
        self.failing.contains(&true)
    }

    pub(super) fn turn(
        &mut self,
        operation: StoreOperation,
        has_failed: bool,
        now: Instant,
    ) -> Option<Turn> {
        self.failing[operation as usize] = has_failed;
        if self.is_failing() {
            let was_failing = self.failing_since.is_some();
            self.failing_since.get_or_insert(now);
            return (!was_failing).then_some(Turn::Degraded);
        }
        let since = self.failing_since.take()?;
        Some(Turn::Recovered(now.saturating_duration_since(since)))
    }
}
