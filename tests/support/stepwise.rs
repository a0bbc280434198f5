//! Helpers for tests that proceed step by step: an upstream that the test answers, a clock that the
//! test sets, and a journal of events.

use std::{
    error,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::task::JoinHandle;
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_refresh::{
    Origins, Refresh, RefreshError, RefreshErrorKind, RefreshLayer, ReplayBody, Session,
    session::{EndReason, EndedLogin},
};
use tower_test::mock;

use super::{bearer, response, settle_tasks};

pub type UpstreamRequest = Request<ReplayBody<Full<Bytes>>>;
pub type UpstreamResponse = Response<Full<Bytes>>;
pub type Mock = mock::Mock<UpstreamRequest, UpstreamResponse>;
pub type Client = Refresh<Mock>;
pub type ClientResult = Result<UpstreamResponse, BoxError>;

/// The requests that arrive at a [`Mock`].
pub struct Arrivals(pub mock::Handle<UpstreamRequest, UpstreamResponse>);

/// A request at the upstream that waits for the answer of the test.
pub struct Arrived {
    pub request: UpstreamRequest,
    answer: mock::SendResponse<UpstreamResponse>,
}

/// A wall clock that the test advances.
#[derive(Clone)]
pub struct Clock(Arc<Mutex<SystemTime>>);

/// A log of events, in order.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<String>>>);

/// A client of this session over an upstream that the test answers.
pub fn over_mock(session: &Session) -> (Client, Arrivals) {
    layer_over_mock(&RefreshLayer::new(session.clone(), Origins::any()))
}

pub fn layer_over_mock(layer: &RefreshLayer) -> (Client, Arrivals) {
    let (upstream, arrivals) = mock::pair();
    (layer.layer(upstream), Arrivals(arrivals))
}

/// Sends a request in a task of its own.
pub fn ask<S>(client: &S, request: Request<Full<Bytes>>) -> JoinHandle<ClientResult>
where
    S: Service<Request<Full<Bytes>>, Response = UpstreamResponse, Error = BoxError>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    tokio::spawn(in_time("the answer", client.clone().oneshot(request)))
}

/// Sends a number of requests, each in a task of its own.
pub fn ask_many<S>(
    client: &S,
    number: usize,
    request: impl Fn(usize) -> Request<Full<Bytes>>,
) -> Vec<JoinHandle<ClientResult>>
where
    S: Service<Request<Full<Bytes>>, Response = UpstreamResponse, Error = BoxError>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    (0..number).map(|n| ask(client, request(n))).collect()
}

pub async fn status(request: JoinHandle<ClientResult>) -> StatusCode {
    request.await.unwrap().unwrap().status()
}

pub async fn text(response: UpstreamResponse) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// The last source of an error. Its address tells whether two errors share it.
pub fn root_cause<'a>(error: &'a (dyn error::Error + 'static)) -> &'a (dyn error::Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

/// The refresh error in the source of an error of the session.
pub fn refresh_error<'a>(error: &'a (dyn error::Error + 'static)) -> &'a RefreshError {
    error
        .source()
        .expect("the error has a source")
        .downcast_ref()
        .expect("the source is a refresh error")
}

pub fn refresh_kind(error: &(dyn error::Error + 'static)) -> RefreshErrorKind {
    refresh_error(error).kind()
}

/// Waits for a future for at most a day, which takes no real time where time is paused.
pub async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    if tokio::runtime::Handle::try_current().is_err() {
        return future.await;
    }
    let waited = tokio::time::timeout(Duration::from_secs(24 * 60 * 60), future).await;
    waited.unwrap_or_else(|_| panic!("{what} never came"))
}

/// Polls a future on this thread, without a runtime.
pub fn poll_without_runtime<F: Future>(future: F) -> F::Output {
    let mut future = tokio_test::task::spawn(future);
    for _ in 0..64 {
        if let std::task::Poll::Ready(output) = future.poll() {
            return output;
        }
    }
    panic!("the future needs a runtime to complete");
}

// === impl Arrivals ===

impl Arrivals {
    pub async fn next(&mut self) -> Arrived {
        let next = in_time("the request", self.0.next_request()).await;
        let (request, answer) = next.expect("the test holds the client");
        Arrived { request, answer }
    }

    pub async fn take(&mut self, number: usize) -> Vec<Arrived> {
        let mut taken = Vec::with_capacity(number);
        for _ in 0..number {
            taken.push(self.next().await);
        }
        taken
    }

    /// Checks that no further request has arrived, after all runnable tasks have run.
    pub async fn none(&mut self) {
        settle_tasks().await;
        assert!(self.0.poll_request().is_pending(), "a request arrived, or the client was dropped");
    }
}

// === impl Arrived ===

impl Arrived {
    pub fn token(&self) -> &str {
        bearer(&self.request).unwrap_or("-")
    }

    pub fn accept(self) {
        self.answer.send_response(response(StatusCode::OK));
    }

    pub fn reject(self) {
        self.answer.send_response(response(StatusCode::UNAUTHORIZED));
    }

    pub fn answer(self, response: UpstreamResponse) {
        self.answer.send_response(response);
    }

    pub fn fail(self, error: &'static str) {
        self.answer.send_error(error);
    }

    pub async fn text(self) -> (String, mock::SendResponse<UpstreamResponse>) {
        let body = self.request.into_body().collect().await.unwrap().to_bytes();
        (String::from_utf8(body.to_vec()).unwrap(), self.answer)
    }
}

// === impl Clock ===

impl Clock {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000))))
    }

    pub fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }

    pub fn after(&self, seconds: u64) -> SystemTime {
        self.now() + Duration::from_secs(seconds)
    }

    pub fn advance(&self, seconds: u64) {
        *self.0.lock().unwrap() += Duration::from_secs(seconds);
    }

    /// A closure for `SessionBuilder::clock`.
    pub fn reader(&self) -> impl Fn() -> SystemTime + Send + Sync + 'static {
        let clock = self.clone();
        move || clock.now()
    }
}

// === impl Journal ===

impl Journal {
    pub fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what.into());
    }

    pub fn read(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A hook that records how the login ended and with which credential.
    pub fn hook(&self) -> impl Fn(EndedLogin) -> std::future::Ready<()> + Send + Sync + 'static {
        let journal = self.clone();
        move |end| {
            journal.note(describe(&end));
            std::future::ready(())
        }
    }
}

/// Describes how a login ended and with which credential, for example `refused at-1`.
pub fn describe(end: &EndedLogin) -> String {
    let how = match end.reason() {
        EndReason::NeverLoggedIn => "never logged in",
        EndReason::Logout => "logged out",
        EndReason::Refused(_) => "refused",
        _ => "?",
    };
    format!("{how} {}", end.credential().map_or("-", |credential| credential.access_token()))
}
