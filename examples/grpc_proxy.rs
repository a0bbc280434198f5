//! A gRPC proxy with a session for each caller.
//!
//! ```text
//! caller ─► proxy: who is it? ─► whose session? ─► forward with the caller's token ─► upstream
//! ```
//!
//! The callers name themselves in the metadata `x-user`; a real proxy takes the name from a client
//! certificate or from an authenticating layer. The upstream's tokens live for a few requests. The
//! program sends calls of three callers through the proxy and prints what the upstream saw.
//!
//! Run it with `cargo run --features grpc,sessions --example grpc_proxy`.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tonic::body::Body;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::map_request_body::MapRequestBodyLayer;
use tower_refresh::{
    Origin, RefreshContext, RefreshError, RefreshLayer, Session, Token,
    detect::GrpcUnauthenticated,
    grpc::{GrpcAnswer, TrailersLayer},
    refresher_fn,
    respond::RespondLayer,
    session::EndedLogin,
    sessions::{Sessions, SessionsLayer, key_fn},
};

const HELP: &str = "\
A gRPC proxy with a session for each caller, between callers and an upstream of its own.

Usage: cargo run --features grpc,sessions --example grpc_proxy

Ann, Bob and Eve call through the proxy. Ann's tokens expire: her ten calls at once cause one
refresh, and all are answered. Bob's token expires too, and the upstream says so in trailers: his
call is replayed all the same. Eve never logs in, and Bob logs out: their calls get status 16.

Options:
  -h, --help    Print this

Exit status: 0 if every call has the expected status, 1 otherwise.
";

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The auth service and the upstream: one token for each caller is good at a time.
#[derive(Clone, Default)]
struct Provider(Arc<ProviderState>);

#[derive(Default)]
struct ProviderState {
    good: Mutex<HashMap<String, String>>,
    /// Whether the next rejection is sent in trailers.
    rejects_in_trailers: AtomicBool,
    issued: AtomicUsize,
    refreshes: AtomicUsize,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    if std::env::args().any(|arg| arg == "--help" || arg == "-h") {
        print!("{HELP}");
        return Ok(());
    }
    let provider = Provider::default();
    let upstream = serve(service_fn({
        let provider = provider.clone();
        move |request| {
            let response = provider.answer(&request);
            async move { Ok::<_, BoxError>(response) }
        }
    }))
    .await?;

    let sessions = sessions(&provider);
    tokio::spawn(sessions.maintain());
    let proxy = serve(proxy(sessions.clone(), upstream)?).await?;
    println!("the proxy listens on http://{proxy}");

    for user in ["ann", "bob"] {
        sessions.login(&user.to_owned(), provider.issue(user)?).await?;
    }
    call(proxy, "ann", 3, "0").await?;
    call(proxy, "bob", 3, "0").await?;
    println!("the tokens of ann expire:");
    provider.expire("ann");
    let refreshes = provider.refreshes();
    call(proxy, "ann", 10, "0").await?;
    call(proxy, "bob", 3, "0").await?;
    if provider.refreshes() != refreshes + 1 {
        return Err("there was more than one refresh".into());
    }
    println!("the token of bob expires, and the upstream says so in trailers:");
    provider.expire("bob");
    provider.reject_in_trailers();
    call(proxy, "bob", 1, "0").await?;
    if provider.refreshes() != refreshes + 2 {
        return Err("the rejection in trailers should have caused a refresh".into());
    }
    println!("eve is not logged in:");
    call(proxy, "eve", 1, "16").await?;
    println!("bob logs out:");
    sessions.logout(&"bob".to_owned()).await?;
    call(proxy, "bob", 1, "16").await
}

/// A session for each caller, whose name is the caller's.
fn sessions(provider: &Provider) -> Sessions<String> {
    let refresher = refresher_fn({
        let provider = provider.clone();
        move |context: RefreshContext| {
            let token = provider.refresh(&context);
            async move { token }
        }
    });
    let template = Session::builder(refresher)
        .max_waiters(100)
        .on_login_end(|end: EndedLogin| async move {
            println!("  {} is logged out", end.session_name().unwrap_or_default());
        })
        .template();
    Sessions::builder(template).name(String::clone).build()
}

/// The proxy: who is it, which session, where does it go.
///
/// Its callers are not trusted: their answers name no causes, and an `authorization` of their own
/// is overwritten. The [`TrailersLayer`] knows the session of a call by its stamp.
fn proxy(
    sessions: Sessions<String>,
    upstream: SocketAddr,
) -> Result<
    impl Service<
        Request<hyper::body::Incoming>,
        Response = Response<
            impl http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>> + Send + 'static,
        >,
        Error = BoxError,
        Future: Send,
    > + Clone
    + Send
    + 'static,
    BoxError,
