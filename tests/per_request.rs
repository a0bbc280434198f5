//! A layer that takes the session of each request from the request's extensions.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, its helpers too")]

mod support;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body::{Body, Frame};
use http_body_util::Full;
use support::*;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{BoxError, Layer, Service, ServiceExt, limit::ConcurrencyLimit, service_fn};
use tower_refresh::{
    Credential, Error, ErrorKind, FailureMode, Origin, Origins, PerRequest, RefreshContext,
    RefreshError, RefreshLayer, RefreshPerRequest, ReplayBody, Session, Token,
    detect::{Verdict, detect_fn},
    extension::{Anonymous, NoRefresh, NoReplay, Stamp},
    refresher_fn,
    session::{Phase, SessionTemplate},
};

type Users = RefreshPerRequest<Mock>;

fn users(layer: &RefreshLayer<Token, PerRequest>) -> (Users, Arrivals) {
    let (upstream, arrivals) = tower_test::mock::pair();
    (layer.layer(upstream), Arrivals(arrivals))
}

fn layer() -> RefreshLayer<Token, PerRequest> {
    RefreshLayer::per_request(Origins::any())
}

/// A template whose flights the test answers.
fn template() -> (SessionTemplate, Flights) {
    let (refresher, flights) = manual_refresher();
    (Session::builder(refresher).template(), flights)
}

fn signed_in(template: &SessionTemplate, access_token: &str) -> Session {
    let session = template.session();
    session.login(token(access_token));
    session
}

/// A request of this session's user.
fn of(session: &Session) -> Request<Full<Bytes>> {
    let mut request = post("https://api.example.com/", "body");
    request.extensions_mut().insert(session.clone());
    request
}

// === Which session ===

