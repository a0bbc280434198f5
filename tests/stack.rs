//! Guarantee 13: readiness, permits and response bodies in a stack of services.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod support;

use std::{
    mem,
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker, ready},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{Empty, Full};
use support::{
    stack::{
        BoxedBody, EndlessBody, Exchanges, ManualService, Probe, ScriptedBody, ServiceResult, Step,
        TrackedBody, answer_with, body_text, boxed, channel_body, frame, in_time, manual_service,
    },
    *,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt, buffer::Buffer, limit::ConcurrencyLimit,
    service_fn,
};
use tower_refresh::{
    Error, ErrorKind, FailureMode, Origins, Refresh, RefreshContext, RefreshError, RefreshLayer,
    Refresher, Session, Token,
    extension::{Anonymous, NoReplay, Stamp},
    refresher::{BoxFuture, Cause},
    refresher_fn,
};

type Call = Request<Full<Bytes>>;

fn not_ready<S: Service<R>, R>(service: &mut S) -> bool {
    poll_ready(service).is_pending()
}

fn is_ready<S: Service<R, Error = BoxError>, R>(service: &mut S) -> bool {
    matches!(poll_ready(service), Poll::Ready(Ok(())))
}

fn poll_ready<S: Service<R>, R>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

async fn wait_ready<S: Service<Call, Error = BoxError>>(service: &mut S) -> &mut S {
    service.ready().await.expect("the service has no error")
}

fn limited<S>(inner: S, permits: usize) -> (ConcurrencyLimit<S>, Arc<Semaphore>) {
    let semaphore = Arc::new(Semaphore::new(permits));
    (ConcurrencyLimit::with_semaphore(inner, semaphore.clone()), semaphore)
}

// === readiness ===

#[tokio::test]
async fn g13_every_attempt_goes_to_an_instance_that_was_polled_ready_for_it() {
    for hesitates in [false, true] {
        let upstream = Upstream::accepting(&["at-1"]);
        let (probe, counts) = if hesitates {
            Probe::hesitating(upstream.clone())
        } else {
            Probe::new(upstream.clone())
        };
        let (refresher, mut flights) = manual_refresher();
        let session = Session::new(token("at-1"), refresher);
        let client = RefreshLayer::new(session.clone(), Origins::any()).layer(probe);
        let mut kept = client.clone();

        // Fresh requests through one instance.
        for _ in 0..3 {
            assert_eq!(
                wait_ready(&mut kept).await.call(get("/")).await.unwrap().status(),
                StatusCode::OK
            );
        }
        // A caller that does not poll readiness.
        assert_eq!(kept.call(get("/")).await.unwrap().status(), StatusCode::OK);
        let mut anonymous = get("/");
        anonymous.extensions_mut().insert(Anonymous);
        assert_eq!(kept.call(anonymous.clone()).await.unwrap().status(), StatusCode::UNAUTHORIZED);

        // Requests rejected together. Some instances were ready before the rejection and are called
        // after it.
        upstream.accept_only(&[]);
        let mut early = client.clone();
        wait_ready(&mut early).await;
        let mut passing = client.clone();
        wait_ready(&mut passing).await;
        let mut refused = client.clone();
        wait_ready(&mut refused).await;
        let rejected: Vec<_> =
            (0..10).map(|_| tokio::spawn(client.clone().oneshot(get("/")))).collect();
        let flight = in_time(flights.next()).await;
        settle_tasks().await;
        let waiting = tokio::spawn(early.call(get("/")));
        assert_eq!(
            passing.call(anonymous.clone()).await.unwrap().status(),
            StatusCode::UNAUTHORIZED
        );
        let cleartext: Call = Request::get("http://example.com/").body(Full::default()).unwrap();
        assert_eq!(kind(refused.call(cleartext.clone()).await), ErrorKind::Cleartext);
        let late = tokio::spawn(client.clone().oneshot(get("/")));
        // Anonymous requests are sent while others wait.
        let passed = client.clone().oneshot(anonymous.clone()).await.unwrap();
        assert_eq!(passed.status(), StatusCode::UNAUTHORIZED);
        settle_tasks().await;
        assert_eq!(counts.held(), 0, "waiting requests hold no ready instance");
        upstream.accept_only(&["at-2"]);
        flight.succeed("at-2");
        for request in rejected.into_iter().chain([waiting, late]) {
            assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
        }

        // Logged out.
        let mut ended = client.clone();
        wait_ready(&mut ended).await;
        session.logout().await;
        assert_eq!(kind(ended.call(get("/")).await), ErrorKind::LoggedOut);
        assert_eq!(kind(in_time(client.clone().oneshot(get("/"))).await), ErrorKind::LoggedOut);
        let passed = client.clone().oneshot(anonymous).await.unwrap();
        assert_eq!(passed.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(kind(client.clone().oneshot(cleartext).await), ErrorKind::Cleartext);

        assert_eq!(counts.violations(), 0);
        assert_eq!(counts.held(), 0);
        flights.none_started().await;
    }
}

#[tokio::test]
async fn g13_an_inner_service_swapped_in_after_poll_ready_is_polled_ready_before_the_call() {
    let upstream = Upstream::accepting(&["at-1"]);
    let (probe, counts) = Probe::new(upstream.clone());
    let (refresher, _flights) = manual_refresher();
    let mut service =
        RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any()).layer(probe);
    wait_ready(&mut service).await;
    let other = service.get_ref().clone();
    drop(mem::replace(service.get_mut(), other));
    assert_eq!(service.call(get("/")).await.unwrap().status(), StatusCode::OK);
    assert_eq!((counts.violations(), counts.held()), (0, 0));
}