> {
    let origin: Origin = format!("http://{upstream}").parse()?;
    let target: Uri = format!("http://{upstream}").parse()?;
    let client: Client<HttpConnector, Body> =
        Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let caller = key_fn(|request: &http::request::Parts| {
        Some(request.headers.get("x-user")?.to_str().ok()?.to_owned())
    });
    Ok(ServiceBuilder::new()
        .layer(RespondLayer::new(GrpcAnswer::new().causes(false)))
        .map_request(move |request: Request<_>| forward(&target, request))
        .layer(SessionsLayer::new(sessions, caller))
        .layer(
            RefreshLayer::per_request(origin)
                .detect(GrpcUnauthenticated)
                .expose_stamp(true)
                .overwrite(true),
        )
        .layer(TrailersLayer::new())
        .layer(MapRequestBodyLayer::new(Body::new))
        .service(client)
        .map_err(Into::into))
}

/// The request for the upstream.
fn forward<B>(target: &Uri, mut request: Request<B>) -> Request<B> {
    let mut parts = target.clone().into_parts();
    parts.path_and_query = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    *request.version_mut() = http::Version::HTTP_2;
    request.headers_mut().remove(http::header::HOST);
    request
}

/// Sends a number of calls at once, and fails unless all of them get this gRPC status.
async fn call(
    proxy: SocketAddr,
    user: &'static str,
    number: usize,
    expected: &str,
) -> Result<(), BoxError> {
    let client: Client<HttpConnector, Body> =
        Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let calls: Vec<_> = (0..number)
        .map(|_| {
            let request = Request::post(format!("http://{proxy}/quotes.Quotes/Get"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .header("x-user", user)
                .body(Body::empty());
            let client = client.clone();
            tokio::spawn(async move { client.oneshot(request?).await.map_err(BoxError::from) })
        })
        .collect();
    let mut statuses = Vec::new();
    for call in calls {
        let response = call.await??;
        let status = response.headers().get(GRPC_STATUS).and_then(|status| status.to_str().ok());
        statuses.push(status.unwrap_or("none").to_owned());
    }
    println!("  {user}: grpc-status {}", statuses.join(" "));
    if statuses.iter().all(|status| status == expected) {
        return Ok(());
    }
    Err(format!("the calls of {user} should have got status {expected}").into())
}

/// Serves HTTP/2 on a port of its own.
async fn serve<S, B>(service: S) -> Result<SocketAddr, BoxError>
where
    S: Service<Request<hyper::body::Incoming>, Response = Response<B>, Error = BoxError>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new()).http2_only();
                if let Err(error) = server.serve_connection(TokioIo::new(connection), service).await
                {
                    eprintln!("a connection failed: {error}");
                }
            });
        }
    });
    Ok(address)
}

// === impl Provider ===

impl Provider {
    fn issue(&self, user: &str) -> Result<Token, BoxError> {
        let number = self.0.issued.fetch_add(1, Ordering::Relaxed) + 1;
        let access_token = format!("{user}-{number}");
        self.good().insert(user.to_owned(), access_token.clone());
        Ok(Token::bearer(access_token)?)
    }

    fn refreshes(&self) -> usize {
        self.0.refreshes.load(Ordering::Relaxed)
    }

    fn expire(&self, user: &str) {
        self.good().remove(user);
    }

    /// Sends the next rejection in trailers, like a handler that checks the token after it has sent
    /// its headers.
    fn reject_in_trailers(&self) {
        self.0.rejects_in_trailers.store(true, Ordering::Relaxed);
    }

    fn refresh(&self, context: &RefreshContext) -> Result<Token, RefreshError> {
        let user = context.session_name().unwrap_or_default();
        self.0.refreshes.fetch_add(1, Ordering::Relaxed);
        println!("  the token of {user} is refreshed");
        self.issue(user).map_err(RefreshError::transient)
    }

    /// The upstream: status 0 for a good token, and status 16 otherwise.
    fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let user = token.split('-').next().unwrap_or_default();
        let is_good = self.good().get(user).is_some_and(|good| good == token);
        let status = HeaderValue::from_static(if is_good { "0" } else { "16" });
        let is_late = !is_good && self.0.rejects_in_trailers.swap(false, Ordering::Relaxed);
        let mut response = if is_late {
            let trailers = HeaderMap::from_iter([(GRPC_STATUS, status)]);
            let body = Empty::new().with_trailers(async move { Some(Ok(trailers)) });
            Response::new(Body::new(body))
        } else {
            let mut response = Response::new(Body::empty());
            response.headers_mut().insert(GRPC_STATUS, status);
            response
        };
        let content_type = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    }

    fn good(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.0.good.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
