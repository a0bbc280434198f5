use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tower_service::Service;

use crate::{error::BoxError, exchange::body::RequestBody, refresher::BoxFuture};

/// The application's HTTP client, erased.
pub(super) trait Transport: Send + Sync {
    fn send(
        &self,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Result<Response<ResponseBody>, TransportError>>;
}

/// A response body, erased.
pub(super) type ResponseBody = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;

/// An error of the HTTP client.
pub(super) enum TransportError {
    /// The client did not become ready, so it was not given the request.
    NotReady(BoxError),
    Failed(BoxError),
}

/// A Tower service as a transport. The mutex makes it `Sync`; it is held for a clone only.
pub(super) struct ServiceTransport<S>(Mutex<S>);

/// A body with its data and its error converted.
struct Converted<B>(Pin<Box<B>>);

// === impl ServiceTransport ===

impl<S> ServiceTransport<S> {
    pub(super) fn new(service: S) -> Self {
        Self(Mutex::new(service))
    }
}

impl<S, B> Transport for ServiceTransport<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn send(
        &self,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Result<Response<ResponseBody>, TransportError>> {
        let mut service = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(|error| TransportError::NotReady(error.into()))?;
            let response = service.call(request).await;
            let response = response.map_err(|error| TransportError::Failed(error.into()))?;
            Ok(response.map(|body| Box::pin(Converted(Box::pin(body))) as ResponseBody))
        })
    }
}

// === impl Converted ===

impl<B> Body for Converted<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.0.as_mut().poll_frame(cx));
        let to_bytes = |mut data: B::Data| data.copy_to_bytes(data.remaining());
        Poll::Ready(
            frame.map(|frame| frame.map(|frame| frame.map_data(to_bytes)).map_err(Into::into)),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
