//! Guarantees 13 and 14 over real connections: reuse of connections, and the bodies that a server
//! receives.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod support;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1::SendRequest, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use support::{
    stack::{
        BodySender, BoxedBody, ChannelBody, EndlessBody, ReadProgress, ScriptedBody, ServiceResult,
        Step, TrackedBody, answer_with, body_text, boxed, channel_body, data, frame, frames,
        in_time, trailers,
    },
    *,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Barrier, mpsc},
    task::JoinHandle,
};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt};
use tower_refresh::{
    FailureMode, Origins, RefreshContext, RefreshError, RefreshLayer, ReplayBody, Session, Token,
    refresher::BoxFuture, refresher_fn,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Protocol {
    Http1,
    Http2,
}

/// A server on loopback that counts its connections.
struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

/// A client of one HTTP/1 connection. A request is sent once the last response was read to its end,
/// and fails if that response was dropped earlier.
struct OneConnection<B>(Arc<tokio::sync::Mutex<SendRequest<ReplayBody<B>>>>);

/// One HTTP/1 connection as a service. It becomes ready once the last response body was read to its
/// end.
struct DirectConnection<B>(SendRequest<ReplayBody<B>>);

/// Reports the read progress of every rejection to the test.
#[derive(Clone)]
struct RejectionTracker<S> {
    inner: S,
    rejections: mpsc::UnboundedSender<Arc<ReadProgress>>,
}

type Pool<B> = Client<HttpConnector, ReplayBody<B>>;

// === rejections and their connections ===

#[tokio::test]
async fn g13_a_small_rejection_leaves_its_http1_connection_usable() {
    let (server, mut feeds) = serve_unfinished_rejections(Barrier::new(1)).await;
    let (inner, mut rejections) =
        RejectionTracker::new(OneConnection::<Full<Bytes>>::open(&server).await);
    let (refresher, mut flights) = manual_refresher();
    let client =
        RefreshLayer::new(session_without_refresh_limit(refresher), Origins::any()).layer(inner);
    for n in 0..20 {
        let request = tokio::spawn(client.clone().oneshot(server.post("/", format!("body {n}"))));
        finish_rejection(&mut feeds, &mut rejections).await;
        in_time(flights.next()).await.succeed(&format!("good-{n}"));
        let answer = in_time(request).await.unwrap().expect("the connection is usable");
        assert_eq!(body_text(answer.into_body()).await, format!("good-{n}: body {n}"));
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn g13_requests_rejected_one_after_another_use_one_pooled_connection() {
    let (server, mut feeds) = serve_unfinished_rejections(Barrier::new(1)).await;
    let (inner, mut rejections) = RejectionTracker::new(pool::<Full<Bytes>>(Protocol::Http1));
    let (refresher, mut flights) = manual_refresher();
    let client =
        RefreshLayer::new(session_without_refresh_limit(refresher), Origins::any()).layer(inner);
    for n in 0..20 {
        let request = tokio::spawn(client.clone().oneshot(server.post("/", format!("body {n}"))));
        finish_rejection(&mut feeds, &mut rejections).await;
        settle_tasks().await;
        in_time(flights.next()).await.succeed(&format!("good-{n}"));
        let answer = in_time(request).await.unwrap().unwrap();
        assert_eq!(body_text(answer.into_body()).await, format!("good-{n}: body {n}"));
        settle_tasks().await;
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn g13_requests_rejected_together_are_replayed_on_their_connections() {
    let (server, mut feeds) = serve_unfinished_rejections(Barrier::new(20)).await;
    let (inner, mut rejections) = RejectionTracker::new(pool::<Full<Bytes>>(Protocol::Http1));
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("stale"), refresher);
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);
    let requests: Vec<_> = (0..20)
        .map(|n| tokio::spawn(client.clone().oneshot(server.post("/", format!("body {n}")))))
        .collect();
    let flight = in_time(flights.next()).await;
    for _ in 0..20 {
        finish_rejection(&mut feeds, &mut rejections).await;
    }
    settle_tasks().await;
    assert_eq!((session.waiters(), server.accepted()), (20, 20));
    flight.succeed("good");
    for (n, request) in requests.into_iter().enumerate() {
        let answer = in_time(request).await.unwrap().unwrap();
        assert_eq!(body_text(answer.into_body()).await, format!("good: body {n}"));
    }
    assert_eq!(server.accepted(), 20, "no replay opened a connection");
    flights.none_started().await;
}

#[tokio::test]
async fn g13_an_endless_rejection_closes_only_its_own_connection() {
    let (server_bodies, mut endless) = mpsc::unbounded_channel();
    let server = serve(Protocol::Http1, move |request| {
        let server_bodies = server_bodies.clone();
        async move {
            if bearer(&request) == Some("at-2") {
                return answer_with(StatusCode::OK, request.into_body());
            }
            let (body, reading) = TrackedBody::new(EndlessBody(Bytes::from(vec![b'x'; 4096])));
            server_bodies.send(reading).unwrap();
            answer_with(StatusCode::UNAUTHORIZED, body)
        }
    })
    .await;
    let (inner, mut rejections) = RejectionTracker::new(pool::<Full<Bytes>>(Protocol::Http1));
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);
    let request = tokio::spawn(client.oneshot(server.post("/", "body")));
    let flight = in_time(flights.next()).await;
    let read = rejections.recv().await.unwrap();
    read.dropped().await;
    assert!((64 * 1024..256 * 1024).contains(&read.bytes()), "{} bytes were read", read.bytes());
    // The server sees the closed connection while the request still waits.
    endless.recv().await.unwrap().dropped().await;
    assert_eq!(session.waiters(), 1);
    flight.succeed("at-2");
    let answer = in_time(request).await.unwrap().unwrap();
    assert_eq!(body_text(answer.into_body()).await, "body");
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn g13_an_unfinished_rejection_does_not_delay_the_replay() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let (feeds, mut held) = mpsc::unbounded_channel();
        let server = serve(protocol, move |request| {
            let feeds = feeds.clone();
            async move {
                if bearer(&request) == Some("at-2") {
                    return answer_with(StatusCode::OK, request.into_body());
                }
                let (feed, body) = channel_body();
                feed.send(frame("to be continued")).unwrap();
                feeds.send(feed).unwrap();
                answer_with(StatusCode::UNAUTHORIZED, body)
            }
        })
        .await;
        let (refresher, mut flights) = manual_refresher();
        let client = RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any())
            .layer(pool(protocol));
        let request = tokio::spawn(client.oneshot(server.post("/", "body")));
        in_time(flights.next()).await.succeed("at-2");
        let answer = in_time(request).await.unwrap().unwrap();
        assert_eq!(body_text(answer.into_body()).await, "body");
        let feed: BodySender = held.recv().await.unwrap();
        in_time(feed.closed()).await;
    }
}