#[tokio::test]
async fn g13_a_request_with_an_expired_credential_acquires_readiness_after_the_refresh() {
    let (probe, counts) = Probe::hesitating(Upstream::accepting(&["at-2"]));
    let (refresher, mut flights) = manual_refresher();
    let now = SystemTime::now();
    let clock = Arc::new(AtomicUsize::new(0));
    let read = clock.clone();
    let session = Session::builder(refresher)
        .credential(token("at-1").with_expires_at(now + Duration::from_secs(60)))
        .clock(move || now + Duration::from_secs(read.load(SeqCst) as u64))
        .build();
    let client = RefreshLayer::new(session, Origins::any()).layer(probe);

    clock.store(61, SeqCst);
    let mut caller = client.clone();
    assert!(is_ready::<_, Call>(&mut caller));
    assert_eq!(counts.asked(), 0, "readiness was acquired for an expired credential");
    let expired = tokio::spawn(caller.call(get("/")));
    let flight = in_time(flights.next()).await;
    assert_eq!(flight.context.cause(), Cause::Expiring);
    assert_eq!((counts.asked(), counts.calls()), (0, 0));
    flight.succeed("at-2");
    assert_eq!(expired.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!((counts.violations(), counts.held(), counts.calls()), (0, 0, 1));
}

#[tokio::test]
async fn g13_poll_ready_asks_the_inner_service_only_while_the_credential_is_usable() {
    let (inner, mut exchanges) = manual_service::<Full<Bytes>>();
    let (probe, counts) = Probe::new(inner);
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(probe);
    let mut other = client.clone();

    assert!(is_ready::<_, Call>(&mut other));
    assert_eq!((counts.asked(), counts.held()), (1, 1));

    let rejected = tokio::spawn(client.clone().oneshot(get("/")));
    exchanges.next().await.status(StatusCode::UNAUTHORIZED);
    let flight = in_time(flights.next()).await;
    settle_tasks().await;
    let asked = counts.asked();
    assert!(is_ready::<_, Call>(&mut other));
    assert_eq!(
        (counts.asked(), counts.held()),
        (asked, 0),
        "during an awaited flight, readiness is released and not acquired"
    );

    flight.answer(Err(RefreshError::transient("busy")));
    assert_eq!(kind(rejected.await.unwrap()), ErrorKind::RefreshFailed);
    assert!(is_ready::<_, Call>(&mut other));
    assert_eq!(
        (counts.asked(), counts.held()),
        (asked + 1, 1),
        "after a failure the credential is still usable"
    );

    drop(session.logout());
    assert!(is_ready::<_, Call>(&mut other));
    assert_eq!(
        (counts.asked(), counts.held()),
        (asked + 1, 0),
        "after a logout, readiness is released and not acquired"
    );

    session.login(token("at-9"));
    let refresh = tokio::spawn(session.refresh());
    let _flight = in_time(flights.next()).await;
    assert!(is_ready::<_, Call>(&mut other));
    assert_eq!(
        (counts.asked(), counts.held()),
        (asked + 2, 1),
        "a flight without waiters does not affect readiness"
    );
    refresh.abort();
}

#[tokio::test]
async fn g13_errors_of_poll_ready_pass_through_unwrapped() {
    #[derive(Clone, Debug)]
    struct Broken;

    #[derive(Debug, PartialEq)]
    struct Fault;

    impl std::fmt::Display for Fault {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("broken")
        }
    }

    impl std::error::Error for Fault {}

    impl<R> Service<R> for Broken {
        type Response = Response<Full<Bytes>>;
        type Error = Fault;
        type Future = std::future::Ready<Result<Response<Full<Bytes>>, Fault>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
            Poll::Ready(Err(Fault))
        }

        fn call(&mut self, _: R) -> Self::Future {
            panic!("called although it is never ready")
        }
    }

    let (refresher, _flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let mut client = RefreshLayer::new(session.clone(), Origins::any()).layer(Broken);
    let error = ServiceExt::<Call>::ready(&mut client).await.expect_err("the inner service fails");
    assert_eq!(error.downcast_ref(), Some(&Fault));

    // A logged-out session does not poll the inner service. The error appears once a request has to
    // be sent.
    drop(session.logout());
    assert!(is_ready::<_, Call>(&mut client));
    assert_eq!(kind(client.call(get("/")).await), ErrorKind::LoggedOut);
    let mut anonymous = get("/");
    anonymous.extensions_mut().insert(Anonymous);
    let error = client.call(anonymous).await.expect_err("the inner service fails");
    assert_eq!(error.downcast_ref(), Some(&Fault));
}

