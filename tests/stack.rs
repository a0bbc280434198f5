//! Guarantee 13: polite inside a stack.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod support;

use std::{
    mem,
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use support::{
    stack::{
        AnyAnswer, AnyBody, Endless, Exchanges, Exchanging, Probe, Watched, answer_with, body_text,
        exchanging, fed, frame, in_time,
    },
    *,
};
use tokio::sync::Semaphore;
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

async fn ready<S: Service<Call, Error = BoxError>>(service: &mut S) -> &mut S {
    service.ready().await.expect("it has no error")
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
        let (probe, book) = if hesitates {
            Probe::hesitating(upstream.clone())
        } else {
            Probe::new(upstream.clone())
        };
        let (refresher, mut flights) = by_hand();
        let session = Session::new(token("at-1"), refresher);
        let client = RefreshLayer::new(session.clone(), Origins::any()).layer(probe);
        let mut kept = client.clone();

        // Fresh, on one instance again and again.
        for _ in 0..3 {
            assert_eq!(
                ready(&mut kept).await.call(get("/")).await.unwrap().status(),
                StatusCode::OK
            );
        }
        // Called by a caller who has not asked.
        assert_eq!(kept.call(get("/")).await.unwrap().status(), StatusCode::OK);
        let mut anonymous = get("/");
        anonymous.extensions_mut().insert(Anonymous);
        assert_eq!(kept.call(anonymous.clone()).await.unwrap().status(), StatusCode::UNAUTHORIZED);

        // Rejected together, some ready before the rejection and called after it.
        upstream.accept_only(&[]);
        let mut early = client.clone();
        ready(&mut early).await;
        let mut passing = client.clone();
        ready(&mut passing).await;
        let mut refused = client.clone();
        ready(&mut refused).await;
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
        // What passes is sent while others wait.
        let passed = client.clone().oneshot(anonymous.clone()).await.unwrap();
        assert_eq!(passed.status(), StatusCode::UNAUTHORIZED);
        settle_tasks().await;
        assert_eq!(book.held(), 0, "nobody who waits holds an instance");
        upstream.accept_only(&["at-2"]);
        flight.succeed("at-2");
        for request in rejected.into_iter().chain([waiting, late]) {
            assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
        }

        // EndedLogin.
        let mut ended = client.clone();
        ready(&mut ended).await;
        session.logout().await;
        assert_eq!(kind(ended.call(get("/")).await), ErrorKind::LoggedOut);
        assert_eq!(kind(in_time(client.clone().oneshot(get("/"))).await), ErrorKind::LoggedOut);
        let passed = client.clone().oneshot(anonymous).await.unwrap();
        assert_eq!(passed.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(kind(client.clone().oneshot(cleartext).await), ErrorKind::Cleartext);

        assert_eq!(book.violations(), 0);
        assert_eq!(book.held(), 0);
        flights.none_started().await;
    }
}

#[tokio::test]
async fn g13_an_inner_service_that_takes_the_place_of_a_ready_one_is_not_called_unready() {
    let upstream = Upstream::accepting(&["at-1"]);
    let (probe, book) = Probe::new(upstream.clone());
    let (refresher, _flights) = by_hand();
    let mut service =
        RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any()).layer(probe);
    ready(&mut service).await;
    let other = service.get_ref().clone();
    drop(mem::replace(service.get_mut(), other));
    assert_eq!(service.call(get("/")).await.unwrap().status(), StatusCode::OK);
    assert_eq!((book.violations(), book.held()), (0, 0));
}

