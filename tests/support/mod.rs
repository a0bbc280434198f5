//! What the tests share: a refresher that is answered by hand, and an upstream that knows which
//! token is good.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test file includes this, none uses all of it, and a test may unwrap"
)]

mod stepwise;

pub use stepwise::*;

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

pub type Answer = Result<Token, RefreshError>;

/// A refresher whose answers the test gives, one flight at a time.
pub struct ByHand {
    flights: mpsc::UnboundedSender<FlightInHand>,
}

/// The other end of a [`ByHand`].
pub struct Flights(mpsc::UnboundedReceiver<FlightInHand>);

/// A flight that waits for its answer.
pub struct FlightInHand {
    pub context: RefreshContext,
    answer: oneshot::Sender<Answer>,
}

/// An upstream in memory: 200 with the request's body for a good token, 401 for everything else.
#[derive(Clone)]
pub struct Upstream {
    good: Arc<Mutex<HashSet<String>>>,
    log: Arc<Mutex<Vec<String>>>,
}

/// A refresher that answers with `at-2`, `at-3`, … at once, makes each good at its upstream, and
/// counts.
#[derive(Clone)]
pub struct Counting {
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

/// The bearer token of a request, if it carries one.
pub fn bearer<B>(request: &Request<B>) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?;
    value.to_str().unwrap().strip_prefix("Bearer ")
}

/// The crate's own error in a `BoxError`.
pub fn own(error: &BoxError) -> &Error {
    error.downcast_ref().unwrap_or_else(|| panic!("not an error of the session: {error:?}"))
}

pub fn kind<T>(result: Result<T, BoxError>) -> ErrorKind {
    match result {
        Ok(_) => panic!("not an error"),
        Err(error) => own(&error).kind(),
    }
}

/// A pair of a refresher and the hand that answers it.
pub fn by_hand() -> (ByHand, Flights) {
    let (flights, received) = mpsc::unbounded_channel();
    (ByHand { flights }, Flights(received))
}

impl Refresher for ByHand {
    fn refresh(&self, context: RefreshContext) -> BoxFuture<'_, Answer> {
        let (answer, answered) = oneshot::channel();
        self.flights.send(FlightInHand { context, answer }).expect("the test is still there");
        Box::pin(async move { answered.await.expect("the test answers its flights") })
    }
}

impl Flights {
    /// The next flight that has started.
    pub async fn next(&mut self) -> FlightInHand {
        in_time("the flight", self.0.recv()).await.expect("the session is still there")
    }

    /// That no further flight has started by now.
    pub async fn none_started(&mut self) {
        settle_tasks().await;
        assert!(self.0.try_recv().is_err(), "a flight was started");
    }
}

impl FlightInHand {
    pub fn succeed(self, access_token: &str) {
        self.answer(Ok(token(access_token)));
    }

    pub fn answer(self, answer: Answer) {
        self.answer.send(answer).expect("the flight still waits");
    }

    /// Whether the session has dropped the refresher's future.
    pub fn is_dropped(&self) -> bool {
        self.answer.is_closed()
    }
}

/// Lets the back-off pass that follows a first failure. Time has to be paused.
pub async fn after_back_off() {
    tokio::time::advance(Duration::from_secs(2)).await;
}

/// Lets every task run that can, on a current-thread runtime.
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

    /// From now on only these tokens are good.
    pub fn accept_only(&self, good: &[&str]) {
        *self.good.lock().unwrap() = good.iter().map(ToString::to_string).collect();
    }

    /// The tokens of all requests so far, in order; `-` where there was none.
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

impl Counting {
    pub fn for_upstream(upstream: &Upstream) -> Self {
        Self { upstream: upstream.clone(), calls: Arc::default() }
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Refresher for Counting {
    fn refresh(&self, _: RefreshContext) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let number = self.calls.fetch_add(1, Ordering::SeqCst) + 2;
            tokio::task::yield_now().await;
            let name = format!("at-{number}");
            self.upstream.accept_only(&[&name]);
            Ok(token(&name))
        })
    }
}
