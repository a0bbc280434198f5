//! The client: its session, and a channel that uses it. The rest is like code that `tonic-build`
//! generates.

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio_stream::Stream;
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    client::{Grpc, GrpcService},
    transport::Channel,
};
use tonic_prost::ProstCodec;
use tower::{BoxError, Layer};
use tower_refresh::{
    Origin, RefreshContext, RefreshError, Session, Token,
    grpc::{GrpcRefresh, GrpcRefreshLayer},
    refresher_fn,
    session::EndedLogin,
};

use crate::messages::{Quote, RefreshToken, Symbol, Tokens};

/// Refreshes through the `Auth` service, on a channel without a session.
pub(crate) fn session(
    tokens: Tokens,
    channel: Channel,
    log_out: impl Fn() + Send + Sync + 'static,
) -> Session {
    let refresher = refresher_fn(move |context: RefreshContext| {
        let mut auth = AuthClient::new(channel.clone());
        async move {
            let current = context.current().and_then(|token| token.refresh_token());
            let current = current.ok_or_else(|| RefreshError::terminal("no refresh token"))?;
            let tokens =
                auth.refresh(RefreshToken { token: current.to_owned() }).await.map_err(classify)?;
            to_token(tokens.into_inner())
        }
    });
    let session = Session::builder(refresher).on_login_end(move |_: EndedLogin| {
        log_out();
        async {}
    });
    match to_token(tokens) {
        Ok(token) => session.credential(token).build(),
        Err(_) => session.build(),
    }
}

/// The channel for generated clients, in place of a `Channel`.
pub(crate) type LayeredChannel = GrpcRefresh<Channel, Body>;

pub(crate) fn layered(channel: Channel, session: Session) -> LayeredChannel {
    let origin = Origin::from_static("http://localhost");
    GrpcRefreshLayer::new(session, origin, Body::new).layer(channel)
}

/// Classifies a failed refresh: it was refused, it did not happen, or its outcome is unknown.
fn classify(status: Status) -> RefreshError {
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => RefreshError::terminal(status),
        Code::Unavailable | Code::ResourceExhausted => RefreshError::transient(status),
        _ => RefreshError::ambiguous(status),
    }
}

/// The server does not tell when a token expires.
fn to_token(tokens: Tokens) -> Result<Token, RefreshError> {
    Ok(Token::bearer(tokens.access)?.with_refresh_token(tokens.refresh))
}

#[derive(Clone)]
pub(crate) struct QuotesClient<T> {
    inner: Grpc<T>,
}

pub(crate) struct AuthClient<T> {
    inner: Grpc<T>,
}

// === impl QuotesClient ===

impl<T> QuotesClient<T>
where
    T: GrpcService<Body>,
    T::Error: Into<BoxError>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError> + Send,
{
    pub(crate) fn new(inner: T) -> Self {
        Self { inner: Grpc::new(inner) }
    }

    pub(crate) async fn get(&mut self, symbol: Symbol) -> Result<Response<Quote>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/shop.Quotes/Get");
        self.inner.unary(Request::new(symbol), path, ProstCodec::default()).await
    }

    pub(crate) async fn watch(
        &mut self,
        symbol: Symbol,
    ) -> Result<Response<Streaming<Quote>>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/shop.Quotes/Watch");
        self.inner.server_streaming(Request::new(symbol), path, ProstCodec::default()).await
    }

    pub(crate) async fn ask(
        &mut self,
        symbols: impl Stream<Item = Symbol> + Send + 'static,
    ) -> Result<Response<Streaming<Quote>>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/shop.Quotes/Ask");
        self.inner.streaming(Request::new(symbols), path, ProstCodec::default()).await
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.inner.ready().await.map_err(|error| Status::from_error(error.into()))
    }
}

// === impl AuthClient ===

impl AuthClient<Channel> {
    pub(crate) fn new(inner: Channel) -> Self {
        Self { inner: Grpc::new(inner) }
    }

    pub(crate) async fn refresh(
        &mut self,
        token: RefreshToken,
    ) -> Result<Response<Tokens>, Status> {
        self.inner.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let path = PathAndQuery::from_static("/shop.Auth/Refresh");
        self.inner.unary(Request::new(token), path, ProstCodec::default()).await
    }
}