#[tokio::test]
async fn g13_failure_mode_response_returns_a_rejection_with_its_body() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for error in [RefreshError::transient("busy"), RefreshError::terminal("revoked")] {
            let body = "x".repeat(300_000);
            let sent = body.clone();
            let server = serve(protocol, move |_| {
                let sent = sent.clone();
                async move { answer_with(StatusCode::UNAUTHORIZED, Full::new(Bytes::from(sent))) }
            })
            .await;
            let (refresher, mut flights) = manual_refresher();
            let layer = RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any());
            let client =
                layer.failure_mode(FailureMode::Response).layer(pool::<Full<Bytes>>(protocol));
            let request = tokio::spawn(client.oneshot(server.post("/", "body")));
            let flight = in_time(flights.next()).await;
            settle_tasks().await;
            flight.answer(Err(error));
            let answer = in_time(request).await.unwrap().unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(in_time(body_text(answer.into_body())).await, body);
        }
    }
}

/// The first rejection is larger than the buffers of the client, so the connection becomes ready
/// only when its body is read. The requests behind it fill the `Buffer` meanwhile.
#[tokio::test]
async fn g13_failure_mode_response_replays_through_a_buffer_over_the_only_connection() {
    let server = serve(Protocol::Http1, |request| async move {
        if bearer(&request) == Some("at-2") {
            return answer_with(StatusCode::OK, request.into_body());
        }
        let rejection = Full::new(Bytes::from(vec![b'x'; 50_000]));
        answer_with(StatusCode::UNAUTHORIZED, rejection)
    })
    .await;
    let (refresher, mut flights) = manual_refresher();
    let client = ServiceBuilder::new()
        .layer(
            RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any())
                .failure_mode(FailureMode::Response),
        )
        .buffer(1)
        .service(DirectConnection::<Full<Bytes>>::open(&server).await);
    let requests: Vec<_> = (0..6)
        .map(|n| tokio::spawn(client.clone().oneshot(server.post("/", format!("body {n}")))))
        .collect();
    in_time(flights.next()).await.succeed("at-2");
    for (n, request) in requests.into_iter().enumerate() {
        let answer = in_time(request).await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(in_time(body_text(answer.into_body())).await, format!("body {n}"));
    }
    assert_eq!(server.accepted(), 1);
    flights.none_started().await;
}

