//! Counters of the requests that reached the servers.

use std::{ops::Sub, sync::Arc};

use tokio::sync::watch;

/// The counters. The servers keep them, because a client cannot prove what it sent.
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

/// A shared handle on the counters.
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
        // Fails only without a sender, and `self` holds the sender.
        drop(self.traffic.subscribe().wait_for(|traffic| condition(traffic)).await);
    }
}

impl Traffic {
    /// The number of connections and requests.
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
