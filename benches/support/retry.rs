use std::future::{Ready, ready};

use http::{Request, Response, StatusCode};
use tower::retry::Policy;

/// A policy that replays a request once after a 401. It keeps a clone of every request. Over
/// `AddAuthorization`, it is the usual stack without this crate.
#[derive(Clone, Debug)]
pub(crate) struct CloneAndRetry {
    left: usize,
}

// === impl CloneAndRetry ===

impl CloneAndRetry {
    pub(crate) fn once() -> Self {
        Self { left: 1 }
    }
}

impl<B: Clone, ResBody, E> Policy<Request<B>, Response<ResBody>, E> for CloneAndRetry {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<B>,
        result: &mut Result<Response<ResBody>, E>,
    ) -> Option<Self::Future> {
        let rejected =
            matches!(result, Ok(response) if response.status() == StatusCode::UNAUTHORIZED);
        if !rejected {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}