#[tokio::test]
async fn g13_a_refresh_over_the_only_connection_does_not_deadlock() {
    let server = serve(Protocol::Http1, |request| async move {
        let status = match (request.uri().path(), bearer(&request)) {
            ("/auth/refresh", None) | (_, Some("at-2")) => StatusCode::OK,
            _ => StatusCode::UNAUTHORIZED,
        };
        answer_with(status, request.into_body())
    })
    .await;
    type RefreshingClient =
        tower_refresh::Refresh<tower::limit::ConcurrencyLimit<OneConnection<Full<Bytes>>>>;
    let client_cell = Arc::new(OnceLock::<RefreshingClient>::new());
    let refreshes = Arc::<AtomicUsize>::default();
    let refresher = refresher_fn({
        let (client_cell, refreshes, refresh) =
            (client_cell.clone(), refreshes.clone(), server.uri("/auth/refresh"));
        move |_: RefreshContext| {
            let client = client_cell.get().unwrap().clone();
            let request = Request::post(&refresh).body(Full::new(Bytes::from("at-2"))).unwrap();
            refreshes.fetch_add(1, SeqCst);
            async move {
                let answer = client.oneshot(request).await.map_err(RefreshError::transient)?;
                Ok(Token::bearer(body_text(answer.into_body()).await)?)
            }
        }
    });
    let client = ServiceBuilder::new()
        .layer(RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any()))
        .concurrency_limit(1)
        .service(OneConnection::open(&server).await);
    assert!(client_cell.set(client.clone()).is_ok());

    let requests: Vec<_> = (0..20)
        .map(|n| {
            let request = client.clone().oneshot(server.post("/", format!("body {n}")));
            tokio::spawn(async move { body_text(request.await.unwrap().into_body()).await })
        })
        .collect();
    for (n, request) in requests.into_iter().enumerate() {
        assert_eq!(in_time(request).await.unwrap(), format!("body {n}"));
    }
    assert_eq!((refreshes.load(SeqCst), server.accepted()), (1, 1));
}

// === uploads ===

#[tokio::test]
async fn g14_an_upload_in_progress_is_replayed_whole_and_its_first_attempt_is_aborted() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let (results, mut first_attempts) = mpsc::unbounded_channel();
        let server = serve(protocol, move |request| {
            let results = results.clone();
            async move {
                if bearer(&request) == Some("at-2") {
                    return answer_with(StatusCode::OK, request.into_body());
                }
                let mut body = request.into_body();
                let begin = body.frame().await.unwrap().unwrap().into_data().unwrap();
                assert_eq!(begin, "one ");
                // The server responds before it has read the whole body, and continues to read.
                tokio::spawn(async move { results.send(frames(body).await).unwrap() });
                answer_with(StatusCode::UNAUTHORIZED, Full::new(Bytes::from("no")))
            }
        })
        .await;
        let (refresher, mut flights) = manual_refresher();
        let client = RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any())
            .layer(pool::<ChannelBody>(protocol));
        let (feed, body) = channel_body();
        feed.send(frame("one ")).unwrap();
        let request =
            tokio::spawn(client.oneshot(Request::post(server.uri("/")).body(body).unwrap()));
        let flight = in_time(flights.next()).await;
        feed.send(frame("two ")).unwrap();
        flight.succeed("at-2");
        feed.send(frame("three")).unwrap();
        drop(feed);
        let answer = in_time(request).await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(in_time(body_text(answer.into_body())).await, "one two three", "{protocol:?}");
        let first = in_time(first_attempts.recv()).await.unwrap();
        assert_eq!(
            first.last(),
            Some(&Step::Fail("failed")),
            "{protocol:?}: the first attempt is aborted"
        );
        assert!(!first.contains(&data("three")));
    }
}