#[tokio::test]
async fn g13_a_readiness_error_before_the_replay_passes_through_unwrapped() {
    /// A service that is ready for one call, and fails afterwards.
    #[derive(Clone)]
    struct Once(Arc<AtomicUsize>);

    impl<R> Service<R> for Once {
        type Response = Response<Full<Bytes>>;
        type Error = std::io::Error;
        type Future = std::future::Ready<Result<Response<Full<Bytes>>, std::io::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
            match self.0.load(SeqCst) {
                0 => Poll::Ready(Ok(())),
                _ => Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into())),
            }
        }

        fn call(&mut self, _: R) -> Self::Future {
            self.0.fetch_add(1, SeqCst);
            std::future::ready(Ok(response(StatusCode::UNAUTHORIZED)))
        }
    }

    let calls = Arc::<AtomicUsize>::default();
    let refresher = CountingRefresher::for_upstream(&Upstream::accepting(&[]));
    let session = Session::new(token("at-1"), refresher.clone());
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(Once(calls.clone()));
    let error = client.oneshot(get("/")).await.expect_err("the inner service fails");
    let error = error.downcast_ref::<std::io::Error>().expect("the error of the inner service");
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!((calls.load(SeqCst), refresher.calls()), (1, 1));
    assert_eq!(
        session.credential().unwrap().access_token(),
        "at-2",
        "the session keeps the refreshed credential"
    );
}

// === permits and queues ===

#[tokio::test]
async fn g13_a_waiting_request_holds_no_permit() {
    let (inner, mut exchanges) = manual_service::<Full<Bytes>>();
    let (inner, permits) = limited(inner, 3);
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let client = RefreshLayer::new(session, Origins::any()).layer(inner);

    let mut idle = client.clone();
    assert!(is_ready::<_, Call>(&mut idle));
    let mut caller = client.clone();
    assert!(is_ready::<_, Call>(&mut caller));
    let rejected = tokio::spawn(client.clone().oneshot(get("/")));
    let exchange = exchanges.next().await;
    assert_eq!(permits.available_permits(), 0);

    exchange.status(StatusCode::UNAUTHORIZED);
    let flight = in_time(flights.next()).await;
    settle_tasks().await;
    assert_eq!(permits.available_permits(), 1, "the rejected request released its permit");
    let waiting = tokio::spawn(caller.call(get("/")));
    settle_tasks().await;
    assert_eq!(permits.available_permits(), 2, "ready before the rejection, called after it");
    assert!(is_ready::<_, Call>(&mut idle));
    assert_eq!(permits.available_permits(), 3, "ready before the rejection, polled again");

    flight.succeed("at-2");
    for _ in 0..2 {
        exchanges.next().await.status(StatusCode::OK);
    }
    for request in [rejected, waiting] {
        assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(permits.available_permits(), 3);
}

#[tokio::test]
async fn g13_a_request_refused_by_the_layer_releases_its_permit() {
    let (inner, _exchanges) = manual_service::<Full<Bytes>>();
    let (inner, permits) = limited(inner, 1);
    let (refresher, _flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let mut client = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);

    assert!(is_ready::<_, Call>(&mut client));
    assert_eq!(permits.available_permits(), 0);
    let cleartext: Call = Request::get("http://example.com/").body(Full::default()).unwrap();
    assert_eq!(kind(client.call(cleartext).await), ErrorKind::Cleartext);
    assert_eq!(permits.available_permits(), 1);

    assert!(is_ready::<_, Call>(&mut client));
    drop(session.logout());
    assert_eq!(kind(client.call(get("/")).await), ErrorKind::LoggedOut);
    assert_eq!(permits.available_permits(), 1);
}

#[tokio::test]
async fn g13_a_logout_gives_up_the_place_in_the_queue_for_a_permit() {
    let (inner, mut exchanges) = manual_service::<Full<Bytes>>();
    let (inner, permits) = limited(inner, 1);
    let (refresher, _flights) = manual_refresher();
    let ended = Session::new(token("at-1"), refresher);
    let (refresher, _flights) = manual_refresher();
    let other = Session::new(token("bt-1"), refresher);
    let mut first = RefreshLayer::new(ended.clone(), Origins::any()).layer(inner.clone());
    let mut second = RefreshLayer::new(ended.clone(), Origins::any()).layer(inner.clone());
    let mut third = RefreshLayer::new(other, Origins::any()).layer(inner);

    let sent = tokio::spawn(wait_ready(&mut first).await.call(get("/")));
    let exchange = exchanges.next().await;
    assert!(not_ready::<_, Call>(&mut second), "queued");
    assert!(not_ready::<_, Call>(&mut third), "queued behind it");

    drop(ended.logout());
    assert!(is_ready::<_, Call>(&mut second), "ready, so that the call can fail");
    exchange.status(StatusCode::OK);
    assert_eq!(sent.await.unwrap().unwrap().status(), StatusCode::OK, "sent before the logout");
    assert!(is_ready::<_, Call>(&mut third), "first in the queue");
    assert_eq!(kind(second.call(get("/")).await), ErrorKind::LoggedOut);
    drop(third);
    assert_eq!(permits.available_permits(), 1);
}

#[tokio::test]
async fn g13_a_permit_assigned_to_a_request_that_must_wait_passes_to_the_next_in_the_queue() {
    let (inner, mut exchanges) = manual_service::<Full<Bytes>>();
    let (inner, permits) = limited(inner, 1);
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let client = RefreshLayer::new(session, Origins::any()).layer(inner.clone());
    let (refresher, _flights) = manual_refresher();
    let mut other =
        RefreshLayer::new(Session::new(token("bt-1"), refresher), Origins::any()).layer(inner);

    let mut queued = Vec::new();
    queued.push(tokio::spawn(client.clone().oneshot(get("/"))));
    let exchange = exchanges.next().await;
    // These requests wait for the permit of the first one.
    queued.extend((0..5).map(|_| tokio::spawn(client.clone().oneshot(get("/")))));
    settle_tasks().await;
    assert!(not_ready::<_, Call>(&mut other), "last in the queue");
    exchange.status(StatusCode::UNAUTHORIZED);
    let flight = in_time(flights.next()).await;
    settle_tasks().await;
    assert!(is_ready::<_, Call>(&mut other), "all requests before it wait for the flight");
    drop(other);
    assert_eq!(permits.available_permits(), 1);

    flight.succeed("at-2");
    for _ in 0..6 {
        let exchange = exchanges.next().await;
        assert_eq!(exchange.bearer(), Some("at-2"));
        exchange.status(StatusCode::OK);
    }
    for request in queued {
        assert_eq!(in_time(request).await.unwrap().unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn g13_concurrency_limit_of_one_under_the_layer_does_not_deadlock() {
    let upstream = Upstream::accepting(&[]);
    let refresher = CountingRefresher::for_upstream(&upstream);
    let session = Session::new(token("at-1"), refresher.clone());
    let (probe, counts) = Probe::new(ConcurrencyLimit::new(upstream.clone(), 1));
    let client = RefreshLayer::new(session, Origins::any()).layer(probe);
    herd_of_fifty(client).await;
    assert_eq!((refresher.calls(), counts.violations(), counts.held()), (1, 0, 0));
}

#[tokio::test]
async fn g13_buffer_of_one_under_the_layer_does_not_deadlock() {
    let upstream = Upstream::accepting(&[]);
    let refresher = CountingRefresher::for_upstream(&upstream);
    let session = Session::new(token("at-1"), refresher.clone());
    let limited = ConcurrencyLimit::new(upstream.clone(), 1);
    let (probe, counts) = Probe::new(Buffer::new(limited, 1));
    let client = RefreshLayer::new(session, Origins::any()).layer(probe);
    herd_of_fifty(client).await;
    assert_eq!((refresher.calls(), counts.violations(), counts.held()), (1, 0, 0));
}

#[tokio::test]
async fn g13_buffer_and_concurrency_limit_above_the_layer_do_not_deadlock() {
    let upstream = Upstream::accepting(&[]);
    let refresher = CountingRefresher::for_upstream(&upstream);
    let session = Session::new(token("at-1"), refresher.clone());
    let client = ServiceBuilder::new()
        .buffer(1)
        .concurrency_limit(1)
        .layer(RefreshLayer::new(session, Origins::any()))
        .concurrency_limit(1)
        .service(upstream);
    herd_of_fifty(client).await;
    assert_eq!(refresher.calls(), 1);
}

async fn herd_of_fifty<S>(client: S)
where
    S: Service<Call, Response = Response<Full<Bytes>>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
{
    let requests: Vec<_> = (0..50)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { (n, client.oneshot(post("/", format!("body {n}"))).await) })
        })
        .collect();
    for request in requests {
        let (n, answer) = in_time(request).await.unwrap();
        let answer = answer.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(body_text(answer.into_body()).await, format!("body {n}"));
    }
}

/// A refresher that sends through a client of the same session.
struct RefreshThroughClient<S> {
    client: OnceLock<S>,
    upstream: Upstream,
    calls: AtomicUsize,
}

impl<S> Refresher for RefreshThroughClient<S>
where
    S: Service<Call, Response = Response<Full<Bytes>>, Error = BoxError>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    fn refresh(&self, _: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        Box::pin(async move {
            self.calls.fetch_add(1, SeqCst);
            let client = self.client.get().expect("the client is made").clone();
            // A request of the refresher carries no credential, and its 401 is returned as a
            // response.
            let answer =
                client.oneshot(get("/auth/refresh")).await.map_err(RefreshError::transient)?;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
            self.upstream.accept_only(&["at-2"]);
            Ok(Token::bearer("at-2")?)
        })
    }
}

