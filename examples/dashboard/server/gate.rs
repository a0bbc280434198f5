//! A barrier that makes requests concurrent without a sleep.

use tokio::sync::watch;

/// Holds answers back until a given number of them has arrived, then lets them all pass and stays
/// open.
///
/// On loopback the first rejection could return, and the refresh end, before the last request is
/// sent. Across a real network that cannot happen. The gate stands in for the network's delay.
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

    /// Opens the gate, however many answers are missing.
    pub(crate) fn open_now(&self) {
        self.missing.send_replace(0);
    }

    pub(crate) async fn pass(&self) {
        let mut missing = self.missing.subscribe();
        // Wakes the waiting answers once, at the end. Waking them at each step would take time
        // quadratic in their number.
        self.missing.send_if_modified(|missing| {
            *missing = missing.saturating_sub(1);
            *missing == 0
        });
        // Fails only without a sender, and `self` holds the sender.
        drop(missing.wait_for(|missing| *missing == 0).await);
    }
}
