//! A `Retry` below the layer: it sends an attempt again if the server closes its connection.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod support;

use std::{
    future::{Ready, ready},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use http::{
    Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, HeaderName},
};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use support::{
    stack::{BoxedBody, boxed, channel_body, frame, in_time},
    token,
};
use tokio::net::TcpListener;
use tower::{
    BoxError, ServiceBuilder, ServiceExt,
    retry::{Policy, Retry, RetryLayer},
};
use tower_refresh::{
    Origin, Refresh, RefreshContext, RefreshLayer, ReplayBody, Session, Token,
    extension::Anonymous, refresher_fn,
};

/// Sends an idempotent request that got no response once more.
#[derive(Clone)]
struct Reconnect {
    attempts_left: usize,
}

/// A server that accepts `at-2`. For some requests, by number, it closes the connection instead of
/// a response.
#[derive(Clone)]
struct Server {
    closing: &'static [usize],
    seen: Arc<Mutex<Vec<String>>>,
}

type HttpClient = Client<HttpConnector, ReplayBody<BoxedBody>>;

struct Harness {
    client: Refresh<Retry<Reconnect, HttpClient>>,
    address: SocketAddr,
    server: Server,
    refreshes: Arc<AtomicUsize>,
}

#[tokio::test]
async fn a_replay_whose_connection_is_closed_is_retried_below_the_layer() {
    // The replay is sent on the connection of the first attempt, which the server then closes.
    let harness = Harness::new(&[2]).await;
    let answer = harness.send(Method::PUT, Full::from("hello")).await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    let [first, replay] = ["PUT Bearer at-1 5 hello", "PUT Bearer at-2 5 hello"];
    assert_eq!(harness.seen(), [first, replay, replay]);
    assert_eq!(harness.refreshes.load(SeqCst), 1);
}

#[tokio::test]
async fn a_first_attempt_whose_connection_is_closed_is_retried_and_then_replayed() {
    let harness = Harness::new(&[1]).await;
    let answer = harness.send(Method::PUT, Full::from("hello")).await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    let [first, replay] = ["PUT Bearer at-1 5 hello", "PUT Bearer at-2 5 hello"];
    assert_eq!(harness.seen(), [first, first, replay]);
    assert_eq!(harness.refreshes.load(SeqCst), 1);
}

#[tokio::test]
async fn requests_without_a_body_are_retried_with_and_without_the_credential() {
    let harness = Harness::new(&[1, 4]).await;
    let answer = harness.send(Method::GET, Full::default()).await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    let mut anonymous = harness.request(Method::GET, Full::default());
    anonymous.extensions_mut().insert(Anonymous);
    let answer = in_time(harness.client.clone().oneshot(anonymous)).await;
    assert_eq!(answer.unwrap().status(), StatusCode::UNAUTHORIZED);
    let [first, replay, anonymous] = ["GET Bearer at-1 - ", "GET Bearer at-2 - ", "GET - - "];
    assert_eq!(harness.seen(), [first, first, replay, anonymous, anonymous]);
}

#[tokio::test]
async fn an_upload_in_progress_is_not_retried() {
    let harness = Harness::new(&[1]).await;
    let (feed, body) = channel_body();
    let answer = harness.send(Method::PUT, body);
    feed.send(frame("hello")).unwrap();
    drop(feed);
    // Read early, since all of it has arrived by now.
    assert_eq!(answer.await.unwrap().status(), StatusCode::OK);

    let harness = Harness::new(&[1]).await;
    let (feed, body) = channel_body();
    let answer = tokio::spawn(harness.send(Method::PUT, body));
    tokio::task::yield_now().await;
    feed.send(frame("hello")).unwrap();
    drop(feed);
    answer.await.unwrap().unwrap_err();
    assert_eq!(harness.seen(), ["PUT Bearer at-1 - hello"]);
}

#[tokio::test]
async fn a_request_that_is_not_idempotent_is_not_retried() {
    let harness = Harness::new(&[1]).await;
    harness.send(Method::POST, Full::from("hello")).await.unwrap_err();
    assert_eq!(harness.seen(), ["POST Bearer at-1 5 hello"]);
}

// === impl Harness ===

impl Harness {
    async fn new(closing: &'static [usize]) -> Self {
        let server = Server { closing, seen: Arc::default() };
        let address = server.clone().listen().await;
        let refreshes = Arc::<AtomicUsize>::default();
        let refresher = {
            let refreshes = refreshes.clone();
            refresher_fn(move |_: RefreshContext| {
                refreshes.fetch_add(1, SeqCst);
                async { Ok(Token::bearer("at-2")?) }
            })
        };
        let session = Session::new(token("at-1"), refresher);
        let origin: Origin = format!("http://{address}").parse().unwrap();
        let client = ServiceBuilder::new()
            .layer(RefreshLayer::new(session, origin))
            .layer(RetryLayer::new(Reconnect { attempts_left: 1 }))
            .service(Client::builder(TokioExecutor::new()).build_http());
        Self { client, address, server, refreshes }
    }

    fn request<B>(&self, method: Method, body: B) -> Request<BoxedBody>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let request = Request::builder().method(method).uri(format!("http://{}/", self.address));
        request.body(boxed(body)).unwrap()
    }

    fn send<B>(
        &self,
        method: Method,
        body: B,
    ) -> impl Future<Output = Result<Response<Incoming>, BoxError>> + Send + use<B>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (client, request) = (self.client.clone(), self.request(method, body));
        in_time(client.oneshot(request))
    }

    fn seen(&self) -> Vec<String> {
        self.server.seen.lock().unwrap().clone()
    }
}

// === impl Server ===

impl Server {
    async fn listen(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let server = self.clone();
                let respond = service_fn(move |request| server.clone().respond(request));
                let connection = http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(socket), respond));
            }
        });
        address
    }

    /// An error closes the connection.
    async fn respond(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let header = |name: HeaderName| {
            head.headers.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned()
        };
        let credential = header(AUTHORIZATION);
        let text = String::from_utf8_lossy(&body);
        let line = format!("{} {credential} {} {text}", head.method, header(CONTENT_LENGTH));
        let number = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(line);
            seen.len()
        };
        if self.closing.contains(&number) {
            return Err("closed".into());
        }
        let mut response = Response::new(Full::default());
        if credential != "Bearer at-2" {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        Ok(response)
    }
}

// === impl Reconnect ===

impl<B: Body, R, E> Policy<Request<ReplayBody<B>>, Response<R>, E> for Reconnect {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        request: &mut Request<ReplayBody<B>>,
        result: &mut Result<Response<R>, E>,
    ) -> Option<Ready<()>> {
        let may_retry = result.is_err() && request.method().is_idempotent();
        self.attempts_left = self.attempts_left.checked_sub(1).filter(|_| may_retry)?;
        Some(ready(()))
    }

    fn clone_request(
        &mut self,
        request: &Request<ReplayBody<B>>,
    ) -> Option<Request<ReplayBody<B>>> {
        let mut clone = Request::new(request.body().try_clone()?);
        *clone.method_mut() = request.method().clone();
        *clone.uri_mut() = request.uri().clone();
        *clone.version_mut() = request.version();
        *clone.headers_mut() = request.headers().clone();
        *clone.extensions_mut() = request.extensions().clone();
        Some(clone)
    }
}
