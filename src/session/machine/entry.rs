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
    /// The arrival of a credential that the upstream may never accept. `None` if the application
    /// or another program issued it, or if the upstream has accepted the same credential before.
    unproven_since: Option<Instant>,
    /// Whether the upstream has accepted a request with the credential.
    ///
    /// The flag publishes no other data, so `Relaxed` suffices. A rejection that races with the
    /// first acceptance may still see `false`: that one request then gets its 401.
    accepted: AtomicBool,
    /// Whether the upstream has accepted the credential after its expiry. The expiry is then wrong,
    /// or the clock is, and the expiry counts as unknown from now on.
    ///
    /// `Relaxed` suffices as well. A request that misses the store treats the credential as
    /// expired, which costs at most one refresh.
    outlived: AtomicBool,
    /// The entry to mark as outlived when a request with this one is accepted.
    expired: Option<Arc<Self>>,
}

// === impl Entry ===

impl<C: Credential> Entry<C> {
    /// Makes an entry for a credential that arrives at `arrival`. `renew_at` maps its expiry to the
    /// start of its renewal.
    ///
    /// Calls the user's `Credential::expires_at`, so never under the lock of the state.
    pub(in crate::session) fn new(
        credential: Arc<C>,
        unproven_since: Option<Instant>,
        arrival: SystemTime,
        renew_at: impl FnOnce(SystemTime) -> SystemTime,
    ) -> Self {
        let expires_at = credential.expires_at(arrival).filter(|at| *at > arrival);
        let renew_at = expires_at.map(renew_at);
        Self {
            credential,
            expires_at,
            renew_at,
            unproven_since,
            accepted: AtomicBool::new(false),
            outlived: AtomicBool::new(false),
            expired: None,
        }
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
        self.expires_at.filter(|_| !self.is_outlived())
    }

    /// Whether the credential has expired. Reads the clock only if its expiry is known.
    #[inline]
    pub(in crate::session) fn is_expired(&self, wall: impl FnOnce() -> SystemTime) -> bool {
        self.expires_at.is_some_and(|at| at <= wall() && !self.is_outlived())
    }

    pub(in crate::session) fn renew_at(&self) -> Option<SystemTime> {
        self.renew_at.filter(|_| !self.is_outlived())
    }

    /// This entry for a request that is sent although the credential has expired, so that the
    /// upstream decides.
    pub(in crate::session) fn sent_expired(self: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self {
            credential: self.credential.clone(),
            expires_at: self.expires_at,
            renew_at: self.renew_at,
            unproven_since: self.unproven_since,
            accepted: AtomicBool::new(false),
            outlived: AtomicBool::new(false),
            expired: Some(self.clone()),
        })
    }

    /// Notes that the upstream has accepted a request with this credential.
    pub(crate) fn accept(&self) {
        // The load comes first because nearly every call finds `true`. An unconditional store would
        // move the cache line between the cores with every response.
        if !self.accepted.load(Ordering::Relaxed) {
            self.accepted.store(true, Ordering::Relaxed);
            if let Some(expired) = &self.expired {
                expired.outlived.store(true, Ordering::Relaxed);
                expired.accept();
            }
        }
    }

    /// When a flight brought the credential. `None` once the upstream has accepted it, and for a
    /// credential that the session never doubts.
    pub(in crate::session) fn unproven_since(&self) -> Option<Instant> {
        self.unproven_since.filter(|_| !self.accepted.load(Ordering::Relaxed))
    }

    fn is_outlived(&self) -> bool {
        self.outlived.load(Ordering::Relaxed)
    }
}