#[tokio::test(start_paused = true)]
async fn each_request_carries_the_credential_of_its_own_session() {
    let (template, _flights) = template();
    let (ann, bob) = (signed_in(&template, "anns"), signed_in(&template, "bobs"));
    let (client, mut upstream) = users(&layer());
    for (session, bearer) in [(&ann, "anns"), (&bob, "bobs"), (&ann, "anns")] {
        let request = ask(&client, of(session));
        let arrived = upstream.next().await;
        assert_eq!(arrived.token(), bearer);
        arrived.accept();
        assert_eq!(status(request).await, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn g21_a_request_without_a_session_fails_and_is_not_sent() {
    let (template, _flights) = template();
    let ann = signed_in(&template, "anns");
    let (client, mut upstream) = users(&layer());
    let request = ask(&client, of(&ann));
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);

    let answer = ask(&client, get("https://api.example.com/")).await.unwrap();
    assert_eq!(kind(answer), ErrorKind::NoSession);
    upstream.none().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_session_passes_untouched_if_the_layer_says_so() {
    let (client, mut upstream) = users(&layer().pass_without_session(true));
    let request = ask(&client, get("http://api.example.com/"));
    let arrived = upstream.next().await;
    assert_eq!(arrived.token(), "-");
    arrived.reject();
    assert_eq!(status(request).await, StatusCode::UNAUTHORIZED);
    upstream.none().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_carries_no_credential_anyway_needs_no_session() {
    let api = Origin::from_static("https://api.example.com");
    let (client, mut upstream) = users(&RefreshLayer::per_request(api));
    let mut anonymous = get("https://api.example.com/");
    anonymous.extensions_mut().insert(Anonymous);
    let mut own = get("https://api.example.com/");
    own.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer own"));
    let mut trace = get("https://api.example.com/");
    *trace.method_mut() = Method::TRACE;
    let foreign = get("https://other.example.org/");
    for (request, bearer) in [(anonymous, "-"), (own, "own"), (trace, "-"), (foreign, "-")] {
        let request = ask(&client, request);
        let arrived = upstream.next().await;
        assert_eq!(arrived.token(), bearer);
        arrived.reject();
        assert_eq!(status(request).await, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test(start_paused = true)]
async fn g12_a_request_with_a_session_goes_untouched_to_a_foreign_origin() {
    let (template, mut flights) = template();
    let ann = signed_in(&template, "anns");
    let api = Origin::from_static("https://api.example.com");
    let (client, mut upstream) = users(&RefreshLayer::per_request(api));
    let mut foreign = get("https://other.example.org/");
    foreign.extensions_mut().insert(ann);
    let request = ask(&client, foreign);
    let arrived = upstream.next().await;
    assert_eq!(arrived.token(), "-");
    assert!(arrived.request.extensions().get::<Session>().is_none());
    arrived.reject();
    assert_eq!(status(request).await, StatusCode::UNAUTHORIZED);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g12_a_credential_never_goes_in_cleartext_to_another_machine() {
    let (template, _flights) = template();
    let ann = signed_in(&template, "anns");
    let (client, mut upstream) = users(&layer());
    let mut request = get("http://api.example.com/");
    request.extensions_mut().insert(ann);
    assert_eq!(kind(ask(&client, request).await.unwrap()), ErrorKind::Cleartext);
    upstream.none().await;
}

#[tokio::test(start_paused = true)]
async fn no_attempt_has_the_session_in_its_extensions() {
    let (template, mut flights) = template();
    let ann = signed_in(&template, "at-1");
    let (client, mut upstream) = users(&layer());
    let request = ask(&client, of(&ann));
    let first = upstream.next().await;
    assert!(first.request.extensions().get::<Session>().is_none());
    first.reject();
    flights.next().await.succeed("at-2");
    let replay = upstream.next().await;
    assert_eq!(replay.token(), "at-2");
    assert!(replay.request.extensions().get::<Session>().is_none());
    replay.accept();
    assert_eq!(status(request).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_session_of_another_credential_type_is_not_used() {
    #[derive(Clone)]
    struct Key;
    impl Credential for Key {
        fn apply(&self, request: &mut Parts) {
            request.headers.insert("x-key", HeaderValue::from_static("key"));
        }
    }
    let keys = Session::new(Key, refresher_fn(|_: RefreshContext<Key>| async { Ok(Key) }));
    let (upstream, arrivals) = tower_test::mock::pair();
    let mut arrivals = Arrivals(arrivals);
    let tokens: Users = layer().layer(upstream);
    let mut request = get("https://api.example.com/");
    request.extensions_mut().insert(keys.clone());
    assert_eq!(kind(ask(&tokens, request).await.unwrap()), ErrorKind::NoSession);
    arrivals.none().await;

    let (upstream, arrivals) = tower_test::mock::pair();
    let mut arrivals = Arrivals(arrivals);
    let client: RefreshPerRequest<Mock, Key> = layer().credential::<Key>().layer(upstream);
    let mut request = get("https://api.example.com/");
    request.extensions_mut().insert(keys);
    let request = ask(&client, request);
    let arrived = arrivals.next().await;
    assert_eq!(arrived.request.headers()["x-key"], "key");
    arrived.accept();
    assert_eq!(status(request).await, StatusCode::OK);
}

// === The guarantees, for each session by itself ===

#[tokio::test(start_paused = true)]
async fn g01_rejected_requests_of_two_users_cause_one_flight_each() {
    let (template, mut flights) = template();
    let (ann, bob) = (signed_in(&template, "ann-1"), signed_in(&template, "bob-1"));
    let (client, mut upstream) = users(&layer());
    let requests: Vec<_> =
        (0..20).map(|n| ask(&client, of(if n % 2 == 0 { &ann } else { &bob }))).collect();
    for arrived in upstream.take(20).await {
        arrived.reject();
    }
    for _ in 0..2 {
        let flight = flights.next().await;
        let user = flight.context.current().unwrap().access_token().replace("-1", "-2");
        flight.succeed(&user);
    }
    let mut replays = upstream.take(20).await;
    replays.sort_by(|a, b| a.token().cmp(b.token()));
    assert!(replays[..10].iter().all(|replay| replay.token() == "ann-2"));
    assert!(replays[10..].iter().all(|replay| replay.token() == "bob-2"));
    replays.into_iter().for_each(Arrived::accept);
    for request in requests {
        assert_eq!(status(request).await, StatusCode::OK);
    }
    assert_eq!(ann.state().flights_started(), 1);
    assert_eq!(bob.state().flights_started(), 1);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g21_the_slow_refresh_of_one_user_holds_up_no_other() {
    let (refresher, mut flights) = manual_refresher();
    let template = Session::builder(refresher).max_waiters(1).template();
    let (ann, bob) = (signed_in(&template, "ann-1"), signed_in(&template, "bob-1"));
    let (client, mut upstream) = users(&layer());
    let slow = ask(&client, of(&ann));
    upstream.next().await.reject();
    let flight = flights.next().await;
    assert_eq!(kind(ask(&client, of(&ann)).await.unwrap()), ErrorKind::Overloaded);

    let request = ask(&client, of(&bob));
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    flight.succeed("ann-2");
    upstream.next().await.accept();
    assert_eq!(status(slow).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn g04_a_login_of_another_user_in_the_same_session_fences_the_request() {
    let (template, mut flights) = template();
    let session = signed_in(&template, "anns");
    let (client, mut upstream) = users(&layer());
    let request = ask(&client, of(&session));
    let arrived = upstream.next().await;
    session.login(token("bobs"));
    arrived.reject();
    assert_eq!(kind(request.await.unwrap()), ErrorKind::LoginChanged);
    upstream.none().await;
    flights.none_started().await;
}

/// An empty body that logs another user in when it is polled.
struct LogsIn(Session);

impl Body for LogsIn {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.login(token("bobs"));
        Poll::Ready(None)
    }
}

#[tokio::test(start_paused = true)]
async fn g04_a_login_during_the_call_is_noticed_before_the_request_is_sent() {
    let (template, _flights) = template();
    let session = signed_in(&template, "anns");
    let client = layer().layer(service_fn(|_: Request<ReplayBody<LogsIn>>| async {
        Err::<Response<Full<Bytes>>, BoxError>("the request was sent".into())
    }));
    let mut request = Request::post("https://api.example.com/").body(LogsIn(session.clone()));
    request.as_mut().unwrap().extensions_mut().insert(session);
    let error = client.oneshot(request.unwrap()).await.unwrap_err();
    assert_eq!(session_error(&error).kind(), ErrorKind::LoginChanged);
}

#[tokio::test(start_paused = true)]
async fn g09_a_request_after_the_logout_is_not_sent() {
    let (template, _flights) = template();
    let ann = signed_in(&template, "anns");
    let (client, mut upstream) = users(&layer());
    ann.logout().await;
    assert_eq!(kind(ask(&client, of(&ann)).await.unwrap()), ErrorKind::LoggedOut);
    let never = template.session();
    assert_eq!(kind(ask(&client, of(&never)).await.unwrap()), ErrorKind::LoggedOut);
    upstream.none().await;
}

#[tokio::test(start_paused = true)]
async fn g09_a_request_that_waits_while_its_user_logs_out_is_not_sent() {
    let (template, mut flights) = template();
    let (ann, bob) = (signed_in(&template, "anns"), signed_in(&template, "bobs"));
    let (client, mut upstream) = users(&layer());
    let request = ask(&client, of(&ann));
    upstream.next().await.reject();
    let _flight = flights.next().await;
    drop(ann.logout());
    assert_eq!(kind(request.await.unwrap()), ErrorKind::LoggedOut);
    upstream.none().await;
    assert!(matches!(bob.state().phase(), Phase::Active));
}

#[tokio::test(start_paused = true)]
async fn g11_requests_of_a_refresher_with_its_own_session_pass_untouched() {
    let client: Arc<OnceLock<(Users, Session)>> = Arc::default();
    let refresher = refresher_fn({
        let client = client.clone();
        move |_: RefreshContext| {
            let (client, session) = client.get().unwrap().clone();
            async move {
                let response = client.oneshot(of(&session)).await;
                match response.map_err(RefreshError::transient)?.status() {
                    StatusCode::OK => Ok(Token::bearer("at-2")?),
                    status => Err(RefreshError::from_status(status)),
                }
            }
        }
    });
    let session = Session::new(token("at-1"), refresher);
    let (service, mut upstream) = users(&layer());
    assert!(client.set((service.clone(), session.clone())).is_ok());
    let request = ask(&service, of(&session));
    upstream.next().await.reject();
    let refresh = upstream.next().await;
    assert_eq!(refresh.token(), "-");
    assert!(refresh.request.extensions().get::<Session>().is_none());
    refresh.accept();
    let replay = upstream.next().await;
    assert_eq!(replay.token(), "at-2");
    replay.accept();
    assert_eq!(status(request).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn g13_a_waiting_request_holds_no_permit_of_the_inner_service() {
    let (template, mut flights) = template();
    let (ann, bob) = (signed_in(&template, "ann-1"), signed_in(&template, "bob-1"));
    let (upstream, arrivals) = tower_test::mock::pair();
    let mut upstream_side = Arrivals(arrivals);
    let client: RefreshPerRequest<ConcurrencyLimit<Mock>> =
        layer().layer(ConcurrencyLimit::new(upstream, 1));

    // Rejected, and waits for the flight.
    let rejected = ask(&client, of(&ann));
    upstream_side.next().await.reject();
    let flight = flights.next().await;
    // Never sent, and waits for the flight.
    let held_back = ask(&client, of(&ann));
    settle_tasks().await;
    assert_eq!(ann.waiters(), 2);
    for _ in 0..2 {
        let request = ask(&client, of(&bob));
        upstream_side.next().await.accept();
        assert_eq!(status(request).await, StatusCode::OK);
    }
    flight.succeed("ann-2");
    for _ in 0..2 {
        upstream_side.next().await.accept();
    }
    assert_eq!(status(rejected).await, StatusCode::OK);
    assert_eq!(status(held_back).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn g13_a_refused_request_releases_the_readiness_of_the_inner_service() {
    let (template, _flights) = template();
    let over = template.session();
    let (upstream, _arrivals) = tower_test::mock::pair::<UpstreamRequest, UpstreamResponse>();
    let mut client: RefreshPerRequest<_> = layer().layer(ConcurrencyLimit::new(upstream, 1));
    let mut other = client.clone();
    for request in [of(&over), get("https://api.example.com/")] {
        let mut ready = task::spawn(ServiceExt::<Request<Full<Bytes>>>::ready(&mut client));
        let client = assert_ready!(ready.poll()).unwrap();
        let mut next = task::spawn(ServiceExt::<Request<Full<Bytes>>>::ready(&mut other));
        assert_pending!(next.poll());
        let refused = client.call(request);
        assert!(assert_ready!(next.poll()).is_ok());
        drop((next, refused));
        // Gives the permit back.
        other = other.clone();
    }
}

#[tokio::test(start_paused = true)]
async fn g13_the_readiness_of_the_inner_service_is_the_readiness_of_this_one() {
    let (upstream, mut arrivals) = tower_test::mock::pair::<UpstreamRequest, UpstreamResponse>();
    arrivals.allow(0);
    let mut client: Users = layer().layer(upstream);
    let mut ready = task::spawn(ServiceExt::<Request<Full<Bytes>>>::ready(&mut client));
    assert_pending!(ready.poll());
    arrivals.allow(1);
    assert!(ready.is_woken());
    assert!(assert_ready!(ready.poll()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn g13_every_attempt_goes_to_an_instance_that_was_polled_ready() {
    let (template, mut flights) = template();
    let ann = signed_in(&template, "at-1");
    let (upstream, mut exchanges) = stack::manual_service::<Full<Bytes>>();
    let (probe, counts) = stack::Probe::hesitating(upstream);
    let client: RefreshPerRequest<_> = layer().layer(probe);
    let request = tokio::spawn(client.oneshot(of(&ann)));
    exchanges.next().await.status(StatusCode::UNAUTHORIZED);
    flights.next().await.succeed("at-2");
    exchanges.next().await.status(StatusCode::OK);
    assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(counts.violations(), 0);
    assert_eq!(counts.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn g14_a_replay_differs_in_the_credential_alone() {
    let (template, mut flights) = template();
    let ann = signed_in(&template, "at-1");
    let (client, mut upstream) = users(&layer());
    let mut sent = of(&ann);
    sent.headers_mut().insert("x-header", HeaderValue::from_static("value"));
    sent.extensions_mut().insert(7_u8);
    let request = ask(&client, sent);
    upstream.next().await.reject();
    flights.next().await.succeed("at-2");
    let replay = upstream.next().await;
    assert_eq!(replay.request.method(), Method::POST);
    assert_eq!(replay.request.headers()["x-header"], "value");
    assert_eq!(replay.request.extensions().get(), Some(&7_u8));
    let (body, answer) = replay.text().await;
    assert_eq!(body, "body");
    answer.send_response(response(StatusCode::OK));
    assert_eq!(status(request).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn g20_the_session_of_a_waiting_request_lives_as_long_as_the_request() {
    let (template, mut flights) = template();
    let ann = signed_in(&template, "at-1");
    let (client, mut upstream) = users(&layer());
    let request = ask(&client, of(&ann));
    upstream.next().await.reject();
    let flight = flights.next().await;
    let weak = ann.downgrade();
    drop(ann);
    flight.succeed("at-2");
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    settle_tasks().await;
    assert!(weak.upgrade().is_none());
}

// === The settings of the layer ===

#[tokio::test(start_paused = true)]
async fn settings_hold_for_every_session() {
    let (template, mut flights) = template();
    let ann = signed_in(&template, "at-1");
    let teapot = detect_fn(|response| match response.status() {
        StatusCode::IM_A_TEAPOT => Verdict::Rejected,
        _ => Verdict::Accepted,
    });
    let layer = layer()
        .detect(teapot)
        .overwrite(true)
        .replay_limit(0)
        .failure_mode(FailureMode::Response)
        .expose_stamp(true);
    let (client, mut upstream) = users(&layer.clone());
    let mut own = of(&ann);
    own.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer own"));
    let request = ask(&client, own);
    let arrived = upstream.next().await;
    assert_eq!(arrived.token(), "at-1");
    let stamp = arrived.request.extensions().get::<Stamp>().unwrap().clone();
    assert_eq!(stamp.login(), ann.state().login());
    // The body is longer than the limit, so the caller gets the rejection.
    arrived.answer(response(StatusCode::IM_A_TEAPOT));
    let answer = request.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(answer.extensions().get::<Stamp>().unwrap().generation(), stamp.generation());
    flights.next().await.succeed("at-2");
}

#[tokio::test(start_paused = true)]
async fn a_stamp_reports_to_the_session_of_its_request() {
    let (template, mut flights) = template();
    let (ann, bob) = (signed_in(&template, "anns"), signed_in(&template, "bobs"));
    let (client, mut upstream) = users(&layer().expose_stamp(true));
    let request = ask(&client, of(&bob));
    let arrived = upstream.next().await;
    let stamp = arrived.request.extensions().get::<Stamp>().unwrap().clone();
    arrived.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    stamp.reject();
    assert_eq!(flights.next().await.context.current().unwrap().access_token(), "bobs");
    assert_eq!(ann.state().flights_started(), 0);
    drop(bob);
    settle_tasks().await;
    stamp.reject();
}

#[tokio::test(start_paused = true)]
async fn markers_of_a_request_are_heeded() {
    let (template, mut flights) = template();
    let ann = signed_in(&template, "at-1");
    let (client, mut upstream) = users(&layer());
    let mut request = of(&ann);
    request.extensions_mut().insert(NoRefresh);
    let request = ask(&client, request);
    upstream.next().await.reject();
    assert_eq!(status(request).await, StatusCode::UNAUTHORIZED);
    flights.none_started().await;

    let mut request = of(&ann);
    request.extensions_mut().insert(NoReplay);
    let request = ask(&client, request);
    upstream.next().await.reject();
    assert_eq!(status(request).await, StatusCode::UNAUTHORIZED);
    assert_eq!(flights.next().await.context.current().unwrap().access_token(), "at-1");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_due_starts_and_holds_up_no_request() {
    let clock = Clock::new();
    let (refresher, mut flights) = manual_refresher();
    let ann = Session::builder(refresher)
        .refresh_ahead(Duration::from_secs(60))
        .refresh_ahead_jitter(0.0)
        .clock(clock.reader())
        .credential(token("at-1").with_expires_at(clock.after(3600)))
        .build();
    let (client, mut upstream) = users(&layer());
    clock.advance(3570);
    let request = ask(&client, of(&ann));
    let arrived = upstream.next().await;
    assert_eq!(arrived.token(), "at-1");
    arrived.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    let flight = flights.next().await;
    clock.advance(60);
    let request = ask(&client, of(&ann));
    upstream.none().await;
    flight.succeed("at-2");
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_get_mut_has_left_gets_the_replays() {
    let (template, mut flights) = template();
    let ann = signed_in(&template, "at-1");
    let (mut client, _before) = users(&layer());
    let (upstream, arrivals) = tower_test::mock::pair();
    let mut upstream_side = Arrivals(arrivals);
    let _: &Mock = client.get_ref();
    *client.get_mut() = upstream;
    let request = ask(&client, of(&ann));
    upstream_side.next().await.reject();
    flights.next().await.succeed("at-2");
    upstream_side.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    let _: Mock = client.into_inner();
}

#[test]
fn the_service_is_send_sync_and_shows_no_secret() {
    fn assert_send_sync<T: Send + Sync>(_: &T) {}
    let (client, _upstream) = users(&layer());
    assert_send_sync(&client);
    assert_send_sync(&layer());
    let shown = format!("{:?} {client:?}", layer());
    assert!(shown.contains("RefreshPerRequest") && shown.contains("pass_without_session"));
    let error = Error::clone(session_error(&BoxError::from(tower_refresh::testing::error(
        ErrorKind::NoSession,
        None,
        None,
    ))));
    assert_eq!(error.to_string(), "the request has no session");
}
