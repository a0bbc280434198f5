use std::sync::{Arc, Weak};

use tokio::sync::{Notify, watch};

use crate::{
    identity::Login,
    observe::observers::Reporter,
    store::{
        error::StoreError,
        stored::{health::Health, lease::Lease},
    },
};

/// The state that the running operations of a driver share: refreshes, logins, leases, saves. A
/// driver at rest has none, and takes little memory.
#[derive(Default)]
pub(super) struct Operations {
    pub(super) running: usize,
    /// `None` where the session has no observer.
    pub(super) reporter: Option<Reporter>,
    pub(super) health: Health,
    /// How many logins by the handle have begun, and how many of them are being saved.
    pub(super) logins: u64,
    pub(super) logging_in: u32,
    /// How many logouts by the handle there were.
    pub(super) logouts: u64,
    /// The login whose refresh brought the credential that is being saved.
    pub(super) rotated: Option<Login>,
    /// How many refreshes and logouts wait for the saver.
    pub(super) attended: u32,
    pub(super) is_saving: bool,
    /// The failed attempts since something was saved last.
    pub(super) failures: u32,
    /// All failed attempts.
    pub(super) failed: u64,
    pub(super) save_error: Option<StoreError>,
    /// Kept while something is unsaved.
    pub(super) kept_lease: Option<Arc<Lease>>,
    pub(super) lease: Weak<Lease>,
    /// Shared by the saver and by all that wait for it.
    pub(super) signal: Arc<Signal>,
}

/// The signals between a saver and those that wait for it.
pub(super) struct Signal {
    /// Changes after each attempt to save.
    pub(super) progress: watch::Sender<()>,
    /// Ends the saver's pause between two attempts.
    pub(super) poke: Notify,
}

// === impl Operations ===

impl Operations {
    /// Whether nothing is lost if the driver forgets this. A store that fails is to recover once.
    pub(super) fn are_over(&self) -> bool {
        self.running == 0 && !self.health.is_failing()
    }

    /// Forgets the save. Returns the lease that was kept for it and its last error, to be dropped
    /// outside of the lock.
    pub(super) fn rest(&mut self) -> (Option<Arc<Lease>>, Option<StoreError>) {
        self.failures = 0;
        self.rotated = None;
        (self.kept_lease.take(), self.save_error.take())
    }
}

// === impl Signal ===

impl Default for Signal {
    fn default() -> Self {
        Self { progress: watch::Sender::new(()), poke: Notify::new() }
    }
}
