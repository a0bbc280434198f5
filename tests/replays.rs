//! Guarantee 14: replays are exact.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod support;

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use support::{
    stack::{
        BodySender, ChannelBody, EndlessBody, Exchange, Exchanges, ManualService, ScriptedBody,
        ServiceResult, Step, answer_with, channel_body, data, frame, frames, in_time,
        manual_service, trailers,
    },
    *,
};
use tokio::task::JoinHandle;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_refresh::{
    ErrorKind, FailureMode, Origins, Refresh, RefreshContext, RefreshLayer, ReplayBody, Session,
    Token, extension::NoReplay, refresher_fn,
};

/// One attempt, as the upstream received it.
#[derive(Debug)]
struct Attempt {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    marker: Option<Marker>,
    hint: (u64, Option<u64>),
    was_over: bool,
    frames: Vec<Step>,
}

/// An extension of the caller.
#[derive(Clone, Debug, PartialEq)]
struct Marker(Vec<&'static str>);

const LIMIT: usize = 64;

const MAKERS: [fn(Vec<Step>) -> ScriptedBody; 2] =
    [ScriptedBody::sized, ScriptedBody::of_unknown_length];

fn bounds(hint: &SizeHint) -> (u64, Option<u64>) {
    (hint.lower(), hint.upper())
}

/// Sends a request whose first attempt is rejected. Returns the attempts that the upstream
/// received, and the result for the caller.
async fn attempts<B>(request: Request<B>) -> (Vec<Attempt>, ServiceResult)
where
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let seen = Arc::<Mutex<Vec<Attempt>>>::default();
    let log = seen.clone();
    let inner = service_fn(move |request: Request<ReplayBody<B>>| {
        let log = log.clone();
        async move {
            let is_good = bearer(&request) == Some("at-2");
            let (head, body) = request.into_parts();
            let hint = bounds(&body.size_hint());
            let was_over = body.is_end_stream();
            let frames = frames(body).await;
            if frames.iter().any(|step| matches!(step, Step::Fail(_))) {
                return Err(BoxError::from("the upload failed"));
            }
            log.lock().unwrap().push(Attempt {
                method: head.method,
                uri: head.uri,
                version: head.version,
                headers: head.headers,
                marker: head.extensions.get().cloned(),
                hint,
                was_over,
                frames,
            });
            let status = if is_good { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            Ok(answer_with(status, Full::new(Bytes::from("answer"))))
        }
    });
    let client = RefreshLayer::new(session(), Origins::any()).replay_limit(LIMIT).layer(inner);
    // Spawned, because the future must be `Send` for every body.
    let answer = in_time(tokio::spawn(client.oneshot(request))).await.unwrap();
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    (seen, answer)
}

/// A session that refreshes to `at-2` at once.
fn session() -> Session {
    Session::new(
        token("at-1"),
        refresher_fn(|_: RefreshContext| async { Ok(Token::bearer("at-2")?) }),
    )
}

fn status(answer: &ServiceResult) -> StatusCode {
    answer.as_ref().expect("a response").status()
}

/// A client of which the test controls every attempt and every flight.
fn by_hand_with<B>(
    set: impl FnOnce(RefreshLayer) -> RefreshLayer,
) -> (Refresh<ManualService<B>>, Session, Exchanges<B>, Flights) {
    let (inner, exchanges) = manual_service();
    let (refresher, flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    (
        set(RefreshLayer::new(session.clone(), Origins::any()).replay_limit(LIMIT)).layer(inner),
        session,
        exchanges,
        flights,
    )
}

fn send<B>(client: &Refresh<ManualService<B>>, body: B) -> JoinHandle<ServiceResult>
where
    B: Body + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    tokio::spawn(client.clone().oneshot(Request::post("/upload").body(body).unwrap()))
}

fn stream(frames: &[&'static str]) -> (BodySender, ChannelBody) {
    let (feed, body) = channel_body();
    for data in frames {
        feed.send(frame(data)).unwrap();
    }
    (feed, body)
}

// === heads ===

#[tokio::test]
async fn g14_a_replay_differs_in_the_credential_alone() {
    let request = Request::builder()
        .method(Method::from_bytes(b"PURGE").unwrap())
        .uri("https://api.example.com:8443/a%20b?c=d&c=e")
        .version(Version::HTTP_2)
        .header("x-many", "1")
        .header("accept", "text/plain")
        .header("x-many", "2")
        .header("cookie", "a=b")
        .header("x-many", "3")
        .header("content-length", "5")
        .header("x-bytes", header::HeaderValue::from_bytes(b"\xff\xfe").unwrap())
        .extension(Marker(vec!["kept"]))
        .body(Full::new(Bytes::from("hello")))
        .unwrap();
    let (seen, answer) = attempts(request).await;
    assert_eq!(status(&answer), StatusCode::OK);
    let [first, second] = &seen[..] else { panic!("two attempts") };
    assert_eq!(
        (&first.method, &first.uri, first.version),
        (&second.method, &second.uri, second.version)
    );
    assert_eq!((first.method.as_str(), first.version), ("PURGE", Version::HTTP_2));
    assert_eq!(first.uri, "https://api.example.com:8443/a%20b?c=d&c=e");
    assert_eq!(first.marker, Some(Marker(vec!["kept"])));
    assert_eq!(first.marker, second.marker);
    assert_eq!(first.frames, second.frames);

    let all_but_the_credential = |attempt: &Attempt| {
        let headers = attempt.headers.iter().map(|(name, value)| match *name {
            header::AUTHORIZATION => (name.clone(), header::HeaderValue::from_static("")),
            _ => (name.clone(), value.clone()),
        });
        headers.collect::<Vec<_>>()
    };
    assert_eq!(all_but_the_credential(first), all_but_the_credential(second), "in the same order");
    let many: Vec<_> = second.headers.get_all("x-many").iter().collect();
    assert_eq!(many, ["1", "2", "3"]);
    for (attempt, credential) in [(first, "Bearer at-1"), (second, "Bearer at-2")] {
        let credentials: Vec<_> = attempt.headers.get_all(header::AUTHORIZATION).iter().collect();
        assert_eq!(credentials, [credential]);
        assert_eq!(attempt.headers.len(), 8, "nothing was added");
    }
}

#[tokio::test]
async fn g14_a_replay_has_the_uri_of_the_first_attempt_in_every_form() {
    for uri in ["/a?b", "*", "example.com:443", "http://[::1]:80?x", "://a", "://a:80/b?c"] {
        let (seen, answer) =
            attempts(Request::get(uri).body(Full::<Bytes>::default()).unwrap()).await;
        assert_eq!(status(&answer), StatusCode::OK, "{uri}");
        let [first, second] = &seen[..] else { panic!("two attempts") };
        assert_eq!((&first.uri, first.uri.scheme()), (&second.uri, second.uri.scheme()), "{uri}");
    }
}

// === bodies ===

#[tokio::test]
async fn recording_stops_when_the_response_arrives() {
    let (refresher, _flights) = manual_refresher();
    let (inner, mut exchanges) = manual_service();
    let mut service =
        RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any()).layer(inner);
    let (feed, body) = stream(&["early"]);
    let request = Request::post("/").body(body).unwrap();
    let mut answer = Box::pin(service.ready().await.unwrap().call(request));
    let Exchange { request, answer: respond } = exchanges.next().await;
    assert!(respond.send(Ok(answer_with(StatusCode::OK, Full::<Bytes>::default()))).is_ok());
    assert_eq!((&mut answer).await.unwrap().status(), StatusCode::OK);

    // The response came before the upload has ended, and its future is not dropped yet.
    let late = Bytes::from(vec![b'x'; 10]);
    feed.send(Ok(Frame::data(late.clone()))).unwrap();
    let mut upload = request.into_body();
    for _ in 0..2 {
        drop(upload.frame().await.unwrap().unwrap());
    }
    assert!(late.is_unique());
}

#[tokio::test]
async fn g14_a_replay_has_the_body_of_the_first_attempt() {
    let bodies: &[&[Step]] = &[
        &[],
        &[Step::Wait],
        &[data("one")],
        &[Step::Wait, data("one")],
        &[data("one"), Step::Wait],
        &[data("one"), data("two"), data("three")],
        &[Step::Wait, data("one"), Step::Wait, Step::Wait, data("two"), data("three"), Step::Wait],
        &[data("one"), trailers("x-sum", "1")],
        &[data("one"), Step::Wait, trailers("x-sum", "1")],
        &[trailers("x-sum", "1")],
        &[Step::Wait, trailers("x-sum", "1")],
        &[data(""), data("one"), data(""), Step::Wait, data("")],
    ];
    for steps in bodies {
        for make in MAKERS {
            for expects_100 in [false, true] {
                let body = make(steps.to_vec());
                let hint = bounds(&body.size_hint());
                let was_over = body.is_end_stream();
                let mut request = Request::post("/").body(body).unwrap();
                if expects_100 {
                    request.headers_mut().insert(header::EXPECT, "100-continue".parse().unwrap());
                }
                let (seen, answer) = attempts(request).await;
                let case = format!("{steps:?} with the hint {hint:?}");
                assert_eq!(status(&answer), StatusCode::OK, "{case}");
                assert_eq!(seen.len(), 2, "{case}");
                let expected: Vec<_> =
                    steps.iter().filter(|step| **step != Step::Wait).cloned().collect();
                for attempt in &seen {
                    assert_eq!(attempt.frames, expected, "{case}");
                    assert_eq!(attempt.hint, hint, "{case}");
                    assert_eq!(attempt.was_over, was_over, "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn g14_an_empty_body_is_over_on_both_attempts() {
    let (seen, answer) = attempts(get("/")).await;
    assert_eq!(status(&answer), StatusCode::OK);
    for attempt in &seen {
        assert_eq!((attempt.was_over, attempt.hint, attempt.frames.len()), (true, (0, Some(0)), 0));
    }
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn g14_a_body_of_exactly_the_limit_is_replayed_and_one_byte_more_is_not() {
    let of = |len: usize| Step::Data(Bytes::from(vec![b'x'; len]));
    let bodies = |len: usize| {
        [
            vec![of(len)],
            vec![Step::Wait, of(len)],
            vec![of(len - 1), of(1)],
            vec![of(len - 1), Step::Wait, of(1)],
            vec![Step::Wait, of(1), Step::Wait, of(len - 1), Step::Wait],
            vec![of(len - 6), trailers("x-sum", "1")],
            vec![of(len - 6), Step::Wait, trailers("x-sum", "1")],
        ]
    };
    for make in MAKERS {
        for steps in bodies(LIMIT) {
            let (seen, answer) =
                attempts(Request::post("/").body(make(steps.clone())).unwrap()).await;
            assert_eq!((seen.len(), status(&answer)), (2, StatusCode::OK), "{steps:?}");
            assert_eq!(seen[0].frames, seen[1].frames);
        }
        for steps in bodies(LIMIT + 1) {
            let (seen, answer) =
                attempts(Request::post("/").body(make(steps.clone())).unwrap()).await;
            assert_eq!((seen.len(), status(&answer)), (1, StatusCode::UNAUTHORIZED), "{steps:?}");
            let expected: Vec<_> =
                steps.iter().filter(|step| **step != Step::Wait).cloned().collect();
            assert_eq!(seen[0].frames, expected, "all of the body is sent");
        }
    }
}

#[tokio::test]
async fn g14_a_body_beyond_the_limit_gets_its_rejection_at_once_and_the_refresh_runs() {
    let too_long = || vec![Step::Data(Bytes::from(vec![b'x'; LIMIT])), Step::Wait, data("x")];
    for make in MAKERS {
        let (client, session, mut exchanges, mut flights) =
            by_hand_with::<ScriptedBody>(|layer| layer);
        let rejected = send(&client, make(too_long()));
        let exchange = exchanges.next().await;
        let (head, body) = exchange.request.into_parts();
        assert_eq!(head.headers[header::AUTHORIZATION], "Bearer at-1");
        assert_eq!(frames(body).await.len(), 2, "all of the body");
        let rejection = answer_with(StatusCode::UNAUTHORIZED, Full::new(Bytes::from("why")));
        exchange.answer.send(Ok(rejection)).unwrap();
        // The caller gets the rejection while the flight is still running.
        let flight = in_time(flights.next()).await;
        let answer = in_time(rejected).await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "why");
        assert_eq!(session.waiters(), 0);

        let next = send(&client, ScriptedBody::sized(vec![]));
        exchanges.none().await;
        flight.succeed("at-2");
        let exchange = exchanges.next().await;
        assert_eq!(exchange.bearer(), Some("at-2"));
        exchange.status(StatusCode::OK);
        assert_eq!(status(&next.await.unwrap()), StatusCode::OK);
    }
}

#[tokio::test]
async fn g14_without_a_replay_limit_only_empty_bodies_are_replayed() {
    for (body, expected) in [("", StatusCode::OK), ("x", StatusCode::UNAUTHORIZED)] {
        let upstream = Upstream::accepting(&["at-2"]);
        let session = session();
        let client = RefreshLayer::new(session.clone(), Origins::any())
            .replay_limit(0)
            .layer(upstream.clone());
        assert_eq!(client.oneshot(post("/", body)).await.unwrap().status(), expected);
        in_time(session.subscribe().wait_for(|state| state.flights_settled() == 1)).await.unwrap();
        assert_eq!(session.credential().unwrap().access_token(), "at-2");
    }
}

#[tokio::test]
async fn g14_endless_tiny_frames_are_not_kept() {
    for piece in ["", "x"] {
        let (inner, mut exchanges) = manual_service::<EndlessBody>();
        let (refresher, mut flights) = manual_refresher();
        let session = Session::new(token("at-1"), refresher);
        let client =
            RefreshLayer::new(session, Origins::any()).replay_limit(usize::MAX).layer(inner);
        let request =
            Request::post("/").body(EndlessBody(Bytes::from_static(piece.as_bytes()))).unwrap();
        let answer = tokio::spawn(client.oneshot(request));
        exchanges.next().await.status(StatusCode::UNAUTHORIZED);
        let _flight = in_time(flights.next()).await;
        assert_eq!(status(&in_time(answer).await.unwrap()), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn g14_a_request_marked_no_replay_is_sent_once_and_its_body_is_not_kept() {
    let (client, _session, mut exchanges, mut flights) =
        by_hand_with::<ScriptedBody>(|layer| layer);
    let body = ScriptedBody::sized(vec![data("pay")]);
    let polls = body.polls();
    let request = Request::post("/payments").extension(NoReplay).body(body).unwrap();
    let answer = tokio::spawn(client.clone().oneshot(request));
    let exchange = exchanges.next().await;
    assert_eq!(polls.load(SeqCst), 0);
    exchange.status(StatusCode::UNAUTHORIZED);
    let flight = in_time(flights.next()).await;
    assert_eq!(status(&in_time(answer).await.unwrap()), StatusCode::UNAUTHORIZED);
    flight.succeed("at-2");
    exchanges.none().await;
}

#[tokio::test]
async fn g14_a_request_that_waited_before_it_was_sent_has_its_body_whole() {
    for steps in [
        vec![data("one"), data("two")],
        vec![data("one"), Step::Wait, data("two"), trailers("x-sum", "1")],
    ] {
        let (client, _session, mut exchanges, mut flights) =
            by_hand_with::<ScriptedBody>(|layer| layer);
        let get = Request::get("/").body(ScriptedBody::sized(vec![])).unwrap();
        let rejected = tokio::spawn(client.clone().oneshot(get));
        exchanges.next().await.status(StatusCode::UNAUTHORIZED);
        let flight = in_time(flights.next()).await;
        let waited = send(&client, ScriptedBody::of_unknown_length(steps.clone()));
        exchanges.none().await;
        flight.succeed("at-2");
        // The two requests arrive in any order.
        let both = [exchanges.next().await, exchanges.next().await];
        let (mut posted, mut got): (Vec<_>, Vec<_>) =
            both.into_iter().partition(|exchange| exchange.request.method() == Method::POST);
        got.remove(0).status(StatusCode::OK);
        let exchange = posted.remove(0);
        let (head, body) = exchange.request.into_parts();
        assert_eq!(head.headers[header::AUTHORIZATION], "Bearer at-2");
        let expected: Vec<_> = steps.into_iter().filter(|step| *step != Step::Wait).collect();
        assert_eq!(frames(body).await, expected);
        exchange
            .answer
            .send(Ok(answer_with(StatusCode::UNAUTHORIZED, Full::new(Bytes::new()))))
            .unwrap();
        assert_eq!(
            status(&waited.await.unwrap()),
            StatusCode::UNAUTHORIZED,
            "a request that waited is not replayed"
        );
        assert_eq!(status(&rejected.await.unwrap()), StatusCode::OK);
        flights.none_started().await;
    }
}

/// Each frame is a slice of a read buffer of its own, like that of a slow and careful stranger.
struct Drip {
    frames: usize,
    has_waited: bool,
}

#[test]
fn uploads_of_tiny_frames_hold_no_more_than_the_limit() {
    const UPLOADS: usize = 10;
    const REPLAY_LIMIT: usize = 64 * 1024;
    let (refresher, _flights) = manual_refresher();
    let reading = service_fn(|request: Request<ReplayBody<Drip>>| async {
        read_all(request.into_body()).await;
        std::future::pending::<Result<Response<Full<Bytes>>, BoxError>>().await
    });
    let session = Session::new(token("at-1"), refresher);
    let client =
        RefreshLayer::new(session, Origins::any()).replay_limit(REPLAY_LIMIT).layer(reading);
    let mut uploads = Vec::with_capacity(UPLOADS);
    let held = allocation_counter::measure(|| {
        for _ in 0..UPLOADS {
            let body = Drip { frames: 1000, has_waited: false };
            let request = Request::post("/").body(body).unwrap();
            let mut upload = Box::pin(client.clone().oneshot(request));
            let mut cx = Context::from_waker(Waker::noop());
            // Each frame has to be waited for once.
            (0..1001).for_each(|_| assert!(upload.as_mut().poll(&mut cx).is_pending()));
            uploads.push(upload);
        }
    });
    let held = held.bytes_current;
    assert!(held < (UPLOADS * REPLAY_LIMIT) as i64, "{UPLOADS} uploads hold {held} bytes");
}

async fn read_all(mut body: ReplayBody<Drip>) {
    let mut read = 0;
    while body.frame().await.is_some() {
        read += 1;
    }
    assert_eq!(read, 1000);
}

impl Body for Drip {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.has_waited = !self.has_waited;
        if self.has_waited {
            return Poll::Pending;
        }
        let Some(left) = self.frames.checked_sub(1) else { return Poll::Ready(None) };
        self.frames = left;
        let read_buffer = Bytes::from(vec![b'x'; 16 * 1024]);
        Poll::Ready(Some(Ok(Frame::data(read_buffer.slice(7..8)))))
    }
}

// === rejected before, and while, it was read ===

#[tokio::test]
async fn g14_a_body_that_was_rejected_before_it_was_read_is_replayed_whole() {
    let bodies: [&[Step]; 3] = [
        &[data("one"), data("two")],
        &[Step::Wait, data("one"), Step::Wait, data("two")],
        &[data("one"), Step::Wait],
    ];
    for steps in bodies {
        let (client, _session, mut exchanges, mut flights) =
            by_hand_with::<ScriptedBody>(|layer| layer);
        let answer = send(&client, ScriptedBody::sized(steps.to_vec()));
        exchanges.next().await.status(StatusCode::UNAUTHORIZED);
        in_time(flights.next()).await.succeed("at-2");
        let replay = exchanges.next().await;
        let expected: Vec<_> = steps.iter().filter(|step| **step != Step::Wait).cloned().collect();
        let len = expected
            .iter()
            .map(|step| if let Step::Data(data) = step { data.len() as u64 } else { 0 })
            .sum();
        assert_eq!(replay.request.body().size_hint().exact(), Some(len));
        let (_, body) = replay.request.into_parts();
        assert_eq!(frames(body).await, expected);
        replay.answer.send(Ok(answer_with(StatusCode::OK, Full::new(Bytes::new())))).unwrap();
        assert_eq!(status(&answer.await.unwrap()), StatusCode::OK);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum FirstCopy {
    ReadThroughout,
    ReadAfterwards,
    Dropped,
}

#[tokio::test]
async fn g14_an_upload_in_progress_is_taken_over_and_its_first_copy_ends_with_an_error() {
    for fate in [FirstCopy::ReadThroughout, FirstCopy::ReadAfterwards, FirstCopy::Dropped] {
        let (client, _session, mut exchanges, mut flights) =
            by_hand_with::<ChannelBody>(|layer| layer);
        let (feed, body) = stream(&["one "]);
        let answer = send(&client, body);
        let Exchange { request, answer: first } = exchanges.next().await;
        let mut copy = request.into_body();
        feed.send(frame("two ")).unwrap();
        for data in ["one ", "two "] {
            assert_eq!(copy.frame().await.unwrap().unwrap().into_data().unwrap(), data);
        }
        let mut copy = Some(copy);
        let reader =
            (fate == FirstCopy::ReadThroughout).then(|| tokio::spawn(frames(copy.take().unwrap())));
        if fate == FirstCopy::Dropped {
            drop(copy.take());
        }
        settle_tasks().await;

        first.send(Ok(answer_with(StatusCode::UNAUTHORIZED, Full::new(Bytes::new())))).unwrap();
        in_time(flights.next()).await.succeed("at-2");
        let replay = exchanges.next().await;
        let failed = [Step::Fail("failed")];
        if let Some(reader) = reader {
            assert_eq!(
                in_time(reader).await.unwrap(),
                failed,
                "an interrupted copy ends with an error"
            );
        }
        let rest = tokio::spawn(frames(replay.request.into_body()));
        feed.send(frame("three")).unwrap();
        drop(feed);
        assert_eq!(in_time(rest).await.unwrap(), [data("one "), data("two "), data("three")]);
        if let Some(copy) = copy {
            assert!(!copy.is_end_stream());
            assert_eq!(frames(copy).await, failed, "an interrupted copy ends with an error");
        }
        replay.answer.send(Ok(answer_with(StatusCode::OK, Full::new(Bytes::new())))).unwrap();
        assert_eq!(status(&answer.await.unwrap()), StatusCode::OK);
    }
}

#[tokio::test]
async fn g14_an_upload_that_exceeds_the_limit_after_its_rejection_is_replayed() {
    let (client, _session, mut exchanges, mut flights) = by_hand_with::<ChannelBody>(|layer| layer);
    let (feed, body) = stream(&["one "]);
    let answer = send(&client, body);
    exchanges.next().await.status(StatusCode::UNAUTHORIZED);
    in_time(flights.next()).await.succeed("at-2");
    let replay = exchanges.next().await;
    let rest = tokio::spawn(frames(replay.request.into_body()));
    let long = Bytes::from(vec![b'x'; 2 * LIMIT]);
    feed.send(Ok(Frame::data(long.clone()))).unwrap();
    drop(feed);
    assert_eq!(in_time(rest).await.unwrap(), [data("one "), Step::Data(long)]);
    replay.answer.send(Ok(answer_with(StatusCode::OK, Full::new(Bytes::new())))).unwrap();
    assert_eq!(status(&answer.await.unwrap()), StatusCode::OK);
}

#[tokio::test]
async fn g14_an_upload_in_progress_is_not_interrupted_if_the_caller_may_get_the_rejection() {
    let (client, _session, mut exchanges, mut flights) =
        by_hand_with::<ChannelBody>(|layer| layer.failure_mode(FailureMode::Response));
    let (feed, body) = stream(&["one "]);
    let answer = send(&client, body);
    let Exchange { request, answer: first } = exchanges.next().await;
    first.send(Ok(answer_with(StatusCode::UNAUTHORIZED, Full::new(Bytes::from("why"))))).unwrap();
    let flight = in_time(flights.next()).await;
    let answer = in_time(answer).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "at once");
    feed.send(frame("two")).unwrap();
    drop(feed);
    assert_eq!(
        frames(request.into_body()).await,
        [data("one "), data("two")],
        "the first copy goes on"
    );
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "why");
    flight.succeed("at-2");
    exchanges.none().await;
}

#[tokio::test]
async fn g14_an_upload_that_was_recorded_whole_is_replayed_if_the_caller_may_get_the_rejection() {
    let (client, _session, mut exchanges, mut flights) =
        by_hand_with::<ChannelBody>(|layer| layer.failure_mode(FailureMode::Response));
    let (feed, body) = stream(&["one "]);
    let answer = send(&client, body);
    let Exchange { request, answer: first } = exchanges.next().await;
    feed.send(frame("two")).unwrap();
    drop(feed);
    assert_eq!(frames(request.into_body()).await, [data("one "), data("two")]);
    first.send(Ok(answer_with(StatusCode::UNAUTHORIZED, Full::new(Bytes::new())))).unwrap();
    in_time(flights.next()).await.succeed("at-2");
    let replay = exchanges.next().await;
    assert_eq!(frames(replay.request.into_body()).await, [data("one "), data("two")]);
    replay.answer.send(Ok(answer_with(StatusCode::OK, Full::new(Bytes::new())))).unwrap();
    assert_eq!(status(&answer.await.unwrap()), StatusCode::OK);
}

// === errors in the middle ===

#[tokio::test]
async fn g14_an_error_in_the_middle_of_a_body_reaches_the_upstream_and_the_caller() {
    for steps in [
        vec![data("one"), Step::Fail("gone")],
        vec![data("one"), Step::Wait, Step::Fail("gone")],
        vec![Step::Fail("gone")],
    ] {
        let (seen, answer) = attempts(
            Request::post("/").body(ScriptedBody::of_unknown_length(steps.clone())).unwrap(),
        )
        .await;
        assert_eq!(seen.len(), 0, "{steps:?}: a part was taken for the whole");
        assert_eq!(answer.expect_err("the upload failed").to_string(), "the upload failed");
    }
}

#[tokio::test]
async fn g14_a_body_that_failed_is_not_replayed_and_the_refresh_runs() {
    for steps in
        [vec![data("one"), Step::Fail("gone")], vec![data("one"), Step::Wait, Step::Fail("gone")]]
    {
        let (client, _session, mut exchanges, mut flights) =
            by_hand_with::<ScriptedBody>(|layer| layer);
        let answer = send(&client, ScriptedBody::of_unknown_length(steps));
        let Exchange { request, answer: first } = exchanges.next().await;
        assert_eq!(frames(request.into_body()).await, [data("one"), Step::Fail("failed")]);
        first.send(Ok(answer_with(StatusCode::UNAUTHORIZED, Full::new(Bytes::new())))).unwrap();
        let flight = in_time(flights.next()).await;
        assert_eq!(status(&in_time(answer).await.unwrap()), StatusCode::UNAUTHORIZED);
        flight.succeed("at-2");
        exchanges.none().await;
    }
}

#[tokio::test]
async fn g14_a_body_that_fails_during_its_replay_fails_the_request() {
    let (client, _session, mut exchanges, mut flights) =
        by_hand_with::<ScriptedBody>(|layer| layer);
    let answer = send(
        &client,
        ScriptedBody::of_unknown_length(vec![
            data("one"),
            Step::Wait,
            data("two"),
            Step::Fail("gone"),
        ]),
    );
    exchanges.next().await.status(StatusCode::UNAUTHORIZED);
    in_time(flights.next()).await.succeed("at-2");
    let Exchange { request, answer: second } = exchanges.next().await;
    assert_eq!(frames(request.into_body()).await, [data("one"), data("two"), Step::Fail("failed")]);
    second.send(Err("reset by its body".into())).ok().unwrap();
    assert_eq!(answer.await.unwrap().expect_err("an error").to_string(), "reset by its body");
}

#[tokio::test]
async fn g14_the_error_of_a_body_is_the_caller_s_own() {
    #[derive(Debug)]
    struct Mine;

    impl std::fmt::Display for Mine {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("mine")
        }
    }

    impl std::error::Error for Mine {}

    for waits in [false, true] {
        let (client, _session, mut exchanges, _flights) =
            by_hand_with::<ChannelBody>(|layer| layer);
        let (feed, body) = stream(&["one"]);
        let fail = || feed.send(Err(Box::new(Mine))).unwrap();
        if !waits {
            fail();
        }
        let answer = send(&client, body);
        let Exchange { request, answer: first } = exchanges.next().await;
        if waits {
            fail();
        }
        let error = request.into_body().collect().await.expect_err("an error");
        assert!(error.is::<Mine>());
        first.send(Err(error)).ok().unwrap();
        assert!(answer.await.unwrap().expect_err("an error").is::<Mine>());
    }
}

// === Expect: 100-continue ===

#[tokio::test]
async fn g14_a_body_that_expects_100_continue_is_not_polled_before_the_inner_service_does() {
    for steps in [vec![data("one"), data("two")], vec![Step::Wait, data("one"), data("two")]] {
        let (client, _session, mut exchanges, mut flights) =
            by_hand_with::<ScriptedBody>(|layer| layer);
        let body = ScriptedBody::sized(steps);
        let polls: Arc<AtomicUsize> = body.polls();
        let request = Request::post("/").header(header::EXPECT, "100-continue").body(body).unwrap();
        let answer = tokio::spawn(client.clone().oneshot(request));
        let first = exchanges.next().await;
        assert_eq!(polls.load(SeqCst), 0, "polled before the upstream has agreed");
        first.status(StatusCode::UNAUTHORIZED);
        in_time(flights.next()).await.succeed("at-2");
        let Exchange { request, answer: second } = exchanges.next().await;
        assert_eq!(polls.load(SeqCst), 0, "polled before the upstream has agreed to the replay");
        assert_eq!(request.headers()[header::EXPECT], "100-continue");
        assert_eq!(frames(request.into_body()).await, [data("one"), data("two")]);
        second.send(Ok(answer_with(StatusCode::OK, Full::new(Bytes::new())))).unwrap();
        assert_eq!(status(&answer.await.unwrap()), StatusCode::OK);
    }
}

// === replays that are not sent ===

#[tokio::test]
async fn g14_a_replay_is_not_sent_after_a_logout() {
    let (client, session, mut exchanges, mut flights) = by_hand_with::<ScriptedBody>(|layer| layer);
    let answer = send(&client, ScriptedBody::sized(vec![data("one")]));
    exchanges.next().await.status(StatusCode::UNAUTHORIZED);
    let _flight = in_time(flights.next()).await;
    settle_tasks().await;
    drop(session.logout());
    assert_eq!(kind(answer.await.unwrap()), ErrorKind::LoggedOut);
    exchanges.none().await;
}
