use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    credential::contract::Credential,
    error::BoxError,
    grpc::{
        answer::GrpcAnswer, client::convert::ConvertBody, response::ResponseBody, service::Trailers,
    },
    middleware::future::ResponseFuture,
    respond::{self, AnswerBody},
};

/// The future of the composed service.
type Inner<S, B, C, ResBody> = respond::ResponseFuture<
    ResponseFuture<Trailers<ConvertBody<S, B>>, C, B, ResponseBody<ResBody>>,
    GrpcAnswer,
>;

pin_project! {
    /// The response to a call through a [`GrpcRefresh`](crate::grpc::GrpcRefresh).
    ///
    /// # Errors
    ///
    /// The error of the channel, unchanged. An error of the session becomes a response.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time. A refresh that it has started continues.
    #[must_use = "futures do nothing unless polled"]
    pub struct GrpcResponseFuture<S, B, C, ResBody>
    where
        S: Service<Request<B>, Response = Response<ResBody>>,
        B: Body,
        B: Unpin,
        B::Error: Into<BoxError>,
        ResBody: Body,
        ResBody: Unpin,
    {
        #[pin]
        inner: Inner<S, B, C, ResBody>,
    }
}

// === impl GrpcResponseFuture ===

impl<S, B, C, ResBody> GrpcResponseFuture<S, B, C, ResBody>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    B: Body + Unpin,
    B::Error: Into<BoxError>,
    ResBody: Body + Unpin,
{
    pub(super) fn new(inner: Inner<S, B, C, ResBody>) -> Self {
        Self { inner }
    }
}

impl<S, B, C, ResBody> Future for GrpcResponseFuture<S, B, C, ResBody>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    C: Credential,
    B: Body + Unpin,
    B::Error: Into<BoxError>,
    ResBody: Body<Data = Bytes> + Unpin,
{
    type Output = Result<Response<AnswerBody<ResponseBody<ResBody>>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx)
    }
}

impl<S, B, C, ResBody> fmt::Debug for GrpcResponseFuture<S, B, C, ResBody>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    B: Body + Unpin,
    B::Error: Into<BoxError>,
    ResBody: Body + Unpin,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcResponseFuture").finish_non_exhaustive()
    }
}
