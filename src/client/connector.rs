use std::{
    future::poll_fn,
    io,
    io::IoSlice,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_service::Service;

use crate::{error::BoxError, refresher::BoxFuture};

/// The application's connector, erased, so that a client has one type whatever it connects by.
#[derive(Clone)]
pub(super) struct GivenConnector {
    connect: Arc<dyn Fn(Uri) -> Connecting + Send + Sync>,
}

type Connecting = BoxFuture<'static, Result<TokioIo<GivenStream>, BoxError>>;

/// A stream of the application's connector, erased.
pub(super) struct GivenStream(Box<dyn ReadWrite>);

trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}

// === impl GivenConnector ===

impl GivenConnector {
    pub(super) fn new<C>(connector: C) -> Self
    where
        C: Service<Uri> + Clone + Send + Sync + 'static,
        C::Response: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        C::Error: Into<BoxError>,
        C::Future: Send,
    {
        let connect = move |uri| {
            let mut connector = connector.clone();
            let connecting: Connecting = Box::pin(async move {
                poll_fn(|cx| connector.poll_ready(cx)).await.map_err(Into::into)?;
                let stream = connector.call(uri).await.map_err(Into::into)?;
                Ok(TokioIo::new(GivenStream(Box::new(stream))))
            });
            connecting
        };
        Self { connect: Arc::new(connect) }
    }
}

impl Service<Uri> for GivenConnector {
    type Response = TokioIo<GivenStream>;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        (self.connect)(uri)
    }
}

// === impl GivenStream ===

impl Connection for GivenStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for GivenStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for GivenStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

// === impl ReadWrite ===

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}
