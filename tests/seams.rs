//! The seams see the request that a response answers, and markers decide about a rejection.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod support;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, StatusCode, request::Parts};
use http_body_util::Full;
use support::{
    stack::{AnyAnswer, Exchanges, Exchanging, answer_with, exchanging, in_time},
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
type Client<C = Token> = Refresh<Exchanging<Full<Bytes>>, C>;

/// A request as a seam saw it: method, URI, and the marker in its extensions.
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

fn send<C: Credential>(client: &Client<C>, request: Call) -> JoinHandle<AnyAnswer> {
    tokio::spawn(in_time(client.clone().oneshot(request)))
}

async fn status(answer: JoinHandle<AnyAnswer>) -> StatusCode {
    answer.await.unwrap().expect("a response").status()
}

// === the request's head ===

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
    let (inner, mut exchanges) = exchanging();
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
async fn a_request_that_cannot_be_replayed_is_seen_as_well() {
    let observed = Arc::new(Mutex::new(Vec::new()));
    let refresher = refresher_fn(|_: RefreshContext<Recorder>| std::future::pending());
    let session = Session::new(Recorder("at-1", observed.clone()), refresher);
    let (inner, mut exchanges) = exchanging();
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
async fn a_relative_uri_is_shown_as_the_absolute_one_that_the_layer_was_told() {
    let observed = Arc::new(Mutex::new(Vec::new()));
    let refresher = refresher_fn(|_: RefreshContext<Recorder>| std::future::pending());
    let session = Session::new(Recorder("at-1", observed.clone()), refresher);
    let api = Origin::from_static("https://a.example:8443");
    let (inner, mut exchanges) = exchanging();
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
    let (refresher, mut flights) = by_hand();
    let session = Session::new(token("at-1"), refresher);
    let (inner, mut exchanges) = exchanging();
    let client: Client = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);
    let own = || {
        let mut request = post("https://a.example/password", "guess");
        request.extensions_mut().insert(NoRefresh);
        request
    };
    let answer = send(&client, own());
    let exchange = exchanges.next().await;
    assert_eq!(exchange.bearer(), Some("at-1"));
    exchange.status(StatusCode::UNAUTHORIZED);
    assert_eq!(status(answer).await, StatusCode::UNAUTHORIZED);
    flights.none_started().await;
    assert_eq!(session.state().flights_started(), 0);

    // The marker is no excuse from a flight that others have started.
    let rejected = send(&client, post("https://a.example/", ""));
    exchanges.next().await.status(StatusCode::UNAUTHORIZED);
    let flight = in_time(flights.next()).await;
    let waiting = send(&client, own());
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
async fn a_response_marked_as_rejected_is_rejected_whatever_its_head_says() {
    let (refresher, mut flights) = by_hand();
    let session = Session::new(token("at-1"), refresher);
    let (inner, mut exchanges) = exchanging();
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

fn with_nonces() -> (Client, Session, Exchanges<Full<Bytes>>, Flights) {
    let (refresher, flights) = by_hand();
    let session = Session::new(token("at-1"), refresher);
    let detect = detect_fn(|response| match response.status() {
        StatusCode::PRECONDITION_REQUIRED => Verdict::Retry,
        status => (status == StatusCode::UNAUTHORIZED).into(),
    });
    let (inner, exchanges) = exchanging();
    let layer = RefreshLayer::new(session.clone(), Origins::any()).detect(detect);
    (layer.layer(inner), session, exchanges, flights)
}

#[tokio::test(start_paused = true)]
async fn g07_a_retry_is_sent_with_the_same_credential_and_leaves_the_refresh_for_a_rejection() {
    let (client, session, mut exchanges, mut flights) = with_nonces();
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
async fn g07_a_second_retry_goes_to_the_caller() {
    let (client, _session, mut exchanges, mut flights) = with_nonces();
    let answer = send(&client, post("https://a.example/", "body"));
    for _ in 0..2 {
        exchanges.next().await.status(StatusCode::PRECONDITION_REQUIRED);
    }
    assert_eq!(status(answer).await, StatusCode::PRECONDITION_REQUIRED);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_a_request_that_must_not_be_sent_twice_goes_to_the_caller() {
    let (client, _session, mut exchanges, mut flights) = with_nonces();
    let mut request = post("https://a.example/", "body");
    request.extensions_mut().insert(NoReplay);
    let answer = send(&client, request);
    exchanges.next().await.status(StatusCode::PRECONDITION_REQUIRED);
    assert_eq!(status(answer).await, StatusCode::PRECONDITION_REQUIRED);
    flights.none_started().await;
}