#[tokio::test]
async fn g13_a_refresh_through_the_same_concurrency_limit_of_one_does_not_deadlock() {
    type Limited = Refresh<Probe<ConcurrencyLimit<Upstream>>>;

    let upstream = Upstream::accepting(&[]);
    let refresher = Arc::new(RefreshThroughClient::<Limited> {
        client: OnceLock::new(),
        upstream: upstream.clone(),
        calls: AtomicUsize::new(0),
    });
    let session = Session::new(token("at-1"), refresher.clone());
    let (probe, counts) = Probe::new(ConcurrencyLimit::new(upstream.clone(), 1));
    let client = RefreshLayer::new(session, Origins::any()).layer(probe);
    assert!(refresher.client.set(client.clone()).is_ok());
    herd_of_fifty(client).await;
    assert_eq!((refresher.calls.load(SeqCst), upstream.count("-")), (1, 1));
    assert_eq!((counts.violations(), counts.held()), (0, 0));
}

#[tokio::test]
async fn g13_a_refresh_through_the_same_buffer_of_one_does_not_deadlock() {
    type Answer = BoxFuture<'static, Result<Response<Full<Bytes>>, BoxError>>;
    type Limited = tower::limit::concurrency::future::ResponseFuture<Answer>;
    type Sent = Request<tower_refresh::ReplayBody<Full<Bytes>>>;
    type Buffered = Refresh<Probe<Buffer<Sent, Limited>>>;

    let upstream = Upstream::accepting(&[]);
    let refresher = Arc::new(RefreshThroughClient::<Buffered> {
        client: OnceLock::new(),
        upstream: upstream.clone(),
        calls: AtomicUsize::new(0),
    });
    let session = Session::new(token("at-1"), refresher.clone());
    let (probe, counts) = Probe::new(Buffer::new(ConcurrencyLimit::new(upstream.clone(), 1), 1));
    let client = RefreshLayer::new(session, Origins::any()).layer(probe);
    assert!(refresher.client.set(client.clone()).is_ok());
    herd_of_fifty(client).await;
    assert_eq!((refresher.calls.load(SeqCst), upstream.count("-")), (1, 1));
    assert_eq!((counts.violations(), counts.held()), (0, 0));
}

