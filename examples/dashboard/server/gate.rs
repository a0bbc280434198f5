//! Makes "at once" mean it, without a sleep.

use tokio::sync::watch;

/// Holds answers back until a given number of them is there, then lets them all go and stays open.
///
/// On loopback the first rejection could be back, and the refresh over, before the last request has
/// left. Across a real network it could not. The gate stands in for the distance.
pub(crate) struct Gate {
    missing: watch::Sender<usize>,
}

impl Gate {
    pub(crate) fn open() -> Self {
        Self { missing: watch::Sender::new(0) }
    }

    pub(crate) fn close_until(&self, answers: usize) {
        self.missing.send_replace(answers);
    }

    /// Opens it, whoever is missing.
    pub(crate) fn let_go(&self) {
        self.missing.send_replace(0);
    }

    pub(crate) async fn pass(&self) {
        let mut missing = self.missing.subscribe();
        // Wakes everybody once, at the end: to wake them at each step costs the square of their
        // number.
        self.missing.send_if_modified(|missing| {
            *missing = missing.saturating_sub(1);
            *missing == 0
        });
        // Fails only when the sender is gone, and `self` has it.
        drop(missing.wait_for(|missing| *missing == 0).await);
    }
}
