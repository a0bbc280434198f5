//! The services, written like code that `tonic-build` generates.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use http::header::AUTHORIZATION;
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    server::Grpc,
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::{BoxError, Service, service_fn};
use tower_refresh::refresher::BoxFuture;

use crate::{
    auth::Auth,
    messages::{RefreshToken, Symbol},
    quotes,
};

/// Both services, and their counters.
#[derive(Clone)]
pub(crate) struct Backend {
    auth: Auth,
    calls: Arc<AtomicUsize>,
}

// === impl Backend ===

impl Backend {
    pub(crate) fn new(auth: Auth) -> Self {
        Self { auth, calls: Arc::default() }
    }

    /// Calls of `Quotes`, rejected or not.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) async fn listen(&self) -> Result<Endpoint, BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let uri = format!("http://{}", listener.local_addr()?);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = Server::builder().serve_with_incoming(self.clone(), incoming);
        tokio::spawn(async move { serving.await.map_err(io::Error::other) });
        Ok(Endpoint::from_shared(uri)?)
    }

    async fn respond(self, request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
        if request.uri().path() == "/shop.Auth/Refresh" {
            let refresh = |request: Request<RefreshToken>| {
                let tokens = self.auth.refresh(&request.get_ref().token);
                async { tokens.map(Response::new) }
            };
            return Ok(Grpc::new(ProstCodec::default()).unary(service_fn(refresh), request).await);
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        let authorization =
            request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let expiry = self.auth.expiry(authorization)?;
        let mut grpc = Grpc::new(ProstCodec::default());
        Ok(match request.uri().path() {
            "/shop.Quotes/Get" => {
                let get = |request: Request<Symbol>| async move {
                    Ok(Response::new(quotes::get(request.get_ref())))
                };
                grpc.unary(service_fn(get), request).await
            }
            "/shop.Quotes/Watch" => {
                let watch = |request: Request<Symbol>| async move {
                    Ok(Response::new(quotes::watch(request.into_inner(), expiry)))
                };
                grpc.server_streaming(service_fn(watch), request).await
            }
            "/shop.Quotes/Ask" => {
                let ask = |request: Request<Streaming<Symbol>>| async move {
                    Ok(Response::new(quotes::ask(request.into_inner())))
                };
                grpc.streaming(service_fn(ask), request).await
            }
            path => return Err(Status::unimplemented(path)),
        })
    }
}

impl Service<http::Request<Body>> for Backend {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let backend = self.clone();
        Box::pin(
            async move { Ok(backend.respond(request).await.unwrap_or_else(Status::into_http)) },
        )
    }
}