// === reading rejections ===

/// A request that was rejected with this body and waits for the returned flight.
async fn rejected_with<B>(
    body: B,
) -> (tokio::task::JoinHandle<ServiceResult>, PendingFlight, Exchanges<Full<Bytes>>)
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (inner, mut exchanges) = manual_service::<Full<Bytes>>();
    let (refresher, mut flights) = manual_refresher();
    let client =
        RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any()).layer(inner);
    let request = tokio::spawn(client.oneshot(get("/")));
    exchanges.next().await.answer(answer_with(StatusCode::UNAUTHORIZED, body));
    let flight = in_time(flights.next()).await;
    settle_tasks().await;
    (request, flight, exchanges)
}

async fn assert_replayed(
    request: tokio::task::JoinHandle<ServiceResult>,
    flight: PendingFlight,
    mut exchanges: Exchanges<Full<Bytes>>,
) {
    flight.succeed("at-2");
    let replay = exchanges.next().await;
    assert_eq!(replay.bearer(), Some("at-2"));
    replay.status(StatusCode::OK);
    assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn g13_the_rest_of_a_rejection_is_read_during_the_replay() {
    let (feed, body) = channel_body();
    let (body, reading) = TrackedBody::new(body);
    let (request, flight, mut exchanges) = rejected_with(body).await;
    flight.succeed("at-2");
    let replay = exchanges.next().await;
    assert_eq!(replay.bearer(), Some("at-2"));
    assert!(!reading.is_dropped(), "dropping an unread body closes its connection");
    feed.send(frame("late")).unwrap();
    drop(feed);
    reading.ended().await;
    settle_tasks().await;
    assert!(reading.is_dropped());
    replay.status(StatusCode::OK);
    assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn g13_a_rejection_without_data_is_dropped_after_a_second() {
    let (_feed, body) = channel_body();
    let (body, reading) = TrackedBody::new(body);
    let (request, flight, exchanges) = rejected_with(body).await;
    settle_tasks().await;
    assert!(!reading.is_dropped());
    tokio::time::advance(Duration::from_secs(1)).await;
    settle_tasks().await;
    assert!(reading.is_dropped(), "the body holds a stream until it is dropped");
    assert_replayed(request, flight, exchanges).await;
}

#[tokio::test(start_paused = true)]
async fn g13_a_rejection_is_read_to_its_end_while_its_request_waits() {
    let (feed, body) = channel_body();
    let (body, reading) = TrackedBody::new(body);
    let (request, flight, exchanges) = rejected_with(body).await;
    for n in 1..=16 {
        feed.send(Ok(Frame::data(Bytes::from(vec![b'x'; 4096])))).unwrap();
        settle_tasks().await;
        assert_eq!(reading.bytes(), n * 4096, "every frame is read at once");
        assert!(!reading.is_dropped());
    }
    drop(feed);
    reading.ended().await;
    settle_tasks().await;
    assert!(reading.is_dropped(), "the body is dropped before the flight settles");
    assert_replayed(request, flight, exchanges).await;
}

#[tokio::test]
async fn g13_an_endless_rejection_is_dropped_after_64_kib() {
    let (body, reading) = TrackedBody::new(EndlessBody(Bytes::from(vec![b'x'; 1000])));
    let (request, flight, exchanges) = rejected_with(body).await;
    assert!(reading.is_dropped(), "the body is dropped while the request waits");
    assert!((64 * 1024..=65 * 1024).contains(&reading.bytes()), "{} bytes", reading.bytes());
    assert_replayed(request, flight, exchanges).await;
}

#[tokio::test]
async fn g13_a_rejection_of_endless_empty_frames_is_dropped() {
    let (body, reading) = TrackedBody::new(EndlessBody(Bytes::new()));
    let (request, flight, exchanges) = rejected_with(body).await;
    assert!(reading.is_dropped());
    assert_replayed(request, flight, exchanges).await;
}

#[tokio::test]
async fn g13_a_finished_response_future_holds_no_rejection() {
    let (inner, mut exchanges) = manual_service::<Full<Bytes>>();
    let (refresher, mut flights) = manual_refresher();
    let mut service =
        RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any()).layer(inner);
    let mut request = task::spawn(service.call(get("/")));
    assert_pending!(request.poll());
    let (_feed, endless) = channel_body();
    let (body, reading) = TrackedBody::new(endless);
    exchanges.next().await.answer(answer_with(StatusCode::UNAUTHORIZED, body));
    assert_pending!(request.poll());
    flights.next().await.succeed("at-2");
    settle_tasks().await;
    assert_pending!(request.poll());
    exchanges.next().await.status(StatusCode::OK);
    assert_eq!(assert_ready!(request.poll()).unwrap().status(), StatusCode::OK);
    assert!(reading.is_dropped());
}

#[tokio::test]
async fn g13_a_finished_response_future_holds_no_permit() {
    let (probe, counts) = Probe::new(Upstream::accepting(&["at-1"]));
    let (limited, semaphore) = limited(probe, 0);
    let (refresher, _flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let mut service = RefreshLayer::new(session.clone(), Origins::any()).layer(limited);
    let mut request = task::spawn(service.call(get("/")));
    assert_pending!(request.poll());
    drop(session.logout());
    semaphore.add_permits(1);
    assert_eq!(kind(assert_ready!(request.poll())), ErrorKind::LoggedOut);
    assert_eq!((semaphore.available_permits(), counts.held()), (1, 0));
}

#[tokio::test]
async fn g13_an_unfinished_rejection_does_not_delay_the_replay() {
    let (feed, body) = channel_body();
    let (body, reading) = TrackedBody::new(body);
    feed.send(frame("not all of it")).unwrap();
    let (request, flight, exchanges) = rejected_with(body).await;
    assert_eq!((reading.bytes(), reading.is_dropped()), (13, false));
    assert_replayed(request, flight, exchanges).await;
    assert!(reading.is_dropped());
    assert!(feed.is_closed());
}

#[tokio::test]
async fn g13_a_rejection_whose_body_fails_is_dropped_and_replayed() {
    let (feed, body) = channel_body();
    let (body, reading) = TrackedBody::new(body);
    let (request, flight, exchanges) = rejected_with(body).await;
    feed.send(Err("reset".into())).unwrap();
    settle_tasks().await;
    assert!(reading.is_dropped());
    assert_replayed(request, flight, exchanges).await;
}

#[tokio::test]
async fn g13_an_endless_rejection_does_not_delay_a_replay_without_a_flight() {
    let (inner, mut exchanges) = manual_service::<Full<Bytes>>();
    let (refresher, _flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);
    let request = tokio::spawn(client.oneshot(get("/")));
    let first = exchanges.next().await;
    session.replace(session.state().login(), token("at-2")).unwrap();
    let (body, reading) = TrackedBody::new(EndlessBody(Bytes::from(vec![b'x'; 1000])));
    first.answer(answer_with(StatusCode::UNAUTHORIZED, body));
    let replay = exchanges.next().await;
    assert!(reading.is_dropped(), "the replay holds no body of the first attempt");
    assert!(reading.bytes() <= 65 * 1024);
    replay.status(StatusCode::OK);
    assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
}

// === FailureMode::Response ===

type ManualClient = Refresh<ManualService<Full<Bytes>>>;

/// A client with `FailureMode::Response`, and the handles of its parts.
fn client_with_failure_mode_response() -> (ManualClient, Session, Exchanges<Full<Bytes>>, Flights) {
    let (inner, exchanges) = manual_service();
    let (refresher, flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let layer = RefreshLayer::new(session.clone(), Origins::any())
        .failure_mode(FailureMode::Response)
        .expose_stamp(true);
    (layer.layer(inner), session, exchanges, flights)
}

fn rejection(body: impl Into<Bytes>) -> Response<BoxedBody> {
    let mut response = answer_with(StatusCode::UNAUTHORIZED, Full::new(body.into()));
    let challenge = header::HeaderValue::from_static("Bearer error=\"invalid_token\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

async fn assert_rejection(answer: ServiceResult, body: &str) {
    let answer = answer.expect("the rejection of this request");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer error=\"invalid_token\"");
    assert_eq!(body_text(answer.into_body()).await, body);
}

#[tokio::test]
async fn g13_failure_mode_response_returns_each_rejection_when_the_refresh_fails() {
    type Fail = fn(&'static str) -> RefreshError;

    let fails: [Fail; 3] = [
        |e| RefreshError::transient(e),
        |e| RefreshError::ambiguous(e),
        |e| RefreshError::terminal(e),
    ];
    for fail in fails {
        let (client, session, mut exchanges, mut flights) = client_with_failure_mode_response();
        let first = tokio::spawn(client.clone().oneshot(get("/1")));
        let second = tokio::spawn(client.clone().oneshot(get("/2")));
        exchanges.next().await.answer(rejection("the first rejection"));
        exchanges.next().await.answer(rejection("the second rejection"));
        let flight = in_time(flights.next()).await;
        settle_tasks().await;
        let unsent = tokio::spawn(client.clone().oneshot(get("/3")));
        settle_tasks().await;
        assert_eq!(session.waiters(), 3);
        let is_terminal = fail("").is_terminal();
        flight.answer(Err(fail("no")));

        assert_rejection(first.await.unwrap(), "the first rejection").await;
        assert_rejection(second.await.unwrap(), "the second rejection").await;
        let expected = if is_terminal { ErrorKind::LoggedOut } else { ErrorKind::RefreshFailed };
        assert_eq!(kind(unsent.await.unwrap()), expected, "the request was never sent");
        exchanges.none().await;
    }
}

#[tokio::test]
async fn g13_failure_mode_response_returns_a_rejection_that_arrives_after_the_failure() {
    let (client, _session, mut exchanges, mut flights) = client_with_failure_mode_response();
    let first = tokio::spawn(client.clone().oneshot(get("/1")));
    let late = tokio::spawn(client.clone().oneshot(get("/2")));
    exchanges.next().await.answer(rejection("early"));
    let straggler = exchanges.next().await;
    in_time(flights.next()).await.answer(Err(RefreshError::transient("busy")));
    assert_rejection(first.await.unwrap(), "early").await;
    straggler.answer(rejection("late"));
    assert_rejection(late.await.unwrap(), "late").await;
    flights.none_started().await;
}

#[tokio::test]
async fn g13_failure_mode_response_still_replays_when_the_refresh_succeeds() {
    let (client, _session, mut exchanges, mut flights) = client_with_failure_mode_response();
    let request = tokio::spawn(client.oneshot(get("/")));
    let (body, reading) = TrackedBody::new(Full::new(Bytes::from("rejected")));
    exchanges.next().await.answer(answer_with(StatusCode::UNAUTHORIZED, body));
    let flight = in_time(flights.next()).await;
    settle_tasks().await;
    assert_eq!(
        (reading.bytes(), reading.is_dropped()),
        (0, false),
        "the rejection may still be returned"
    );
    flight.succeed("at-2");
    let replay = exchanges.next().await;
    assert!(reading.is_dropped(), "the replay holds no rejection");
    replay.status(StatusCode::OK);
    assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
}

/// A pool that gives each request a permit, and takes the permit back once the response body is
/// read to its end or dropped.
struct PermitPool<S> {
    inner: S,
    permits: Arc<Semaphore>,
    acquiring: Option<BoxFuture<'static, OwnedSemaphorePermit>>,
    permit: Option<OwnedSemaphorePermit>,
}

/// A response body that holds the permit of its request.
struct PermitBody {
    inner: BoxedBody,
    permit: Option<OwnedSemaphorePermit>,
}

impl<S> PermitPool<S> {
    fn new(inner: S, permits: usize) -> Self {
        let permits = Arc::new(Semaphore::new(permits));
        Self { inner, permits, acquiring: None, permit: None }
    }
}

impl<S: Clone> Clone for PermitPool<S> {
    fn clone(&self) -> Self {
        let (inner, permits) = (self.inner.clone(), self.permits.clone());
        Self { inner, permits, acquiring: None, permit: None }
    }
}

impl<S, R> Service<R> for PermitPool<S>
where
    S: Service<R, Response = Response<BoxedBody>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<BoxedBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, ServiceResult>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.permit.is_none() {
            let permits = self.permits.clone();
            let acquiring = self.acquiring.get_or_insert_with(|| {
                Box::pin(async { permits.acquire_owned().await.expect("the pool is open") })
            });
            self.permit = Some(ready!(acquiring.as_mut().poll(cx)));
            self.acquiring = None;
        }
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let permit = self.permit.take();
        let response = self.inner.call(request);
        Box::pin(
            async move { Ok(response.await?.map(|inner| boxed(PermitBody { inner, permit }))) },
        )
    }
}

impl Body for PermitBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.permit = None;
        }
        Poll::Ready(frame)
    }
}

