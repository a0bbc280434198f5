//! The upstream as a service, and services as clients, for peers that are Tower layers.

use std::{
    marker::PhantomData,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use tower::{BoxError, Service, ServiceExt};

use crate::{
    peer::Client,
    request::{URL, headers},
    upstream::{CHALLENGE, Upstream},
};

pub(crate) type UpstreamRequest = Request<Full<Bytes>>;
pub(crate) type Reply = Response<Empty<Bytes>>;

/// A client that sends through a service.
#[derive(Clone)]
pub(crate) struct ServiceClient<S>(pub(crate) S);

/// The upstream as an infallible service, with the error type that the layer around it expects.
pub(crate) struct UpstreamService<E = BoxError> {
    upstream: Upstream,
    error: PhantomData<fn() -> E>,
}

pub(crate) fn request() -> UpstreamRequest {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = URL.parse().expect("an absolute URI");
    *request.headers_mut() = headers();
    request
}

// === impl ServiceClient ===

impl<S> Client<UpstreamRequest> for ServiceClient<S>
where
    S: Service<UpstreamRequest, Response = Reply, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
{
    async fn send(&mut self, request: UpstreamRequest) -> Result<StatusCode, BoxError> {
        let service = self.0.ready().await.map_err(Into::into)?;
        Ok(service.call(request).await.map_err(Into::into)?.status())
    }
}

// === impl UpstreamService ===

impl UpstreamService {
    pub(crate) fn new(upstream: Upstream) -> Self {
        Self::with_error(upstream)
    }
}

impl<E> UpstreamService<E> {
    pub(crate) fn with_error(upstream: Upstream) -> Self {
        Self { upstream, error: PhantomData }
    }
}

impl<E> Clone for UpstreamService<E> {
    fn clone(&self) -> Self {
        Self::with_error(self.upstream.clone())
    }
}

impl<B, E: 'static> Service<Request<B>> for UpstreamService<E> {
    type Response = Reply;
    type Error = E;
    type Future = BoxFuture<'static, Result<Reply, E>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let upstream = self.upstream.clone();
        let (mut head, _) = request.into_parts();
        Box::pin(async move {
            let authorization = head.headers.remove(header::AUTHORIZATION);
            let status =
                upstream.respond(authorization.as_ref().map_or(b"", HeaderValue::as_bytes)).await;
            let mut response = Response::new(Empty::new());
            *response.status_mut() = status;
            if status == StatusCode::UNAUTHORIZED {
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
            }
            Ok(response)
        })
    }
}
