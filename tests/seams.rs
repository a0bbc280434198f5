//! `Credential::observe` and `Detect::inspect` see the request of a response, and extensions decide
//! about a rejection.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod support;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, StatusCode, request::Parts};
use http_body_util::Full;
use support::{
    stack::{Exchanges, ManualService, ServiceResult, answer_with, in_time, manual_service},
    *,
};
use tokio::task::JoinHandle;
use tower::{Layer, ServiceExt};
use tower_refresh::{
    Credential, Origin, Origins, Refresh, RefreshContext, RefreshLayer, Session, Token,
    detect::{Verdict, detect_fn},
    extension::{NoRefresh, NoReplay, Rejected},
    head::ResponseHead,
    refresher_fn,
};

type Call = Request<Full<Bytes>>;
type Client<C = Token> = Refresh<ManualService<Full<Bytes>>, C>;

/// A request as `observe` and `inspect` see it: method, URI, and the marker in its extensions.
type Seen = (Method, String, Option<&'static str>);

/// A credential that records the requests whose responses it observes.
struct Recorder(&'static str, Arc<Mutex<Vec<Seen>>>);

impl Credential for Recorder {
    fn apply(&self, request: &mut Parts) {
        request.headers.insert("authorization", format!("Bearer {}", self.0).parse().unwrap());
    }

    fn observe(&self, response: &ResponseHead<'_>) {
        self.1.lock().unwrap().push(seen(response));
    }
}

fn seen(response: &ResponseHead<'_>) -> Seen {
    let request = response.request();
    let marker = request.extensions().get::<&'static str>().copied();
    (request.method(), request.uri().to_string(), marker)
}

fn post(uri: &str, body: &'static str) -> Call {
    Request::post(uri).extension("a marker").body(Full::from(body)).unwrap()
}

fn send<C: Credential>(client: &Client<C>, request: Call) -> JoinHandle<ServiceResult> {
    tokio::spawn(in_time(client.clone().oneshot(request)))
}

async fn status(answer: JoinHandle<ServiceResult>) -> StatusCode {
    answer.await.unwrap().expect("a response").status()
}

// === the head of the request ===

#[tokio::test(start_paused = true)]
async fn observe_and_inspect_see_the_request_of_both_attempts_without_the_credential() {
    let observed = Arc::new(Mutex::new(Vec::new()));
    let inspected = Arc::new(Mutex::new(Vec::new()));
    let next = observed.clone();
    let refresher = refresher_fn(move |_: RefreshContext<Recorder>| {
        let next = next.clone();
        async move { Ok(Recorder("at-2", next)) }
    });
    let session = Session::new(Recorder("at-1", observed.clone()), refresher);
    let log = inspected.clone();
    let detect = detect_fn(move |response| {
        log.lock().unwrap().push(seen(response));
        response.status() == StatusCode::UNAUTHORIZED
    });
    let (inner, mut exchanges) = manual_service();
    let client: Client<Recorder> =
        RefreshLayer::new(session, Origins::any()).detect(detect).layer(inner);

    for (uri, body) in [("https://a.example/x?y", "kept whole"), ("https://a.example/", "")] {
        let answer = send(&client, post(uri, body));
        exchanges.next().await.status(StatusCode::UNAUTHORIZED);
        exchanges.next().await.status(StatusCode::OK);
        assert_eq!(status(answer).await, StatusCode::OK);
        let expected = (Method::POST, uri.to_owned(), Some("a marker"));
        let expected = vec![expected.clone(), expected];
        assert_eq!(std::mem::take(&mut *observed.lock().unwrap()), expected);
        assert_eq!(std::mem::take(&mut *inspected.lock().unwrap()), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn observe_sees_a_request_that_cannot_be_replayed() {
    let observed = Arc::new(Mutex::new(Vec::new()));
    let refresher = refresher_fn(|_: RefreshContext<Recorder>| std::future::pending());
    let session = Session::new(Recorder("at-1", observed.clone()), refresher);
    let (inner, mut exchanges) = manual_service();
    let client: Client<Recorder> =
        RefreshLayer::new(session, Origins::any()).replay_limit(0).layer(inner);
    let mut request = post("https://a.example/big", "longer than nothing");
    request.extensions_mut().insert(NoReplay);
    let answer = send(&client, request);
    exchanges.next().await.status(StatusCode::OK);
    assert_eq!(status(answer).await, StatusCode::OK);
    let expected = (Method::POST, "https://a.example/big".to_owned(), Some("a marker"));
    assert_eq!(*observed.lock().unwrap(), [expected]);
}

#[tokio::test(start_paused = true)]
async fn observe_sees_the_absolute_form_of_a_relative_uri() {
    let observed = Arc::new(Mutex::new(Vec::new()));
    let refresher = refresher_fn(|_: RefreshContext<Recorder>| std::future::pending());
    let session = Session::new(Recorder("at-1", observed.clone()), refresher);
    let api = Origin::from_static("https://a.example:8443");
    let (inner, mut exchanges) = manual_service();
    let origins = Origins::from(api.clone()).relative_to(api);
    let client: Client<Recorder> = RefreshLayer::new(session, origins).layer(inner);
    for (uri, absolute) in [
        ("/x?y", "https://a.example:8443/x?y"),
        ("https://a.example:8443/z", "https://a.example:8443/z"),
    ] {
        let answer = send(&client, post(uri, ""));
        exchanges.next().await.status(StatusCode::OK);
        assert_eq!(status(answer).await, StatusCode::OK);
        let (_, seen, _) = observed.lock().unwrap().pop().unwrap();
        assert_eq!(seen, absolute);
    }
}

// === NoRefresh, Rejected ===

#[tokio::test(start_paused = true)]
async fn a_no_refresh_request_carries_the_credential_and_keeps_its_rejection() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let (inner, mut exchanges) = manual_service();
    let client: Client = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);
    let no_refresh = || {
        let mut request = post("https://a.example/password", "guess");
        request.extensions_mut().insert(NoRefresh);
        request
    };
    let answer = send(&client, no_refresh());
    let exchange = exchanges.next().await;
    assert_eq!(exchange.bearer(), Some("at-1"));
    exchange.status(StatusCode::UNAUTHORIZED);
    assert_eq!(status(answer).await, StatusCode::UNAUTHORIZED);
    flights.none_started().await;
    assert_eq!(session.state().flights_started(), 0);

    // With the marker, a request still waits for a flight that another request started.
    let rejected = send(&client, post("https://a.example/", ""));
    exchanges.next().await.status(StatusCode::UNAUTHORIZED);
    let flight = in_time(flights.next()).await;
    let waiting = send(&client, no_refresh());
    flight.succeed("at-2");
    for _ in 0..2 {
        let exchange = exchanges.next().await;
        assert_eq!(exchange.bearer(), Some("at-2"));
        match exchange.request.uri().path() {
            "/password" => exchange.status(StatusCode::UNAUTHORIZED),
            _ => exchange.status(StatusCode::OK),
        }
    }
    assert_eq!(status(rejected).await, StatusCode::OK);
    assert_eq!(status(waiting).await, StatusCode::UNAUTHORIZED);
    assert_eq!(session.state().flights_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_200_with_the_rejected_marker_is_a_rejection() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let (inner, mut exchanges) = manual_service();
    let client: Client = RefreshLayer::new(session, Origins::any()).layer(inner);
    let answer = send(&client, post("https://a.example/graphql", "query"));
    let mut response = answer_with(StatusCode::OK, Full::from("{\"errors\":[]}"));
    response.extensions_mut().insert(Rejected);
    exchanges.next().await.answer(response);
    in_time(flights.next()).await.succeed("at-2");
    let replay = exchanges.next().await;
    assert_eq!(replay.bearer(), Some("at-2"));
    replay.status(StatusCode::OK);
    assert_eq!(status(answer).await, StatusCode::OK);
}

// === Verdict::Retry ===

fn client_that_retries_428() -> (Client, Session, Exchanges<Full<Bytes>>, Flights) {
    let (refresher, flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let detect = detect_fn(|response| match response.status() {
        StatusCode::PRECONDITION_REQUIRED => Verdict::Retry,
        status => (status == StatusCode::UNAUTHORIZED).into(),
    });
    let (inner, exchanges) = manual_service();
    let layer = RefreshLayer::new(session.clone(), Origins::any()).detect(detect);
    (layer.layer(inner), session, exchanges, flights)
}

#[tokio::test(start_paused = true)]
async fn g07_a_retry_is_sent_with_the_same_credential_and_does_not_use_up_the_replay() {
    let (client, session, mut exchanges, mut flights) = client_that_retries_428();
    let answer = send(&client, post("https://a.example/", "body"));
    exchanges.next().await.status(StatusCode::PRECONDITION_REQUIRED);
    let second = exchanges.next().await;
    assert_eq!(second.bearer(), Some("at-1"));
    flights.none_started().await;
    second.status(StatusCode::UNAUTHORIZED);
    in_time(flights.next()).await.succeed("at-2");
    let third = exchanges.next().await;
    assert_eq!(third.bearer(), Some("at-2"));
    assert_eq!(stack::body_text(third.request.into_body()).await, "body");
    third.answer.send(Ok(answer_with(StatusCode::OK, Full::<Bytes>::default()))).unwrap();
    assert_eq!(status(answer).await, StatusCode::OK);
    assert_eq!(session.state().flights_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn g07_a_second_retry_verdict_goes_to_the_caller() {
    let (client, _session, mut exchanges, mut flights) = client_that_retries_428();
    let answer = send(&client, post("https://a.example/", "body"));
    for _ in 0..2 {
        exchanges.next().await.status(StatusCode::PRECONDITION_REQUIRED);
    }
    assert_eq!(status(answer).await, StatusCode::PRECONDITION_REQUIRED);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_verdict_for_a_no_replay_request_goes_to_the_caller() {
    let (client, _session, mut exchanges, mut flights) = client_that_retries_428();
    let mut request = post("https://a.example/", "body");
    request.extensions_mut().insert(NoReplay);
    let answer = send(&client, request);
    exchanges.next().await.status(StatusCode::PRECONDITION_REQUIRED);
    assert_eq!(status(answer).await, StatusCode::PRECONDITION_REQUIRED);
    flights.none_started().await;
}