#[tokio::test]
async fn g14_both_attempts_frame_a_body_as_without_the_layer() {
    /// The headers that determine the length of the body.
    fn framing<B>(request: &Request<B>) -> String {
        let of = |name| request.headers().get_all(name).iter().collect::<Vec<_>>();
        format!("{:?} {:?}", of(header::CONTENT_LENGTH), of(header::TRANSFER_ENCODING))
    }

    let seen = Arc::<Mutex<Vec<(String, String)>>>::default();
    let log = seen.clone();
    let server = serve(Protocol::Http1, move |request| {
        let log = log.clone();
        async move {
            let is_good = bearer(&request) != Some("at-1");
            let framing = framing(&request);
            let text = body_text(request.into_body()).await;
            log.lock().unwrap().push((framing, text));
            answer_with(
                if is_good { StatusCode::OK } else { StatusCode::UNAUTHORIZED },
                Full::new(Bytes::new()),
            )
        }
    })
    .await;
    type MakeBody = fn() -> BoxedBody;
    let cases: [(Method, Option<&str>, MakeBody, &str); 9] = [
        (Method::POST, None, || boxed(Full::new(Bytes::from("hello"))), r#"["5"] []"#),
        (Method::POST, Some("5"), || boxed(Full::new(Bytes::from("hello"))), r#"["5"] []"#),
        (Method::POST, None, || boxed(Full::new(Bytes::new())), "[] []"),
        (Method::GET, None, || boxed(Full::new(Bytes::new())), "[] []"),
        (
            Method::POST,
            None,
            || boxed(ScriptedBody::of_unknown_length(vec![data("hel"), data("lo")])),
            r#"[] ["chunked"]"#,
        ),
        (
            Method::POST,
            None,
            || boxed(ScriptedBody::of_unknown_length(vec![data("hel"), Step::Wait, data("lo")])),
            r#"[] ["chunked"]"#,
        ),
        (
            Method::POST,
            Some("5"),
            || boxed(ScriptedBody::of_unknown_length(vec![data("hel"), Step::Wait, data("lo")])),
            r#"["5"] []"#,
        ),
        (
            Method::POST,
            None,
            || boxed(ScriptedBody::sized(vec![data("hel"), Step::Wait, data("lo")])),
            r#"["5"] []"#,
        ),
        (
            Method::POST,
            None,
            || boxed(ScriptedBody::of_unknown_length(vec![])),
            r#"[] ["chunked"]"#,
        ),
    ];
    for (method, length, body, expected) in cases {
        let request = || {
            let mut request = Request::builder().method(method.clone()).uri(server.uri("/"));
            if let Some(length) = length {
                request = request.header(header::CONTENT_LENGTH, length);
            }
            request.body(body()).unwrap()
        };
        let bare: Client<HttpConnector, BoxedBody> =
            Client::builder(TokioExecutor::new()).build_http();
        assert_eq!(in_time(bare.request(request())).await.unwrap().status(), StatusCode::OK);
        let refresher = refresher_fn(|_: RefreshContext| async { Ok(Token::bearer("at-2")?) });
        let client = RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any())
            .layer(pool(Protocol::Http1));
        assert_eq!(in_time(client.oneshot(request())).await.unwrap().status(), StatusCode::OK);

        let seen = std::mem::take(&mut *seen.lock().unwrap());
        let [bare, first, second] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!(bare.0, expected);
        assert_eq!(first, bare);
        assert_eq!(second, bare);
    }
}

#[tokio::test]
async fn g14_trailers_arrive_on_both_attempts() {
    let seen = Arc::<Mutex<Vec<Vec<Step>>>>::default();
    let log = seen.clone();
    let server = serve(Protocol::Http2, move |request| {
        let log = log.clone();
        async move {
            let is_good = bearer(&request) == Some("at-2");
            let frames = frames(request.into_body()).await;
            log.lock().unwrap().push(frames);
            answer_with(
                if is_good { StatusCode::OK } else { StatusCode::UNAUTHORIZED },
                Full::new(Bytes::new()),
            )
        }
    })
    .await;
    for steps in [
        vec![data("one"), trailers("x-sum", "1")],
        vec![data("one"), Step::Wait, trailers("x-sum", "1")],
    ] {
        let refresher = refresher_fn(|_: RefreshContext| async { Ok(Token::bearer("at-2")?) });
        let client = RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any())
            .layer(pool(Protocol::Http2));
        let request =
            Request::post(server.uri("/")).body(ScriptedBody::of_unknown_length(steps)).unwrap();
        assert_eq!(in_time(client.oneshot(request)).await.unwrap().status(), StatusCode::OK);
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        let expected = vec![data("one"), trailers("x-sum", "1")];
        assert_eq!(seen, [expected.clone(), expected]);
    }
}