#[tokio::test(start_paused = true)]
async fn g13_failure_mode_response_replays_through_a_pool_whose_permit_returns_with_the_body() {
    let (_sender, unfinished) = channel_body();
    let bodies = [
        boxed(Full::new(Bytes::from("read to its end"))),
        boxed(EndlessBody(Bytes::from(vec![b'x'; 1000]))),
        boxed(ScriptedBody::of_unknown_length(vec![Step::Wait, Step::Fail("reset")])),
        boxed(unfinished),
    ];
    for body in bodies {
        let (inner, mut exchanges) = manual_service::<Full<Bytes>>();
        let (refresher, mut flights) = manual_refresher();
        let client = RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any())
            .failure_mode(FailureMode::Response)
            .layer(PermitPool::new(inner, 1));
        let request = tokio::spawn(client.oneshot(get("/")));
        exchanges.next().await.answer(answer_with(StatusCode::UNAUTHORIZED, body));
        in_time(flights.next()).await.succeed("at-2");
        let replay = exchanges.next().await;
        assert_eq!(replay.bearer(), Some("at-2"));
        replay.status(StatusCode::OK);
        assert_eq!(in_time(request).await.unwrap().unwrap().status(), StatusCode::OK);
    }
}

/// Two permits are held by rejections when the flight settles, and the replays need both.
#[tokio::test(start_paused = true)]
async fn g13_failure_mode_response_replays_a_herd_through_a_pool_of_two() {
    let (inner, mut exchanges) = manual_service::<Full<Bytes>>();
    let (refresher, mut flights) = manual_refresher();
    let client = RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any())
        .failure_mode(FailureMode::Response)
        .layer(PermitPool::new(inner, 2));
    let requests: Vec<_> = (0..10)
        .map(|_| {
            let request = client.clone().oneshot(get("/"));
            // The task drops the response, and with it the permit.
            tokio::spawn(async move { request.await.unwrap().status() })
        })
        .collect();
    for exchange in [exchanges.next().await, exchanges.next().await] {
        exchange.answer(rejection("held"));
    }
    let flight = in_time(flights.next()).await;
    settle_tasks().await;
    exchanges.none().await;
    flight.succeed("at-2");
    for _ in 0..requests.len() {
        let exchange = exchanges.next().await;
        assert_eq!(exchange.bearer(), Some("at-2"));
        exchange.status(StatusCode::OK);
    }
    for request in requests {
        assert_eq!(in_time(request).await.unwrap(), StatusCode::OK);
    }
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g13_failure_mode_response_returns_the_whole_rejection_through_a_pool_of_one() {
    let (inner, mut exchanges) = manual_service::<Full<Bytes>>();
    let (refresher, mut flights) = manual_refresher();
    let client = RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any())
        .failure_mode(FailureMode::Response)
        .layer(PermitPool::new(inner, 1));
    let request = tokio::spawn(client.oneshot(get("/")));
    exchanges.next().await.answer(rejection("no"));
    in_time(flights.next()).await.answer(Err(RefreshError::transient("busy")));
    assert_rejection(in_time(request).await.unwrap(), "no").await;
}

