use std::task::{Context, Poll};

use http::Request;
use tower_service::Service;

use crate::{grpc::request::RequestBody, replay::ReplayBody};

/// Makes the channel's type of body from a body that can be replayed.
pub(super) type Convert<B> = fn(RequestBody<ReplayBody<B>>) -> B;

/// A channel that takes requests with a body that can be replayed.
pub(super) struct ConvertBody<S, B> {
    pub(super) inner: S,
    pub(super) convert: Convert<B>,
}

// === impl ConvertBody ===

impl<S, B> Service<Request<RequestBody<ReplayBody<B>>>> for ConvertBody<S, B>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<RequestBody<ReplayBody<B>>>) -> S::Future {
        self.inner.call(request.map(self.convert))
    }
}

impl<S: Clone, B> Clone for ConvertBody<S, B> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), convert: self.convert }
    }
}