/// On four threads, with uploads that are rejected at every stage.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g14_fifty_rejected_uploads_are_replayed_whole() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let server = serve(protocol, |request| async move {
            if bearer(&request) == Some("at-2") {
                return answer_with(StatusCode::OK, request.into_body());
            }
            // The server reads on, because HTTP/1 loses the response if the server closes the
            // connection during the upload.
            tokio::spawn(frames(request.into_body()));
            answer_with(StatusCode::UNAUTHORIZED, Full::new(Bytes::from("no")))
        })
        .await;
        let calls = Arc::<AtomicUsize>::default();
        let refresher = refresher_fn({
            let calls = calls.clone();
            move |_: RefreshContext| {
                calls.fetch_add(1, SeqCst);
                async { Ok(Token::bearer("at-2")?) }
            }
        });
        let client = RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any())
            .layer(pool::<ChannelBody>(protocol));
        let requests: Vec<JoinHandle<(String, String)>> = (0..50)
            .map(|n| {
                let (feed, body) = channel_body();
                let pieces: Vec<_> = (0..n).map(|piece| format!("{n}/{piece} ")).collect();
                let expected = pieces.concat();
                tokio::spawn(async move {
                    for piece in pieces {
                        feed.send(Ok(Frame::data(Bytes::from(piece)))).unwrap();
                        tokio::task::yield_now().await;
                    }
                });
                let request =
                    client.clone().oneshot(Request::post(server.uri("/")).body(body).unwrap());
                tokio::spawn(async move {
                    (body_text(request.await.unwrap().into_body()).await, expected)
                })
            })
            .collect();
        for request in requests {
            let (got, expected) = in_time(request).await.unwrap();
            assert_eq!(got, expected);
        }
        assert_eq!(calls.load(SeqCst), 1);
    }
}

// === helpers ===

/// A session with a stale token, whose limit allows a thousand refreshes.
fn session_without_refresh_limit(refresher: ManualRefresher) -> Session {
    let many = Session::builder(refresher).refresh_limit(1000, Duration::from_secs(30));
    many.credential(token("stale")).build()
}

/// Serves on loopback until the test ends.
async fn serve<H, F>(protocol: Protocol, handle: H) -> Server
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<BoxedBody>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::<AtomicUsize>::default();
    let count = accepted.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            count.fetch_add(1, SeqCst);
            let handle = handle.clone();
            let service = service_fn(move |request| {
                let answer = handle(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let io = TokioIo::new(stream);
            // The connection fails when an upload is aborted.
            tokio::spawn(async move {
                match protocol {
                    Protocol::Http1 => {
                        drop(
                            hyper::server::conn::http1::Builder::new()
                                .serve_connection(io, service)
                                .await,
                        );
                    }
                    Protocol::Http2 => {
                        let builder =
                            hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        drop(builder.serve_connection(io, service).await);
                    }
                }
            });
        }
    });
    Server { address, accepted }
}