#[tokio::test]
async fn g13_failure_mode_response_returns_the_rejection_of_a_request_that_waited_twice() {
    let (client, _session, mut exchanges, mut flights) = client_with_failure_mode_response();
    let mut first = task::spawn(client.clone().oneshot(get("/1")));
    assert!(first.poll().is_pending());
    exchanges.next().await.answer(rejection("the first rejection"));
    assert!(first.poll().is_pending());
    in_time(flights.next()).await.succeed("at-2");
    settle_tasks().await;
    // Before the first request is polled, the new credential is accepted, and then rejected.
    let accepted = tokio::spawn(client.clone().oneshot(get("/0")));
    exchanges.next().await.status(StatusCode::OK);
    accepted.await.unwrap().unwrap();
    let second = tokio::spawn(client.clone().oneshot(get("/2")));
    exchanges.next().await.answer(rejection("the second rejection"));
    let flight = in_time(flights.next()).await;
    assert!(first.poll().is_pending());
    flight.answer(Err(RefreshError::transient("busy")));
    assert_rejection(second.await.unwrap(), "the second rejection").await;
    let Poll::Ready(answer) = first.poll() else { panic!("the flight has settled") };
    assert_rejection(answer, "the first rejection").await;
}

#[tokio::test]
async fn g13_failure_mode_response_returns_rejections_with_their_stamp() {
    let (client, session, mut exchanges, mut flights) = client_with_failure_mode_response();
    let request = tokio::spawn(client.oneshot(get("/")));
    exchanges.next().await.answer(rejection("no"));
    in_time(flights.next()).await.answer(Err(RefreshError::transient("busy")));
    let answer = request.await.unwrap().unwrap();
    let stamp = answer.extensions().get::<Stamp>().expect("`expose_stamp` is set");
    assert_eq!(stamp.login(), session.state().login());
}

