use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    head::ResponseHead,
    middleware::extension::Stamp,
    peek::{
        body::PeekBody,
        future::{PeekedRequest, ResponseFuture},
        predicates::Predicates,
        start::BodyStart,
    },
    replay::head::HeadSummary,
};

/// The service of a [`PeekLayer`](crate::peek::PeekLayer). See the [module
/// docs](crate::peek).
pub struct Peek<S, H, D> {
    inner: S,
    predicates: Arc<Predicates<H, D>>,
    limit: usize,
}

// === impl Peek ===

impl<S, H, D> Peek<S, H, D> {
    pub(super) fn new(inner: S, predicates: Arc<Predicates<H, D>>, limit: usize) -> Self {
        Self { inner, predicates, limit }
    }

    /// A reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// A mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Consumes this service and returns the inner one.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, H, D, B, ResBody> Service<Request<B>> for Peek<S, H, D>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    H: Fn(&ResponseHead<'_>) -> bool,
    D: Fn(&BodyStart<'_>) -> bool,
    ResBody: Body<Data = Bytes> + Unpin,
{
    type Response = Response<PeekBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, H, D, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.extensions().get::<Stamp>().is_none() {
            return ResponseFuture::new(self.inner.call(request), None);
        }
        let (head, body) = request.into_parts();
        let peeked = PeekedRequest {
            head: HeadSummary::of(&head),
            predicates: self.predicates.clone(),
            limit: self.limit,
        };
        ResponseFuture::new(self.inner.call(Request::from_parts(head, body)), Some(peeked))
    }
}

impl<S: Clone, H, D> Clone for Peek<S, H, D> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), predicates: self.predicates.clone(), limit: self.limit }
    }
}

impl<S: fmt::Debug, H, D> fmt::Debug for Peek<S, H, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peek")
            .field("inner", &self.inner)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