#[tokio::test]
async fn g13_expired_requests_and_stragglers_go_to_ready_instances_too() {
    let (probe, book) = Probe::hesitating(Upstream::accepting(&["at-2"]));
    let (refresher, mut flights) = by_hand();
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
    assert_eq!(book.asked(), 0, "an expired credential sends nothing");
    let expired = tokio::spawn(caller.call(get("/")));
    let flight = in_time(flights.next()).await;
    assert_eq!(flight.context.cause(), Cause::Expiring);
    assert_eq!((book.asked(), book.calls()), (0, 0));
    flight.succeed("at-2");
    assert_eq!(expired.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!((book.violations(), book.held(), book.calls()), (0, 0, 1));
}

#[tokio::test]
async fn g13_poll_ready_asks_the_inner_service_only_while_the_credential_is_usable() {
    let (inner, mut exchanges) = exchanging::<Full<Bytes>>();
    let (probe, book) = Probe::new(inner);
    let (refresher, mut flights) = by_hand();
    let session = Session::new(token("at-1"), refresher);
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(probe);
    let mut other = client.clone();

    assert!(is_ready::<_, Call>(&mut other));
    assert_eq!((book.asked(), book.held()), (1, 1));

    let rejected = tokio::spawn(client.clone().oneshot(get("/")));
    exchanges.next().await.status(StatusCode::UNAUTHORIZED);
    let flight = in_time(flights.next()).await;
    settle_tasks().await;
    let asked = book.asked();
    assert!(is_ready::<_, Call>(&mut other));
    assert_eq!(
        (book.asked(), book.held()),
        (asked, 0),
        "an awaited flight: given up, and not asked for"
    );

    flight.answer(Err(RefreshError::transient("busy")));
    assert_eq!(kind(rejected.await.unwrap()), ErrorKind::RefreshFailed);
    assert!(is_ready::<_, Call>(&mut other));
    assert_eq!((book.asked(), book.held()), (asked + 1, 1), "failed, and still usable");

    drop(session.logout());
    assert!(is_ready::<_, Call>(&mut other));
    assert_eq!(
        (book.asked(), book.held()),
        (asked + 1, 0),
        "terminated: given up, and not asked for"
    );

    session.login(token("at-9"));
    let refresh = tokio::spawn(session.refresh());
    let _flight = in_time(flights.next()).await;
    assert!(is_ready::<_, Call>(&mut other));
    assert_eq!(
        (book.asked(), book.held()),
        (asked + 2, 1),
        "a flight that nobody waits for is in nobody's way"
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
            panic!("it is never ready")
        }
    }

    let (refresher, _flights) = by_hand();
    let session = Session::new(token("at-1"), refresher);
    let mut client = RefreshLayer::new(session.clone(), Origins::any()).layer(Broken);
    let error = ServiceExt::<Call>::ready(&mut client).await.expect_err("it is broken");
    assert_eq!(error.downcast_ref(), Some(&Fault));

    // The session does not care: it is ready, and the error comes where something is to be sent.
    drop(session.logout());
    assert!(is_ready::<_, Call>(&mut client));
    assert_eq!(kind(client.call(get("/")).await), ErrorKind::LoggedOut);
    let mut anonymous = get("/");
    anonymous.extensions_mut().insert(Anonymous);
    let error = client.call(anonymous).await.expect_err("it is broken");
    assert_eq!(error.downcast_ref(), Some(&Fault));
}

#[tokio::test]
async fn g13_an_inner_service_that_fails_before_the_replay_fails_the_request_with_its_own_error() {
    /// Ready for the first call, broken after it.
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
    let refresher = Counting::for_upstream(&Upstream::accepting(&[]));
    let session = Session::new(token("at-1"), refresher.clone());
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(Once(calls.clone()));
    let error = client.oneshot(get("/")).await.expect_err("it is broken");
    let error = error.downcast_ref::<std::io::Error>().expect("the inner service's own error");
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!((calls.load(SeqCst), refresher.calls()), (1, 1));
    assert_eq!(
        session.credential().unwrap().access_token(),
        "at-2",
        "the refresh is nobody's loss"
    );
}

// === permits, and places in a queue ===

