use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use tokio::time::Instant;

use crate::credential::contract::Credential;

/// A credential in a session, with the session's own record of it: expiry, renewal, acceptance.
pub(crate) struct Entry<C> {
    credential: Arc<C>,
    expires_at: Option<SystemTime>,
    renew_at: Option<SystemTime>,
    /// When a flight brought the credential. `None` if the application did.
    refreshed_at: Option<Instant>,
    /// Whether the upstream has accepted a request with the credential.
    ///
    /// The flag publishes no other data, so `Relaxed` suffices. A rejection that races with the
    /// first acceptance may still see `false`: that one request then gets its 401.
    accepted: AtomicBool,
}

// === impl Entry ===

impl<C: Credential> Entry<C> {
    /// Makes an entry for a credential that arrives at `arrival`. `renew_at` maps its expiry to the
    /// start of its renewal.
    ///
    /// Calls the user's `Credential::expires_at`, so never under the lock of the state.
    pub(in crate::session) fn new(
        credential: Arc<C>,
        refreshed_at: Option<Instant>,
        arrival: SystemTime,
        renew_at: impl FnOnce(SystemTime) -> SystemTime,
    ) -> Self {
        let expires_at = credential.expires_at().filter(|at| *at > arrival);
        let renew_at = expires_at.map(renew_at);
        Self { credential, expires_at, renew_at, refreshed_at, accepted: AtomicBool::new(false) }
    }
}

impl<C> Entry<C> {
    pub(crate) fn credential(&self) -> &Arc<C> {
        &self.credential
    }

    pub(in crate::session) fn into_credential(self) -> Arc<C> {
        self.credential
    }

    pub(in crate::session) fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    pub(in crate::session) fn renew_at(&self) -> Option<SystemTime> {
        self.renew_at
    }

    /// A fresh entry for this credential, without its expiry.
    pub(in crate::session) fn of_unknown_expiry(&self) -> Self {
        Self {
            credential: self.credential.clone(),
            expires_at: None,
            renew_at: None,
            refreshed_at: self.refreshed_at,
            accepted: AtomicBool::new(false),
        }
    }

    /// Notes that the upstream has accepted a request with this credential.
    pub(crate) fn accept(&self) {
        // The load comes first because nearly every call finds `true`. An unconditional store would
        // move the cache line between the cores with every response.
        if !self.accepted.load(Ordering::Relaxed) {
            self.accepted.store(true, Ordering::Relaxed);
        }
    }

    pub(in crate::session) fn refreshed_at(&self) -> Option<Instant> {
        self.refreshed_at
    }

    /// When a flight brought the credential. `None` once the upstream has accepted it.
    pub(in crate::session) fn unproven_since(&self) -> Option<Instant> {
        self.refreshed_at.filter(|_| !self.accepted.load(Ordering::Relaxed))
    }
}
