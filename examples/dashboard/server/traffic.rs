//! What the servers saw.

use std::{ops::Sub, sync::Arc};

use tokio::sync::watch;

/// Counters, all from the servers' point of view: what a client says of itself proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) connections: usize,
    pub(crate) api_requests: usize,
    pub(crate) api_rejections: usize,
    pub(crate) auth_requests: usize,
    pub(crate) refreshes: usize,
    pub(crate) refreshes_refused: usize,
    pub(crate) logouts: usize,
}

/// A handle on the one set of counters.
#[derive(Clone, Default)]
pub(crate) struct Meter {
    traffic: Arc<watch::Sender<Traffic>>,
}

impl Meter {
    pub(crate) fn count(&self, step: impl FnOnce(&mut Traffic)) {
        self.traffic.send_modify(step);
    }

    pub(crate) fn traffic(&self) -> Traffic {
        *self.traffic.borrow()
    }

    pub(crate) async fn wait_for(&self, condition: impl Fn(&Traffic) -> bool) {
        // Fails only when the sender is gone, and `self` has it.
        drop(self.traffic.subscribe().wait_for(|traffic| condition(traffic)).await);
    }
}

impl Traffic {
    /// Anything at all that came over the network.
    pub(crate) fn total(&self) -> usize {
        self.connections + self.api_requests + self.auth_requests
    }
}

impl Sub for Traffic {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            connections: self.connections - before.connections,
            api_requests: self.api_requests - before.api_requests,
            api_rejections: self.api_rejections - before.api_rejections,
            auth_requests: self.auth_requests - before.auth_requests,
            refreshes: self.refreshes - before.refreshes,
            refreshes_refused: self.refreshes_refused - before.refreshes_refused,
            logouts: self.logouts - before.logouts,
        }
    }
}