#[tokio::test]
async fn g13_failure_mode_error_returns_the_error_of_the_session() {
    let (inner, mut exchanges) = manual_service::<Full<Bytes>>();
    let (refresher, mut flights) = manual_refresher();
    let client =
        RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any()).layer(inner);
    let request = tokio::spawn(client.oneshot(get("/")));
    exchanges.next().await.answer(rejection("no"));
    in_time(flights.next()).await.answer(Err(RefreshError::transient("busy")));
    let error = request.await.unwrap().expect_err("an error");
    let error = error.downcast::<Error>().expect("an error of the session");
    assert_eq!(error.kind(), ErrorKind::RefreshFailed);
    let refresh =
        std::error::Error::source(&*error).and_then(|source| source.downcast_ref::<RefreshError>());
    let cause = std::error::Error::source(refresh.expect("the source is a refresh error"));
    assert_eq!(cause.expect("the source of the refresh error").to_string(), "busy");
}

// === a request that must not be sent twice ===

#[tokio::test]
async fn g13_a_rejection_returned_to_the_caller_is_unread() {
    let (inner, mut exchanges) = manual_service::<Full<Bytes>>();
    let refresher = refresher_fn(|_: RefreshContext| async { Ok(token("at-2")) });
    let session = Session::new(token("at-1"), refresher);
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);
    let mut request = get("/");
    request.extensions_mut().insert(NoReplay);
    let mut answer = pin!(client.oneshot(request));
    assert!(poll_once(answer.as_mut()).is_pending());
    let (body, reading) = TrackedBody::new(Empty::<Bytes>::new());
    exchanges.next().await.answer(answer_with(StatusCode::UNAUTHORIZED, body));
    let Poll::Ready(Ok(answer)) = poll_once(answer.as_mut()) else {
        panic!("the rejection is returned at once")
    };
    assert_eq!((answer.status(), reading.is_dropped()), (StatusCode::UNAUTHORIZED, false));
    in_time(session.subscribe().wait_for(|state| state.flights_settled() == 1)).await.unwrap();
    assert_eq!(session.credential().unwrap().access_token(), "at-2");
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn g13_a_logged_out_session_does_not_poll_the_inner_service() {
    let calls = Arc::<AtomicUsize>::default();
    let counted = calls.clone();
    let (probe, counts) =
        Probe::new(service_fn(move |_: Request<tower_refresh::ReplayBody<Full<Bytes>>>| {
            counted.fetch_add(1, SeqCst);
            async { Ok::<_, BoxError>(response(StatusCode::OK)) }
        }));
    let (refresher, _flights) = manual_refresher();
    let session = Session::<Token>::builder(refresher).build();
    let client = RefreshLayer::new(session, Origins::any()).layer(probe);
    for _ in 0..10 {
        assert_eq!(kind(in_time(client.clone().oneshot(get("/"))).await), ErrorKind::LoggedOut);
    }
    assert_eq!((calls.load(SeqCst), counts.asked()), (0, 0));
}