#[tokio::test]
async fn g13_a_waiting_request_holds_no_permit() {
    let (inner, mut exchanges) = exchanging::<Full<Bytes>>();
    let (inner, permits) = limited(inner, 3);
    let (refresher, mut flights) = by_hand();
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
    assert_eq!(permits.available_permits(), 1, "rejected");
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
async fn g13_a_refused_request_gives_its_permit_up() {
    let (inner, _exchanges) = exchanging::<Full<Bytes>>();
    let (inner, permits) = limited(inner, 1);
    let (refresher, _flights) = by_hand();
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
async fn g13_a_place_in_the_queue_is_given_up_when_the_session_ends() {
    let (inner, mut exchanges) = exchanging::<Full<Bytes>>();
    let (inner, permits) = limited(inner, 1);
    let (refresher, _flights) = by_hand();
    let ended = Session::new(token("at-1"), refresher);
    let (refresher, _flights) = by_hand();
    let other = Session::new(token("bt-1"), refresher);
    let mut first = RefreshLayer::new(ended.clone(), Origins::any()).layer(inner.clone());
    let mut second = RefreshLayer::new(ended.clone(), Origins::any()).layer(inner.clone());
    let mut third = RefreshLayer::new(other, Origins::any()).layer(inner);

    let sent = tokio::spawn(ready(&mut first).await.call(get("/")));
    let exchange = exchanges.next().await;
    assert!(not_ready::<_, Call>(&mut second), "queued");
    assert!(not_ready::<_, Call>(&mut third), "queued behind it");

    drop(ended.logout());
    assert!(is_ready::<_, Call>(&mut second), "ready to be told");
    exchange.status(StatusCode::OK);
    assert_eq!(sent.await.unwrap().unwrap().status(), StatusCode::OK, "already on its way");
    assert!(is_ready::<_, Call>(&mut third), "nobody is before it in the queue any more");
    assert_eq!(kind(second.call(get("/")).await), ErrorKind::LoggedOut);
    drop(third);
    assert_eq!(permits.available_permits(), 1);
}

#[tokio::test]
async fn g13_a_permit_that_is_handed_to_a_request_that_must_wait_goes_on_to_the_next() {
    let (inner, mut exchanges) = exchanging::<Full<Bytes>>();
    let (inner, permits) = limited(inner, 1);
    let (refresher, mut flights) = by_hand();
    let session = Session::new(token("at-1"), refresher);
    let client = RefreshLayer::new(session, Origins::any()).layer(inner.clone());
    let (refresher, _flights) = by_hand();
    let mut other =
        RefreshLayer::new(Session::new(token("bt-1"), refresher), Origins::any()).layer(inner);

    let mut queued = Vec::new();
    queued.push(tokio::spawn(client.clone().oneshot(get("/"))));
    let exchange = exchanges.next().await;
    // These wait for the permit of the first, which is to be rejected.
    queued.extend((0..5).map(|_| tokio::spawn(client.clone().oneshot(get("/")))));
    settle_tasks().await;
    assert!(not_ready::<_, Call>(&mut other), "last in the queue");
    exchange.status(StatusCode::UNAUTHORIZED);
    let flight = in_time(flights.next()).await;
    settle_tasks().await;
    assert!(is_ready::<_, Call>(&mut other), "all before it wait for the flight");
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
    let refresher = Counting::for_upstream(&upstream);
    let session = Session::new(token("at-1"), refresher.clone());
    let (probe, book) = Probe::new(ConcurrencyLimit::new(upstream.clone(), 1));
    let client = RefreshLayer::new(session, Origins::any()).layer(probe);
    herd_of_fifty(client).await;
    assert_eq!((refresher.calls(), book.violations(), book.held()), (1, 0, 0));
}

#[tokio::test]
async fn g13_buffer_of_one_under_the_layer_does_not_deadlock() {
    let upstream = Upstream::accepting(&[]);
    let refresher = Counting::for_upstream(&upstream);
    let session = Session::new(token("at-1"), refresher.clone());
    let limited = ConcurrencyLimit::new(upstream.clone(), 1);
    let (probe, book) = Probe::new(Buffer::new(limited, 1));
    let client = RefreshLayer::new(session, Origins::any()).layer(probe);
    herd_of_fifty(client).await;
    assert_eq!((refresher.calls(), book.violations(), book.held()), (1, 0, 0));
}

#[tokio::test]
async fn g13_buffer_and_concurrency_limit_above_the_layer_do_not_deadlock() {
    let upstream = Upstream::accepting(&[]);
    let refresher = Counting::for_upstream(&upstream);
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

/// Refreshes through a client that wears the same session.
struct Own<S> {
    client: OnceLock<S>,
    upstream: Upstream,
    calls: AtomicUsize,
}

impl<S> Refresher for Own<S>
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
            // Its own credential is none of the session's; the 401 comes back as a response.
            let answer =
                client.oneshot(get("/auth/refresh")).await.map_err(RefreshError::transient)?;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
            self.upstream.accept_only(&["at-2"]);
            Ok(Token::bearer("at-2")?)
        })
    }
}

