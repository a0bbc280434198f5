//! The upstream as a service, and services as clients, for peers that are Tower layers.

use std::{
    marker::PhantomData,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use hyper::body::Body;
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

/// An upload from memory.
pub(crate) fn upload(content: Bytes) -> UpstreamRequest {
    upload_of(Full::new(content))
}

/// An upload of this body.
pub(crate) fn upload_of<B>(body: B) -> Request<B> {
    let (mut head, _) = request().into_parts();
    head.method = Method::POST;
    Request::from_parts(head, body)
}

fn reply(status: StatusCode) -> Reply {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    if status == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
    }
    response
}

// === impl ServiceClient ===

impl<S, B> Client<Request<B>> for ServiceClient<S>
where
    B: Send + 'static,
    S: Service<Request<B>, Response = Reply, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
{
    async fn send(&mut self, request: Request<B>) -> Result<StatusCode, BoxError> {
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

impl<B, E> Service<Request<B>> for UpstreamService<E>
where
    B: Body<Data = Bytes> + Send + 'static,
    E: 'static,
{
    type Response = Reply;
    type Error = E;
    type Future = BoxFuture<'static, Result<Reply, E>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let upstream = self.upstream.clone();
        let (mut head, body) = request.into_parts();
        if head.method == Method::POST {
            return Box::pin(async move {
                let authorization = head.headers.remove(header::AUTHORIZATION);
                let authorization =
                    authorization.as_ref().map_or(b"".as_slice(), HeaderValue::as_bytes);
                Ok(reply(upstream.respond_to_upload(authorization, body).await))
            });
        }
        // Only an upload has a body to keep.
        drop(body);
        Box::pin(async move {
            let authorization = head.headers.remove(header::AUTHORIZATION);
            let authorization =
                authorization.as_ref().map_or(b"".as_slice(), HeaderValue::as_bytes);
            Ok(reply(upstream.respond(authorization).await))
        })
    }
}
