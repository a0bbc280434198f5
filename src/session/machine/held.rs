use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use tokio::time::Instant;

use crate::credential::contract::Credential;

/// A credential in a session, and what the session knows of it.
pub(crate) struct Held<C>(Arc<Issued<C>>);

struct Issued<C> {
    credential: Arc<C>,
    expires_at: Option<SystemTime>,
    renew_at: Option<SystemTime>,
    /// When a flight brought it; `None` for one that the application brought.
    refreshed_at: Option<Instant>,
    accepted: AtomicBool,
}

// === impl Held ===

impl<C: Credential> Held<C> {
    /// Takes a credential in. Runs the user's code, so never under the channel's lock.
    ///
    /// `renew_at` says when the renewal of one is due that expires at the given time.
    pub(in crate::session) fn new(
        credential: Arc<C>,
        refreshed_at: Option<Instant>,
        arrival: SystemTime,
        renew_at: impl FnOnce(SystemTime) -> SystemTime,
    ) -> Self {
        let expires_at = credential.expires_at().filter(|at| *at > arrival);
        let renew_at = expires_at.map(renew_at);
        let accepted = AtomicBool::new(false);
        Self(Arc::new(Issued { credential, expires_at, renew_at, refreshed_at, accepted }))
    }
}

impl<C> Held<C> {
    pub(crate) fn credential(&self) -> &Arc<C> {
        &self.0.credential
    }

    pub(in crate::session) fn expires_at(&self) -> Option<SystemTime> {
        self.0.expires_at
    }

    pub(in crate::session) fn renew_at(&self) -> Option<SystemTime> {
        self.0.renew_at
    }

    /// The same, as if it had not said when it expires.
    pub(in crate::session) fn of_unknown_expiry(&self) -> Self {
        let Issued { credential, refreshed_at, .. } = &*self.0;
        Self(Arc::new(Issued {
            credential: credential.clone(),
            expires_at: None,
            renew_at: None,
            refreshed_at: *refreshed_at,
            accepted: AtomicBool::new(false),
        }))
    }

    /// The upstream has let a request with it pass.
    pub(crate) fn accept(&self) {
        // Looked at first: a store by every request would have the cores pass the line around.
        if !self.0.accepted.load(Ordering::Relaxed) {
            self.0.accepted.store(true, Ordering::Relaxed);
        }
    }

    pub(in crate::session) fn refreshed_at(&self) -> Option<Instant> {
        self.0.refreshed_at
    }

    /// When a flight brought it, if the upstream has not accepted it since.
    pub(in crate::session) fn unproven_since(&self) -> Option<Instant> {
        self.0.refreshed_at.filter(|_| !self.0.accepted.load(Ordering::Relaxed))
    }

    /// The credential, of one that was never shared.
    pub(in crate::session) fn into_inner(self) -> Option<C> {
        Arc::into_inner(self.0).and_then(|issued| Arc::into_inner(issued.credential))
    }
}

impl<C> Clone for Held<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
