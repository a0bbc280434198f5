use std::{
    any::Any,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::sync::Semaphore;

use crate::issuer::FIRST_TOKEN;

/// The `WWW-Authenticate` of a rejection.
pub(crate) const CHALLENGE: &str = "Bearer error=\"invalid_token\"";

/// The token of another user, who logs in while a refresh runs.
pub(crate) const ANOTHER_USER: &str = "bobs-token";

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
    /// All tokens are rejected, new ones too.
    rejects_all: AtomicBool,
    /// The last request of the herd gets its rejection when this semaphore is closed.
    late: Option<Semaphore>,
    /// Requests with a token of another user, or with any token after a logout.
    strays: AtomicUsize,
    is_logged_out: AtomicBool,
    /// The content of each accepted upload.
    uploads: Mutex<Vec<Bytes>>,
    /// The bodies of rejected uploads. They stay open and unread, as on a connection.
    unread: Mutex<Vec<Box<dyn Any + Send>>>,
}

// === impl Upstream ===

impl Upstream {
    pub(crate) fn new(herd: usize) -> Self {
        Self::with(herd, false, false)
    }

    /// An upstream that rejects the last request of the herd [later](Self::release) than the
    /// others.
    pub(crate) fn with_late_rejection(herd: usize) -> Self {
        Self::with(herd, false, true)
    }

    /// An upstream that also accepts requests without a token, for clients without a peer.
    pub(crate) fn open() -> Self {
        Self::with(0, true, false)
    }

    fn with(herd: usize, accepts_anonymous: bool, has_late: bool) -> Self {
        Self(Arc::new(Inner {
            accepts_anonymous,
            revoked: AtomicBool::new(false),
            herd,
            arrived: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            rejects_all: AtomicBool::new(false),
            late: has_late.then(|| Semaphore::new(0)),
            strays: AtomicUsize::new(0),
            is_logged_out: AtomicBool::new(false),
            uploads: Mutex::default(),
            unread: Mutex::default(),
        }))
    }

    /// Revokes the first token.
    pub(crate) fn revoke(&self) {
        self.0.revoked.store(true, Ordering::Release);
    }

    /// Rejects every token from now on.
    pub(crate) fn reject_all(&self) {
        self.0.rejects_all.store(true, Ordering::Release);
    }

    /// Sends the late rejection.
    pub(crate) fn release(&self) {
        if let Some(late) = &self.0.late {
            late.close();
        }
    }

    /// Counts every request with a token from now on as a [stray](Self::strays).
    pub(crate) fn log_out(&self) {
        self.0.is_logged_out.store(true, Ordering::Release);
    }

    /// The number of requests that came with a token of [another user](ANOTHER_USER), or after the
    /// logout.
    pub(crate) fn strays(&self) -> usize {
        self.0.strays.load(Ordering::Relaxed)
    }

    /// The content of the accepted uploads since the last call.
    pub(crate) fn take_uploads(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.0.uploads.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The status for an upload with this `Authorization`. A rejection comes after the first frame,
    /// and the rest of the body is never read.
    pub(crate) async fn respond_to_upload<B>(&self, authorization: &[u8], body: B) -> StatusCode
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let mut body = Box::pin(body);
        let first = match body.frame().await {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(_)) => return StatusCode::BAD_REQUEST,
            None => Bytes::new(),
        };
        let status = self.respond(authorization).await;
        if status != StatusCode::OK {
            self.0.unread.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(body));
            return status;
        }
        let Ok(rest) = body.collect().await else { return StatusCode::BAD_REQUEST };
        let content = [first, rest.to_bytes()].concat().into();
        self.0.uploads.lock().unwrap_or_else(PoisonError::into_inner).push(content);
        status
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
        let is_foreign = token == ANOTHER_USER.as_bytes();
        if is_foreign || self.0.is_logged_out.load(Ordering::Acquire) {
            self.0.strays.fetch_add(1, Ordering::Relaxed);
        }
        if self.0.revoked.load(Ordering::Acquire) && token == FIRST_TOKEN.as_bytes() {
            self.wait_for_the_herd().await;
            return StatusCode::UNAUTHORIZED;
        }
        if self.0.rejects_all.load(Ordering::Acquire) {
            return StatusCode::UNAUTHORIZED;
        }
        StatusCode::OK
    }

    async fn wait_for_the_herd(&self) {
        if self.0.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.0.herd {
            self.0.gate.close();
            if let Some(late) = &self.0.late {
                let closed = late.acquire().await;
                debug_assert!(closed.is_err(), "the gate has no permits");
            }
        }
        let closed = self.0.gate.acquire().await;
        debug_assert!(closed.is_err(), "the gate has no permits");
    }
}
