use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    detect::Detect,
    grpc::{
        future::ResponseFuture,
        request::RequestBody,
        response::ResponseBody,
        tracking::{GracePeriod, TrackedCall, is_grpc},
    },
    middleware::extension::Stamp,
    replay::head::HeadSummary,
};

/// The service of a [`TrailersLayer`](crate::grpc::TrailersLayer). See the [module
/// docs](crate::grpc).
#[derive(Clone)]
pub struct Trailers<S> {
    inner: S,
    grace: Duration,
    detect: Option<Arc<dyn Detect>>,
}

// === impl Trailers ===

impl<S> Trailers<S> {
    pub(super) fn new(inner: S, grace: Duration, detect: Option<Arc<dyn Detect>>) -> Self {
        Self { inner, grace, detect }
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

impl<S, B, ResBody> Service<Request<B>> for Trailers<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<ResBody>>,
    B: Body,
    ResBody: Body + Unpin,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let stamp =
            request.extensions().get::<Stamp>().filter(|_| is_grpc(request.headers())).cloned();
        let Some(stamp) = stamp else {
            return ResponseFuture::new(self.inner.call(request.map(RequestBody::untracked)), None);
        };
        let (head, body) = request.into_parts();
        let call = TrackedCall::new(stamp, HeadSummary::of(&head), self.detect.clone());
        let (grace, body) = GracePeriod::start(self.grace, body);
        ResponseFuture::new(self.inner.call(Request::from_parts(head, body)), Some((call, grace)))
    }
}

impl<S: fmt::Debug> fmt::Debug for Trailers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trailers")
            .field("inner", &self.inner)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}
