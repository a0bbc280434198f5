use crate::issuer::FIRST_TOKEN;
use http::StatusCode;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use tokio::sync::Semaphore;

/// What a rejection says of itself.
pub(crate) const CHALLENGE: &str = "Bearer error=\"invalid_token\"";

/// An API in memory. It takes every token of the issuer, until it is told to
/// [`revoke`](Self::revoke) the first.
///
/// To the requests with a revoked token it answers once a whole herd of them has arrived, so that
/// none of them can be late: they all are rejected, together, before anything can be done about the
/// first of them.
#[derive(Clone, Debug)]
pub(crate) struct Upstream(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    takes_strangers: bool,
    revoked: AtomicBool,
    herd: usize,
    arrived: AtomicUsize,
    /// Has no permits, ever: it is closed when the herd is complete, and stays closed.
    gate: Semaphore,
}

// === impl Upstream ===

impl Upstream {
    pub(crate) fn new(herd: usize) -> Self {
        Self::with(herd, false)
    }

    /// Takes requests without a token, too, so that it can be asked without a peer.
    pub(crate) fn open() -> Self {
        Self::with(0, true)
    }

    fn with(herd: usize, takes_strangers: bool) -> Self {
        Self(Arc::new(Inner {
            takes_strangers,
            revoked: AtomicBool::new(false),
            herd,
            arrived: AtomicUsize::new(0),
            gate: Semaphore::new(0),
        }))
    }

    /// From now on, the issuer's first token is no good.
    pub(crate) fn revoke(&self) {
        self.0.revoked.store(true, Ordering::Release);
    }

    /// To a request with this `Authorization`.
    pub(crate) async fn answer(&self, authorization: &[u8]) -> StatusCode {
        let Some(token) = authorization.strip_prefix(b"Bearer ") else {
            return if self.0.takes_strangers { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
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
