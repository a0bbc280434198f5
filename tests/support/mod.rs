//! Shared helpers: a refresher that the test answers, and an upstream in memory that accepts a set
//! of tokens.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test includes this module and uses a part of it, and tests may unwrap"
)]

mod stepwise;

pub use stepwise::*;

pub mod audit;
pub mod stack;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tokio::sync::{mpsc, oneshot};
use tower::{BoxError, Service};
use tower_refresh::{
    Error, ErrorKind, RefreshContext, RefreshError, Refresher, ReplayBody, Token,
    refresher::BoxFuture,
};

pub type RefreshResult = Result<Token, RefreshError>;

/// A refresher that sends every flight to the test, which answers it.
pub struct ManualRefresher {
    flights: mpsc::UnboundedSender<PendingFlight>,
}

/// The flights of a [`ManualRefresher`].
pub struct Flights(mpsc::UnboundedReceiver<PendingFlight>);

/// A flight that waits for the answer of the test.
pub struct PendingFlight {
    pub context: RefreshContext,
    answer: oneshot::Sender<RefreshResult>,
}

/// An upstream in memory that echoes the body of a request with an accepted token, and responds
/// with 401 to other requests.
#[derive(Clone)]
pub struct Upstream {
    good: Arc<Mutex<HashSet<String>>>,
    log: Arc<Mutex<Vec<String>>>,
}

/// A refresher that returns `at-2`, `at-3`, … at once, lets the upstream accept only the newest
/// one, and counts its calls.
#[derive(Clone)]
pub struct CountingRefresher {
    pub upstream: Upstream,
    calls: Arc<AtomicUsize>,
}

pub fn token(access_token: &str) -> Token {
    Token::bearer(access_token).unwrap()
}

pub fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).body(Full::default()).unwrap()
}

pub fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path).body(Full::new(body.into())).unwrap()
}

pub fn response(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// The bearer token of a request. `None` if it has none.
pub fn bearer<B>(request: &Request<B>) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?;
    value.to_str().unwrap().strip_prefix("Bearer ")
}

/// The [`Error`] of the session in a `BoxError`. Panics if it is another error.
pub fn session_error(error: &BoxError) -> &Error {
    error.downcast_ref().unwrap_or_else(|| panic!("not an error of the session: {error:?}"))
}

/// The kind of the error of the session. Panics if the result is another error or a value.
pub fn kind<T>(result: Result<T, BoxError>) -> ErrorKind {
    match result {
        Ok(_) => panic!("not an error"),
        Err(error) => session_error(&error).kind(),
    }
}

/// A refresher and the flights that it receives.
pub fn manual_refresher() -> (ManualRefresher, Flights) {
    let (flights, received) = mpsc::unbounded_channel();
    (ManualRefresher { flights }, Flights(received))
}

impl Refresher for ManualRefresher {
    fn refresh(&self, context: RefreshContext) -> BoxFuture<'_, RefreshResult> {
        let (answer, answered) = oneshot::channel();
        self.flights.send(PendingFlight { context, answer }).expect("the test holds the receiver");
        Box::pin(async move { answered.await.expect("the test answers its flights") })
    }
}

impl Flights {
    /// Waits for the next flight.
    pub async fn next(&mut self) -> PendingFlight {
        in_time("the flight", self.0.recv()).await.expect("the session holds the refresher")
    }

    /// Checks that no further flight has started, after all runnable tasks have run.
    pub async fn none_started(&mut self) {
        settle_tasks().await;
        assert!(self.0.try_recv().is_err(), "a flight was started");
    }
}

impl PendingFlight {
    pub fn succeed(self, access_token: &str) {
        self.answer(Ok(token(access_token)));
    }

    pub fn answer(self, answer: RefreshResult) {
        self.answer.send(answer).expect("the session holds the flight");
    }

    /// Whether the session has dropped the refresher's future.
    pub fn is_dropped(&self) -> bool {
        self.answer.is_closed()
    }
}

/// Advances the paused time beyond the back-off of a first failure.
pub async fn after_back_off() {
    tokio::time::advance(Duration::from_secs(2)).await;
}

/// Runs all runnable tasks of a current-thread runtime.
pub async fn settle_tasks() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

impl Upstream {
    pub fn accepting(good: &[&str]) -> Self {
        let good = good.iter().map(ToString::to_string).collect();
        Self { good: Arc::new(Mutex::new(good)), log: Arc::default() }
    }

    /// Replaces the set of accepted tokens.
    pub fn accept_only(&self, good: &[&str]) {
        *self.good.lock().unwrap() = good.iter().map(ToString::to_string).collect();
    }

    /// The tokens of all requests so far, in order. `-` stands for no token.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub fn count(&self, access_token: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|token| *token == access_token).count()
    }
}

impl<B> Service<Request<ReplayBody<B>>> for Upstream
where
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Full<Bytes>>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<B>>) -> Self::Future {
        let token = bearer(&request).unwrap_or("-").to_owned();
        let good = self.good.lock().unwrap().contains(&token);
        self.log.lock().unwrap().push(token);
        Box::pin(async move {
            tokio::task::yield_now().await;
            let body = request.into_body().collect().await?.to_bytes();
            let mut response = Response::new(Full::new(body));
            if !good {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
            }
            Ok(response)
        })
    }
}

impl CountingRefresher {
    pub fn for_upstream(upstream: &Upstream) -> Self {
        Self { upstream: upstream.clone(), calls: Arc::default() }
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Refresher for CountingRefresher {
    fn refresh(&self, _: RefreshContext) -> BoxFuture<'_, RefreshResult> {
        Box::pin(async move {
            let number = self.calls.fetch_add(1, Ordering::SeqCst) + 2;
            tokio::task::yield_now().await;
            let name = format!("at-{number}");
            self.upstream.accept_only(&[&name]);
            Ok(token(&name))
        })
    }
}