#[tokio::test]
async fn g13_a_refresh_through_the_same_stack_of_one_does_not_deadlock() {
    type Limited = Refresh<Probe<ConcurrencyLimit<Upstream>>>;

    let upstream = Upstream::accepting(&[]);
    let own = Arc::new(Own::<Limited> {
        client: OnceLock::new(),
        upstream: upstream.clone(),
        calls: AtomicUsize::new(0),
    });
    let session = Session::new(token("at-1"), own.clone());
    let (probe, book) = Probe::new(ConcurrencyLimit::new(upstream.clone(), 1));
    let client = RefreshLayer::new(session, Origins::any()).layer(probe);
    assert!(own.client.set(client.clone()).is_ok());
    herd_of_fifty(client).await;
    assert_eq!((own.calls.load(SeqCst), upstream.count("-")), (1, 1));
    assert_eq!((book.violations(), book.held()), (0, 0));
}

#[tokio::test]
async fn g13_a_refresh_through_the_same_buffer_of_one_does_not_deadlock() {
    type Answer = BoxFuture<'static, Result<Response<Full<Bytes>>, BoxError>>;
    type Limited = tower::limit::concurrency::future::ResponseFuture<Answer>;
    type Sent = Request<tower_refresh::ReplayBody<Full<Bytes>>>;
    type Buffered = Refresh<Probe<Buffer<Sent, Limited>>>;

    let upstream = Upstream::accepting(&[]);
    let own = Arc::new(Own::<Buffered> {
        client: OnceLock::new(),
        upstream: upstream.clone(),
        calls: AtomicUsize::new(0),
    });
    let session = Session::new(token("at-1"), own.clone());
    let (probe, book) = Probe::new(Buffer::new(ConcurrencyLimit::new(upstream.clone(), 1), 1));
    let client = RefreshLayer::new(session, Origins::any()).layer(probe);
    assert!(own.client.set(client.clone()).is_ok());
    herd_of_fifty(client).await;
    assert_eq!((own.calls.load(SeqCst), upstream.count("-")), (1, 1));
    assert_eq!((book.violations(), book.held()), (0, 0));
}

// === what is read of a rejection ===

/// A request that was rejected with this body, and waits for the flight that comes with it.
async fn rejected_with<B>(
    body: B,
) -> (tokio::task::JoinHandle<AnyAnswer>, FlightInHand, Exchanges<Full<Bytes>>)
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (inner, mut exchanges) = exchanging::<Full<Bytes>>();
    let (refresher, mut flights) = by_hand();
    let client =
        RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any()).layer(inner);
    let request = tokio::spawn(client.oneshot(get("/")));
    exchanges.next().await.answer(answer_with(StatusCode::UNAUTHORIZED, body));
    let flight = in_time(flights.next()).await;
    settle_tasks().await;
    (request, flight, exchanges)
}

