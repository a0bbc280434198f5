use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use crate::{
    error::BoxError,
    replay::head::HeadSummary,
    respond::{answer::Answer, body::AnswerBody, future::ResponseFuture},
};

/// The service of a [`RespondLayer`](crate::respond::RespondLayer). See the [module
/// docs](crate::respond).
pub struct Respond<S, A> {
    inner: S,
    answer: Arc<A>,
}

// === impl Respond ===

impl<S, A> Respond<S, A> {
    pub(super) fn new(inner: S, answer: Arc<A>) -> Self {
        Self { inner, answer }
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

impl<S, A, B, ResBody> Service<Request<B>> for Respond<S, A>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
    A: Answer,
{
    type Response = Response<AnswerBody<ResBody>>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = request.into_parts();
        let copy = HeadSummary::of(&head);
        let future = self.inner.call(Request::from_parts(head, body));
        ResponseFuture::new(future, self.answer.clone(), copy)
    }
}

impl<S: Clone, A> Clone for Respond<S, A> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), answer: self.answer.clone() }
    }
}

impl<S: fmt::Debug, A> fmt::Debug for Respond<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Respond").field("inner", &self.inner).finish_non_exhaustive()
    }
}
