use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use http::StatusCode;
use tokio::sync::Semaphore;

use crate::issuer::FIRST_TOKEN;

/// The `WWW-Authenticate` of a rejection.
pub(crate) const CHALLENGE: &str = "Bearer error=\"invalid_token\"";

/// An API in memory. It accepts every token of the issuer, except a
/// [revoked](Self::revoke) first one.
///
/// Requests with the revoked token are rejected together, once a whole herd of them has arrived. No
/// rejection can therefore be late.
#[derive(Clone, Debug)]
pub(crate) struct Upstream(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    accepts_anonymous: bool,
    revoked: AtomicBool,
    herd: usize,
    arrived: AtomicUsize,
    /// A semaphore without permits. It is closed when the herd is complete.
    gate: Semaphore,
}

// === impl Upstream ===

impl Upstream {
    pub(crate) fn new(herd: usize) -> Self {
        Self::with(herd, false)
    }

    /// An upstream that also accepts requests without a token, for clients without a peer.
    pub(crate) fn open() -> Self {
        Self::with(0, true)
    }

    fn with(herd: usize, accepts_anonymous: bool) -> Self {
        Self(Arc::new(Inner {
            accepts_anonymous,
            revoked: AtomicBool::new(false),
            herd,
            arrived: AtomicUsize::new(0),
            gate: Semaphore::new(0),
        }))
    }

    /// Revokes the first token.
    pub(crate) fn revoke(&self) {
        self.0.revoked.store(true, Ordering::Release);
    }

    /// The status for a request with this `Authorization`.
    pub(crate) async fn respond(&self, authorization: &[u8]) -> StatusCode {
        let Some(token) = authorization.strip_prefix(b"Bearer ") else {
            return if self.0.accepts_anonymous {
                StatusCode::OK
            } else {
                StatusCode::UNAUTHORIZED
            };
        };
        if self.0.revoked.load(Ordering::Acquire) && token == FIRST_TOKEN.as_bytes() {
            self.wait_for_the_herd().await;
            return StatusCode::UNAUTHORIZED;
        }
        StatusCode::OK
    }

    async fn wait_for_the_herd(&self) {
        if self.0.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.0.herd {
            self.0.gate.close();
        }
        let closed = self.0.gate.acquire().await;
        debug_assert!(closed.is_err(), "the gate has no permits");
    }
}