async fn replays(
    request: tokio::task::JoinHandle<AnyAnswer>,
    flight: FlightInHand,
    mut exchanges: Exchanges<Full<Bytes>>,
) {
    flight.succeed("at-2");
    let replay = exchanges.next().await;
    assert_eq!(replay.bearer(), Some("at-2"));
    replay.status(StatusCode::OK);
    assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn g13_what_is_left_of_a_rejection_is_read_while_its_replay_is_under_way() {
    let (feed, body) = fed();
    let (body, reading) = Watched::new(body);
    let (request, flight, mut exchanges) = rejected_with(body).await;
    flight.succeed("at-2");
    let replay = exchanges.next().await;
    assert_eq!(replay.bearer(), Some("at-2"));
    assert!(!reading.is_dropped(), "dropped unread, it costs its connection");
    feed.send(frame("late")).unwrap();
    drop(feed);
    reading.ended().await;
    settle_tasks().await;
    assert!(reading.is_dropped());
    replay.status(StatusCode::OK);
    assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn g13_a_rejection_that_comes_to_nothing_is_given_up_after_a_second() {
    let (_feed, body) = fed();
    let (body, reading) = Watched::new(body);
    let (request, flight, exchanges) = rejected_with(body).await;
    settle_tasks().await;
    assert!(!reading.is_dropped());
    tokio::time::advance(Duration::from_secs(1)).await;
    settle_tasks().await;
    assert!(reading.is_dropped(), "it holds a stream for as long as it is there");
    replays(request, flight, exchanges).await;
}

#[tokio::test(start_paused = true)]
async fn g13_a_rejection_is_read_to_its_end_while_its_request_waits() {
    let (feed, body) = fed();
    let (body, reading) = Watched::new(body);
    let (request, flight, exchanges) = rejected_with(body).await;
    for n in 1..=16 {
        feed.send(Ok(http_body::Frame::data(Bytes::from(vec![b'x'; 4096])))).unwrap();
        settle_tasks().await;
        assert_eq!(reading.bytes(), n * 4096, "read as it comes");
        assert!(!reading.is_dropped());
    }
    drop(feed);
    reading.ended().await;
    settle_tasks().await;
    assert!(reading.is_dropped(), "and gone before the flight is over");
    replays(request, flight, exchanges).await;
}

#[tokio::test]
async fn g13_a_rejection_without_end_is_dropped_after_64_kib() {
    let (body, reading) = Watched::new(Endless(Bytes::from(vec![b'x'; 1000])));
    let (request, flight, exchanges) = rejected_with(body).await;
    assert!(reading.is_dropped(), "dropped while the request waits");
    assert!((64 * 1024..=65 * 1024).contains(&reading.bytes()), "{} bytes", reading.bytes());
    replays(request, flight, exchanges).await;
}

#[tokio::test]
async fn g13_a_rejection_of_endless_empty_frames_comes_to_an_end() {
    let (body, reading) = Watched::new(Endless(Bytes::new()));
    let (request, flight, exchanges) = rejected_with(body).await;
    assert!(reading.is_dropped());
    replays(request, flight, exchanges).await;
}

#[tokio::test]
async fn g13_nothing_of_a_rejection_is_left_with_the_future_of_a_request_that_is_over() {
    let (inner, mut exchanges) = exchanging::<Full<Bytes>>();
    let (refresher, mut flights) = by_hand();
    let mut service =
        RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any()).layer(inner);
    let mut request = task::spawn(service.call(get("/")));
    assert_pending!(request.poll());
    let (_feed, endless) = fed();
    let (body, reading) = Watched::new(endless);
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
async fn g13_no_readiness_is_left_with_the_future_of_a_request_that_is_over() {
    let (probe, book) = Probe::new(Upstream::accepting(&["at-1"]));
    let (limited, semaphore) = limited(probe, 0);
    let (refresher, _flights) = by_hand();
    let session = Session::new(token("at-1"), refresher);
    let mut service = RefreshLayer::new(session.clone(), Origins::any()).layer(limited);
    let mut request = task::spawn(service.call(get("/")));
    assert_pending!(request.poll());
    drop(session.logout());
    semaphore.add_permits(1);
    assert_eq!(kind(assert_ready!(request.poll())), ErrorKind::LoggedOut);
    assert_eq!((semaphore.available_permits(), book.held()), (1, 0));
}

#[tokio::test]
async fn g13_a_rejection_that_trickles_never_holds_up_the_replay() {
    let (feed, body) = fed();
    let (body, reading) = Watched::new(body);
    feed.send(frame("not all of it")).unwrap();
    let (request, flight, exchanges) = rejected_with(body).await;
    assert_eq!((reading.bytes(), reading.is_dropped()), (13, false));
    replays(request, flight, exchanges).await;
    assert!(reading.is_dropped());
    assert!(feed.is_closed());
}

#[tokio::test]
async fn g13_a_rejection_whose_body_fails_is_dropped() {
    let (feed, body) = fed();
    let (body, reading) = Watched::new(body);
    let (request, flight, exchanges) = rejected_with(body).await;
    feed.send(Err("reset".into())).unwrap();
    settle_tasks().await;
    assert!(reading.is_dropped());
    replays(request, flight, exchanges).await;
}

#[tokio::test]
async fn g13_a_huge_rejection_does_not_hold_up_a_replay_that_need_not_wait() {
    let (inner, mut exchanges) = exchanging::<Full<Bytes>>();
    let (refresher, _flights) = by_hand();
    let session = Session::new(token("at-1"), refresher);
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);
    let request = tokio::spawn(client.oneshot(get("/")));
    let first = exchanges.next().await;
    session.replace(session.state().login(), token("at-2")).unwrap();
    let (body, reading) = Watched::new(Endless(Bytes::from(vec![b'x'; 1000])));
    first.answer(answer_with(StatusCode::UNAUTHORIZED, body));
    let replay = exchanges.next().await;
    assert!(reading.is_dropped(), "it holds nothing of the first attempt");
    assert!(reading.bytes() <= 65 * 1024);
    replay.status(StatusCode::OK);
    assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
}

// === FailureMode::Response ===

type Responding = Refresh<Exchanging<Full<Bytes>>>;

/// A layer that hands rejections out, and the parts of its stack.
fn responding() -> (Responding, Session, Exchanges<Full<Bytes>>, Flights) {
    let (inner, exchanges) = exchanging();
    let (refresher, flights) = by_hand();
    let session = Session::new(token("at-1"), refresher);
    let layer = RefreshLayer::new(session.clone(), Origins::any())
        .failure_mode(FailureMode::Response)
        .expose_stamp(true);
    (layer.layer(inner), session, exchanges, flights)
}

fn rejection(body: impl Into<Bytes>) -> Response<AnyBody> {
    let mut response = answer_with(StatusCode::UNAUTHORIZED, Full::new(body.into()));
    let challenge = header::HeaderValue::from_static("Bearer error=\"invalid_token\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

async fn assert_rejection(answer: AnyAnswer, body: &str) {
    let answer = answer.expect("its own rejection");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer error=\"invalid_token\"");
    assert_eq!(body_text(answer.into_body()).await, body);
}

#[tokio::test]
async fn g13_failure_mode_response_hands_out_each_rejection_when_the_refresh_fails() {
    type Fail = fn(&'static str) -> RefreshError;

    let fails: [Fail; 3] = [
        |e| RefreshError::transient(e),
        |e| RefreshError::ambiguous(e),
        |e| RefreshError::terminal(e),
    ];
    for fail in fails {
        let (client, session, mut exchanges, mut flights) = responding();
        let first = tokio::spawn(client.clone().oneshot(get("/1")));
        let second = tokio::spawn(client.clone().oneshot(get("/2")));
        exchanges.next().await.answer(rejection("the first's own"));
        exchanges.next().await.answer(rejection("the second's own"));
        let flight = in_time(flights.next()).await;
        settle_tasks().await;
        let unsent = tokio::spawn(client.clone().oneshot(get("/3")));
        settle_tasks().await;
        assert_eq!(session.waiters(), 3);
        let is_terminal = fail("").is_terminal();
        flight.answer(Err(fail("no")));

        assert_rejection(first.await.unwrap(), "the first's own").await;
        assert_rejection(second.await.unwrap(), "the second's own").await;
        let expected = if is_terminal { ErrorKind::LoggedOut } else { ErrorKind::RefreshFailed };
        assert_eq!(kind(unsent.await.unwrap()), expected, "it was never sent");
        exchanges.none().await;
    }
}

#[tokio::test]
async fn g13_failure_mode_response_hands_out_a_rejection_that_comes_after_the_failure() {
    let (client, _session, mut exchanges, mut flights) = responding();
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
    let (client, _session, mut exchanges, mut flights) = responding();
    let request = tokio::spawn(client.oneshot(get("/")));
    let (body, reading) = Watched::new(Full::new(Bytes::from("rejected")));
    exchanges.next().await.answer(answer_with(StatusCode::UNAUTHORIZED, body));
    let flight = in_time(flights.next()).await;
    settle_tasks().await;
    assert_eq!((reading.bytes(), reading.is_dropped()), (0, false), "it may still be the answer");
    flight.succeed("at-2");
    let replay = exchanges.next().await;
    assert!(reading.is_dropped(), "the replay holds no response");
    replay.status(StatusCode::OK);
    assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn g13_failure_mode_response_hands_out_the_rejection_of_a_request_that_waited_twice() {
    let (client, _session, mut exchanges, mut flights) = responding();
    let mut first = task::spawn(client.clone().oneshot(get("/1")));
    assert!(first.poll().is_pending());
    exchanges.next().await.answer(rejection("the first's own"));
    assert!(first.poll().is_pending());
    in_time(flights.next()).await.succeed("at-2");
    settle_tasks().await;
    // Before the first one comes round to its replay, the new credential is accepted, and then
    // rejected as well.
    let accepted = tokio::spawn(client.clone().oneshot(get("/0")));
    exchanges.next().await.status(StatusCode::OK);
    accepted.await.unwrap().unwrap();
    let second = tokio::spawn(client.clone().oneshot(get("/2")));
    exchanges.next().await.answer(rejection("the second's own"));
    let flight = in_time(flights.next()).await;
    assert!(first.poll().is_pending());
    flight.answer(Err(RefreshError::transient("busy")));
    assert_rejection(second.await.unwrap(), "the second's own").await;
    let Poll::Ready(answer) = first.poll() else { panic!("its flight is over") };
    assert_rejection(answer, "the first's own").await;
}

#[tokio::test]
async fn g13_failure_mode_response_hands_rejections_out_with_their_stamp() {
    let (client, session, mut exchanges, mut flights) = responding();
    let request = tokio::spawn(client.oneshot(get("/")));
    exchanges.next().await.answer(rejection("no"));
    in_time(flights.next()).await.answer(Err(RefreshError::transient("busy")));
    let answer = request.await.unwrap().unwrap();
    let stamp = answer.extensions().get::<Stamp>().expect("`expose_stamp` is set");
    assert_eq!(stamp.login(), session.state().login());
}

#[tokio::test]
async fn g13_failure_mode_error_is_the_error_of_the_session() {
    let (inner, mut exchanges) = exchanging::<Full<Bytes>>();
    let (refresher, mut flights) = by_hand();
    let client =
        RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any()).layer(inner);
    let request = tokio::spawn(client.oneshot(get("/")));
    exchanges.next().await.answer(rejection("no"));
    in_time(flights.next()).await.answer(Err(RefreshError::transient("busy")));
    let error = request.await.unwrap().expect_err("an error");
    let error = error.downcast::<Error>().expect("the session's own");
    assert_eq!(error.kind(), ErrorKind::RefreshFailed);
    let refresh =
        std::error::Error::source(&*error).and_then(|source| source.downcast_ref::<RefreshError>());
    let cause = std::error::Error::source(refresh.expect("what happened to the refresh"));
    assert_eq!(cause.expect("the user's cause").to_string(), "busy");
}

// === a request that must not be sent twice ===

#[tokio::test]
async fn g13_a_rejection_that_goes_to_the_caller_is_not_touched() {
    let (inner, mut exchanges) = exchanging::<Full<Bytes>>();
    let refresher = refresher_fn(|_: RefreshContext| async { Ok(token("at-2")) });
    let session = Session::new(token("at-1"), refresher);
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);
    let mut request = get("/");
    request.extensions_mut().insert(NoReplay);
    let mut answer = pin!(client.oneshot(request));
    assert!(futures_poll(answer.as_mut()).is_pending());
    let (body, reading) = Watched::new(Empty::<Bytes>::new());
    exchanges.next().await.answer(answer_with(StatusCode::UNAUTHORIZED, body));
    let Poll::Ready(Ok(answer)) = futures_poll(answer.as_mut()) else { panic!("at once") };
    assert_eq!((answer.status(), reading.is_dropped()), (StatusCode::UNAUTHORIZED, false));
    in_time(session.subscribe().wait_for(|state| state.flights_settled() == 1)).await.unwrap();
    assert_eq!(session.credential().unwrap().access_token(), "at-2");
}

fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Where nothing but the session fails, nothing is asked of the network.
#[tokio::test]
async fn g13_a_terminated_session_does_not_touch_the_stack() {
    let calls = Arc::<AtomicUsize>::default();
    let counted = calls.clone();
    let (probe, book) =
        Probe::new(service_fn(move |_: Request<tower_refresh::ReplayBody<Full<Bytes>>>| {
            counted.fetch_add(1, SeqCst);
            async { Ok::<_, BoxError>(response(StatusCode::OK)) }
        }));
    let (refresher, _flights) = by_hand();
    let session = Session::<Token>::builder(refresher).build();
    let client = RefreshLayer::new(session, Origins::any()).layer(probe);
    for _ in 0..10 {
        assert_eq!(kind(in_time(client.clone().oneshot(get("/"))).await), ErrorKind::LoggedOut);
    }
    assert_eq!((calls.load(SeqCst), book.asked()), (0, 0));
}