/// Accepts the credential `good-n` with the body `body n`, and `good` with every body. Rejects
/// other requests once all of `together` have arrived, with a body that the test finishes.
async fn serve_unfinished_rejections(
    together: Barrier,
) -> (Server, mpsc::UnboundedReceiver<BodySender>) {
    let (feeds, received) = mpsc::unbounded_channel();
    let together = Arc::new(together);
    let server = serve(Protocol::Http1, move |request| {
        let (feeds, together) = (feeds.clone(), together.clone());
        async move {
            let credential = bearer(&request).unwrap_or("-").to_owned();
            let text = body_text(request.into_body()).await;
            if credential == "good" || credential == text.replace("body ", "good-") {
                return answer_with(
                    StatusCode::OK,
                    Full::new(Bytes::from(format!("{credential}: {text}"))),
                );
            }
            together.wait().await;
            let (feed, body) = channel_body();
            feed.send(frame("one")).unwrap();
            feeds.send(feed).unwrap();
            answer_with(StatusCode::UNAUTHORIZED, body)
        }
    })
    .await;
    (server, received)
}

/// Sends the rest of a rejection and waits until the client has read it.
async fn finish_rejection(
    feeds: &mut mpsc::UnboundedReceiver<BodySender>,
    rejections: &mut mpsc::UnboundedReceiver<Arc<ReadProgress>>,
) {
    let feed = in_time(feeds.recv()).await.unwrap();
    let rejection = in_time(rejections.recv()).await.unwrap();
    feed.send(frame("two")).unwrap();
    drop(feed);
    rejection.ended().await;
}

fn pool<B>(protocol: Protocol) -> Pool<B>
where
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    Client::builder(TokioExecutor::new()).http2_only(protocol == Protocol::Http2).build_http()
}

impl Server {
    fn accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }

    fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn post(&self, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        post(&self.uri(path), body)
    }

    /// Opens an HTTP/1 connection.
    async fn connect<B>(&self) -> SendRequest<B>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

impl<B> OneConnection<B>
where
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    async fn open(server: &Server) -> Self {
        Self(Arc::new(tokio::sync::Mutex::new(server.connect().await)))
    }
}

impl<B> Clone for OneConnection<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B> Service<Request<ReplayBody<B>>> for OneConnection<B>
where
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Incoming>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<B>>) -> Self::Future {
        let sender = self.0.clone();
        Box::pin(async move {
            let mut sender = sender.lock().await;
            sender.ready().await?;
            Ok(sender.send_request(request).await?)
        })
    }
}

impl<B> DirectConnection<B>
where
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    async fn open(server: &Server) -> Self {
        Self(server.connect().await)
    }
}

impl<B> Service<Request<ReplayBody<B>>> for DirectConnection<B>
where
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Incoming>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<ReplayBody<B>>) -> Self::Future {
        let response = self.0.send_request(request);
        Box::pin(async move { Ok(response.await?) })
    }
}

impl<S> RejectionTracker<S> {
    fn new(inner: S) -> (Self, mpsc::UnboundedReceiver<Arc<ReadProgress>>) {
        let (rejections, received) = mpsc::unbounded_channel();
        (Self { inner, rejections }, received)
    }
}

impl<S, R> Service<R> for RejectionTracker<S>
where
    S: Service<R, Response = Response<Incoming>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<BoxedBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, ServiceResult>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let answer = self.inner.call(request);
        let rejections = self.rejections.clone();
        Box::pin(async move {
            let answer = answer.await.map_err(Into::into)?;
            if answer.status() != StatusCode::UNAUTHORIZED {
                return Ok(answer.map(boxed));
            }
            Ok(answer.map(|body| {
                let (body, reading) = TrackedBody::new(body);
                rejections.send(reading).unwrap();
                boxed(body)
            }))
        })
    }
}
