//! The ways by which a request is sent.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use reqwest::{Client, ClientBuilder, RequestBuilder, Response, redirect};
use reqwest_middleware::{ClientWithMiddleware, Middleware};
use tower::{BoxError, Layer};
use tower_refresh::{
    Origin, Origins, Refresh, RefreshContext, RefreshLayer, Session, Token, refresher_fn,
    reqwest::{ClientService, RefreshMiddleware, SendError, SendThrough},
};

use crate::server::Server;

/// A way to send, and the token that the session has at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Without this crate. The caller puts the token on the request.
    Bare,
    /// The adapter, which follows redirects above the layer.
    Adapter(Token0),
    /// The adapter of a client that follows redirects itself.
    AdapterOfClient(Token0),
    /// The middleware, which follows redirects above the layer.
    Middleware(Token0),
    /// The middleware over a client that follows redirects itself.
    MiddlewareOfClient(Token0),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token0 {
    Fresh,
    Expired,
}

pub(crate) const WAYS: [Way; 9] = [
    Way::Bare,
    Way::Adapter(Token0::Fresh),
    Way::Adapter(Token0::Expired),
    Way::AdapterOfClient(Token0::Fresh),
    Way::AdapterOfClient(Token0::Expired),
    Way::Middleware(Token0::Fresh),
    Way::Middleware(Token0::Expired),
    Way::MiddlewareOfClient(Token0::Fresh),
    Way::MiddlewareOfClient(Token0::Expired),
];

/// The ways that follow redirects above the layer.
pub(crate) const WAYS_WITH_HOPS: [Way; 4] = [
    Way::Adapter(Token0::Fresh),
    Way::Adapter(Token0::Expired),
    Way::Middleware(Token0::Fresh),
    Way::Middleware(Token0::Expired),
];

/// The settings for HTTP/1 and HTTP/2.
pub(crate) const VERSIONS: [fn(ClientBuilder) -> ClientBuilder; 2] = [http_1, http_2];

fn http_1(builder: ClientBuilder) -> ClientBuilder {
    builder
}

fn http_2(builder: ClientBuilder) -> ClientBuilder {
    builder.http2_prior_knowledge()
}

/// Every way in both versions.
pub(crate) fn ways_and_versions() -> impl Iterator<Item = (Way, fn(ClientBuilder) -> ClientBuilder)>
{
    WAYS.into_iter().flat_map(|way| VERSIONS.map(|version| (way, version)))
}

/// The token that servers accept.
pub(crate) const GOOD: &str = "at-2";

/// A client, and the refreshes that it has caused.
pub(crate) struct Sender {
    pub(crate) http: Client,
    kind: Kind,
    refreshes: Arc<AtomicUsize>,
}

enum Kind {
    Bare,
    Adapter(Refresh<ClientService>),
    Middleware(ClientWithMiddleware),
}

// === impl Way ===

impl Way {
    /// Whether the session's token is rejected at first.
    pub(crate) fn is_expired(self) -> bool {
        match self {
            Self::Bare => false,
            Self::Adapter(token0)
            | Self::AdapterOfClient(token0)
            | Self::Middleware(token0)
            | Self::MiddlewareOfClient(token0) => token0 == Token0::Expired,
        }
    }

    /// A client for the API of one server.
    pub(crate) fn to(self, server: &Server) -> Sender {
        self.with(&[server], |builder| builder)
    }

    pub(crate) fn with(
        self,
        servers: &[&Server],
        settings: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Sender {
        self.above(servers, settings, Vec::new())
    }

    /// A client with further middlewares below that of this crate.
    pub(crate) fn above(
        self,
        servers: &[&Server],
        settings: impl FnOnce(ClientBuilder) -> ClientBuilder,
        below: Vec<Arc<dyn Middleware>>,
    ) -> Sender {
        let builder = settings(Client::builder().no_proxy());
        let refreshes = Arc::new(AtomicUsize::new(0));
        let count = refreshes.clone();
        let refresher = refresher_fn(move |_: RefreshContext| {
            count.fetch_add(1, SeqCst);
            async { Ok(Token::bearer(GOOD)?) }
        });
        let layer = |token0| {
            let first = if token0 == Token0::Fresh { GOOD } else { "at-1" };
            let session = Session::new(Token::bearer(first).unwrap(), refresher);
            let origins = servers.iter().map(|server| Origin::try_from(&*server.url("")).unwrap());
            RefreshLayer::new(session, origins.collect::<Origins>())
        };
        let (http, kind) = match self {
            Self::Bare => (builder.build().unwrap(), Kind::Bare),
            Self::Adapter(token0) => {
                let service = ClientService::new(builder).unwrap();
                (service.client().clone(), Kind::Adapter(layer(token0).layer(service)))
            }
            Self::AdapterOfClient(token0) => {
                let http = builder.build().unwrap();
                let service = ClientService::from_client(http.clone());
                (http, Kind::Adapter(layer(token0).layer(service)))
            }
            Self::Middleware(token0) => {
                let http = builder.redirect(redirect::Policy::none()).build().unwrap();
                let refresh = RefreshMiddleware::new(layer(token0)).follow_redirects(10);
                (http.clone(), Kind::Middleware(chain(http, refresh, below)))
            }
            Self::MiddlewareOfClient(token0) => {
                let http = builder.build().unwrap();
                let refresh = RefreshMiddleware::new(layer(token0));
                (http.clone(), Kind::Middleware(chain(http, refresh, below)))
            }
        };
        Sender { http, kind, refreshes }
    }
}

fn chain(
    http: Client,
    refresh: RefreshMiddleware,
    below: Vec<Arc<dyn Middleware>>,
) -> ClientWithMiddleware {
    let chain = reqwest_middleware::ClientBuilder::new(http).with(refresh);
    below.into_iter().fold(chain, reqwest_middleware::ClientBuilder::with_arc).build()
}

// === impl Sender ===

impl Sender {
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, BoxError> {
        match &self.kind {
            Kind::Bare => self.send_unchanged(request.bearer_auth(GOOD)).await,
            _ => self.send_unchanged(request).await,
        }
    }

    /// Without the token that the bare client gets otherwise.
    pub(crate) async fn send_unchanged(
        &self,
        request: RequestBuilder,
    ) -> Result<Response, BoxError> {
        match &self.kind {
            Kind::Bare => Ok(request.send().await?),
            Kind::Adapter(stack) => request.send_through(stack).await,
            Kind::Middleware(client) => match client.execute(request.build()?).await {
                Ok(response) => Ok(response),
                Err(reqwest_middleware::Error::Reqwest(error)) => Err(error.into()),
                Err(reqwest_middleware::Error::Middleware(error)) => {
                    Err(error.downcast::<SendError>().map_or_else(Into::into, Into::into))
                }
            },
        }
    }

    pub(crate) fn refreshes(&self) -> usize {
        self.refreshes.load(SeqCst)
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}
