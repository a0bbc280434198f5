//! The four kinds of calls through tonic on both sides, over HTTP/2 on loopback.

use std::{
    future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http::{HeaderValue, request::Parts};
use tokio::sync::{Notify, mpsc};
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{
    Code, Request, Status,
    body::Body,
    client::GrpcService,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use tower::{BoxError, Layer, ServiceBuilder, timeout::TimeoutLayer};
use tower_http::map_request_body::MapRequestBodyLayer;
use tower_refresh::{
    Credential, Origin, Origins, RefreshContext, RefreshError, RefreshLayer, Session, Token,
    detect::GrpcUnauthenticated,
    grpc::{self, GrpcAnswer, TrailersLayer},
    refresher_fn,
    respond::{Respond, RespondLayer},
};

use crate::{
    client::{EchoClient, KINDS, LONG, Layered, Note, call, expected, layered, layered_with, note},
    echo::Echo,
    in_time,
    issuer::Issuer,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_call_is_replayed_after_every_kind_of_rejection() {
    in_time(async {
        for kind in KINDS {
            for reject in ["head", "trailers", "401"] {
                let issuer = Issuer::default();
                let server = Echo::listen(&issuer).await;
                let trailers = TrailersLayer::new().grace(LONG);
                let session = issuer.expired_session();
                let mut client =
                    EchoClient::new(layered_with(server.channel(), &session, trailers));
                let answer = call(&mut client, kind, reject).await;
                assert_eq!(answer.unwrap(), expected(kind), "{kind}, {reject}");
                assert_eq!(issuer.refreshes(), 1, "{kind}, {reject}");
                assert_eq!(server.seen().len(), 2, "{kind}, {reject}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_calls_at_once_cost_one_refresh() {
    in_time(async {
        for reject in ["head", "trailers", "401"] {
            let issuer = Issuer::default();
            let server = Echo::listen(&issuer).await;
            let trailers = TrailersLayer::new().grace(LONG);
            let client = EchoClient::new(layered_with(
                server.channel(),
                &issuer.expired_session(),
                trailers,
            ));
            let calls: Vec<_> = (0..200)
                .map(|number| {
                    let mut client = client.clone();
                    tokio::spawn(async move { call(&mut client, KINDS[number % 4], reject).await })
                })
                .collect();
            for (number, call) in calls.into_iter().enumerate() {
                let kind = KINDS[number % 4];
                assert_eq!(call.await.unwrap().unwrap(), expected(kind), "{kind}, {reject}");
            }
            assert_eq!(issuer.refreshes(), 1, "{reject}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_rejected_midway_fails_and_the_next_call_waits_for_the_refresh() {
    in_time(async {
        let issuer = Issuer::default();
        let server = Echo::listen(&issuer).await;
        let mut client = EchoClient::new(layered(server.channel(), &issuer.session()));

        let ask = Note { text: "expire".into(), count: 5 };
        let mut stream = client.repeat(Request::new(ask)).await.unwrap().into_inner();
        let mut got = 0;
        let status = loop {
            match stream.next().await.expect("it does not end without a status") {
                Ok(_) => got += 1,
                Err(status) => break status,
            }
        };
        assert_eq!((got, status.code()), (2, Code::Unauthenticated));
        assert_eq!(status.message(), "expired in mid-stream");

        assert_eq!(call(&mut client, "unary", "head").await.unwrap(), expected("unary"));
        assert_eq!(issuer.refreshes(), 1);
        let tokens: Vec<_> =
            server.seen().iter().map(|head| head["authorization"].clone()).collect();
        assert_eq!(tokens, ["Bearer at-0", "Bearer at-1"]);
    })
    .await;
}

#[tokio::test]
async fn a_bidirectional_call_that_is_rejected_midway_fails_and_the_next_call_waits_for_the_refresh()
 {
    in_time(async {
        let issuer = Issuer::default();
        let server = Echo::listen(&issuer).await;
        let mut client = EchoClient::new(layered(server.channel(), &issuer.session()));
        let (say, said) = mpsc::unbounded_channel();
        let said = Request::new(UnboundedReceiverStream::new(said));
        let mut heard = client.talk(said).await.unwrap().into_inner();
        say.send(note("one")).unwrap();
        assert_eq!(heard.next().await.unwrap().unwrap().text, "one");

        issuer.expire();
        say.send(note("two")).unwrap();
        assert_eq!(heard.next().await.unwrap().unwrap_err().code(), Code::Unauthenticated);

        assert_eq!(
            call(&mut client, "bidirectional", "head").await.unwrap(),
            expected("bidirectional")
        );
        assert_eq!((issuer.refreshes(), server.seen().len()), (1, 2));
    })
    .await;
}

#[tokio::test]
async fn a_client_that_sends_nothing_before_the_headers_gets_them() {
    in_time(async {
        for grace in [Duration::ZERO, Duration::from_secs(3600)] {
            for is_expired in [false, true] {
                let issuer = Issuer::default();
                let server = Echo::listen(&issuer).await;
                let session = if is_expired { issuer.expired_session() } else { issuer.session() };
                let trailers = TrailersLayer::new().grace(grace);
                let mut client =
                    EchoClient::new(layered_with(server.channel(), &session, trailers));
                let (say, said) = mpsc::unbounded_channel();
                let said = Request::new(UnboundedReceiverStream::new(said));
                let mut heard = client.talk(said).await.unwrap().into_inner();
                for text in ["one", "two"] {
                    say.send(note(text)).unwrap();
                    assert_eq!(heard.next().await.unwrap().unwrap().text, text);
                }
                drop(say);
                assert!(heard.next().await.is_none());
                assert_eq!(issuer.refreshes(), usize::from(is_expired));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_upload_beyond_the_limit_gets_its_status_and_the_refresh_runs() {
    in_time(async {
        for kind in ["client streaming", "unary"] {
            let issuer = Issuer::default();
            let server = Echo::listen(&issuer).await;
            let session = issuer.expired_session();
            let layer =
                grpc::refresh_layer(session.clone(), Origin::from_static("http://localhost"))
                    .replay_limit(16);
            let channel = ServiceBuilder::new()
                .layer(layer)
                .layer(TrailersLayer::new())
                .layer(MapRequestBodyLayer::new(Body::new))
                .service(server.channel());
            let mut client = EchoClient::new(channel);
            let long = || Request::new(note(&"x".repeat(100)));
            let failed = match kind {
                "unary" => client.unary(long()).await.unwrap_err(),
                _ => client.join(long().map(tokio_stream::once)).await.unwrap_err(),
            };
            assert_eq!(
                (failed.code(), failed.message()),
                (Code::Unauthenticated, "expired"),
                "{kind}"
            );
            assert_eq!(server.seen().len(), 1);

            client.unary(long()).await.unwrap();
            assert_eq!(issuer.refreshes(), 1);
            assert_eq!(server.seen().len(), 2);
        }
    })
    .await;
}

#[tokio::test]
async fn metadata_and_deadline_are_the_same_on_the_replay() {
    in_time(async {
        let issuer = Issuer::default();
        let server = Echo::listen(&issuer).await;
        let mut client = EchoClient::new(layered(server.channel(), &issuer.expired_session()));
        let mut request = Request::new(note("a"));
        request.set_timeout(Duration::from_secs(25));
        request.metadata_mut().insert("x-trace", MetadataValue::from_static("t-1"));
        request
            .metadata_mut()
            .insert_bin("x-trace-bin", MetadataValue::from_bytes(&[0, 255, 13, 10]));
        client.unary(request).await.unwrap();

        let mut seen = server.seen();
        for (head, token) in seen.iter_mut().zip(["Bearer at-0", "Bearer at-1"]) {
            assert_eq!(head.remove("authorization").unwrap(), token);
        }
        assert_eq!(seen[0], seen[1]);
        assert_eq!(seen[1]["grpc-timeout"], "25000000u");
        assert_eq!(seen[1]["x-trace"], "t-1");
        assert_eq!(seen[1]["x-trace-bin"], "AP8NCg");
    })
    .await;
}

/// A credential in binary metadata.
struct Proof(HeaderValue);

impl Proof {
    fn new(bytes: &[u8]) -> Self {
        // On the wire, the value of a name that ends in `-bin` is base64.
        let value = MetadataValue::from_bytes(bytes);
        let mut value = HeaderValue::from_bytes(value.as_encoded_bytes()).unwrap();
        value.set_sensitive(true);
        Self(value)
    }
}

impl Credential for Proof {
    fn apply(&self, request: &mut Parts) {
        request.headers.insert("x-proof-bin", self.0.clone());
    }

    fn is_present(request: &Parts) -> bool {
        request.headers.contains_key("x-proof-bin")
    }
}

#[tokio::test]
async fn a_credential_may_be_binary_metadata() {
    in_time(async {
        let issuer = Issuer::default();
        let server = Echo::listen(&issuer).await;
        // Every credential is rejected, so both attempts are seen.
        let refresher =
            refresher_fn(|_: RefreshContext<Proof>| async { Ok(Proof::new(&[2, 255])) });
        let session = Session::new(Proof::new(&[1, 255]), refresher);
        let mut client = EchoClient::new(layered(server.channel(), &session));
        assert_eq!(
            call(&mut client, "unary", "head").await.unwrap_err().code(),
            Code::Unauthenticated
        );
        let proofs: Vec<_> = server.seen().iter().map(|head| head["x-proof-bin"].clone()).collect();
        assert_eq!(proofs, ["Af8", "Av8"]);
    })
    .await;
}

#[tokio::test]
async fn a_failed_refresh_is_answered_with_its_code() {
    in_time(async {
        let failures = [
            (RefreshError::terminal("invalid_grant"), Code::Unauthenticated, "invalid_grant"),
            (
                RefreshError::transient("503 of the auth service"),
                Code::Unavailable,
                "503 of the auth service",
            ),
            (RefreshError::ambiguous("cut off"), Code::Unavailable, "cut off"),
        ];
        for (failure, code, cause) in failures {
            let issuer = Issuer::default();
            issuer.fail(failure);
            let server = Echo::listen(&issuer).await;
            let session = issuer.expired_session();
            let mut client = EchoClient::new(answering(server.channel(), &session));
            let status = call(&mut client, "unary", "head").await.unwrap_err();
            assert_eq!(status.code(), code);
            assert!(status.message().ends_with(cause), "{status:?}");
            assert!(!format!("{status:?}").contains("at-0"), "{status:?}");

            // The same during the back-off, or after the end of the login.
            assert_eq!(call(&mut client, "unary", "head").await.unwrap_err().code(), code);
            assert_eq!(issuer.refreshes(), 1);
            assert_eq!(
                status.metadata().contains_key("grpc-retry-pushback-ms"),
                code == Code::Unavailable
            );
        }

        let issuer = Issuer::default();
        let server = Echo::listen(&issuer).await;
        let session = issuer.session();
        session.logout().await;
        let mut client = EchoClient::new(answering(server.channel(), &session));
        let status = call(&mut client, "unary", "head").await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "not logged in"));
        assert!(server.seen().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_waiter_beyond_the_limit_is_resource_exhausted() {
    in_time(async {
        let issuer = Issuer::default();
        issuer.expire();
        let server = Echo::listen(&issuer).await;
        let refresher =
            refresher_fn(|_: RefreshContext| future::pending::<Result<Token, RefreshError>>());
        let credential = Token::bearer("at-0").unwrap();
        let session = Session::builder(refresher).credential(credential).max_waiters(0).build();
        let mut client = EchoClient::new(answering(server.channel(), &session));
        let status = call(&mut client, "unary", "head").await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.message().starts_with("too many requests wait for a refresh"));
    })
    .await;
}

#[tokio::test]
async fn without_a_respond_layer_the_status_has_the_error_as_its_source() {
    in_time(async {
        let issuer = Issuer::default();
        issuer.fail(RefreshError::terminal("invalid_grant"));
        let server = Echo::listen(&issuer).await;
        let mut client = EchoClient::new(layered(server.channel(), &issuer.expired_session()));
        let status = call(&mut client, "unary", "head").await.unwrap_err();
        assert_eq!(status.code(), Code::Unknown);
        let source = std::error::Error::source(&status).unwrap();
        assert!(source.is::<tower_refresh::Error>(), "{source:?}");
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_server_stays_unavailable() {
    in_time(async {
        // A port that no server listens on.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let channel = Endpoint::from_shared(uri).unwrap().connect_lazy();
        let bare =
            EchoClient::new(channel.clone()).unary(Request::new(note("a"))).await.unwrap_err();
        assert_eq!(bare.code(), Code::Unavailable);

        let session = Issuer::default().session();
        let layered = EchoClient::new(layered(channel.clone(), &session))
            .unary(Request::new(note("a")))
            .await;
        let answering =
            EchoClient::new(answering(channel, &session)).unary(Request::new(note("a"))).await;
        for status in [layered.unwrap_err(), answering.unwrap_err()] {
            assert_eq!((status.code(), status.message()), (bare.code(), bare.message()));
        }
        assert_eq!(session.state().flights_started(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_cancelled_or_times_out_leaves_no_waiter() {
    in_time(async {
        let issuer = Issuer::default();
        issuer.expire();
        let server = Echo::listen(&issuer).await;
        let refreshing = Arc::new(Notify::new());
        let refreshes = Arc::new(AtomicUsize::new(0));
        let refresher = {
            let (refreshing, refreshes) = (refreshing.clone(), refreshes.clone());
            refresher_fn(move |_: RefreshContext| {
                refreshes.fetch_add(1, SeqCst);
                refreshing.notify_one();
                future::pending::<Result<Token, RefreshError>>()
            })
        };
        let session = Session::new(Token::bearer("at-0").unwrap(), refresher);
        let channel = layered(server.channel(), &session);

        let mut client = EchoClient::new(channel.clone());
        let cancelled = tokio::spawn(async move { client.unary(Request::new(note("a"))).await });
        refreshing.notified().await;
        while session.waiters() == 0 {
            tokio::task::yield_now().await;
        }
        cancelled.abort();
        assert!(cancelled.await.unwrap_err().is_cancelled());
        assert_eq!(session.waiters(), 0);

        // The caller's deadline includes the wait for the refresh.
        let deadline = ServiceBuilder::new()
            .map_err(|error: BoxError| match error.downcast::<tower::timeout::error::Elapsed>() {
                Ok(elapsed) => Status::deadline_exceeded(elapsed.to_string()).into(),
                Err(error) => error,
            })
            .layer(TimeoutLayer::new(Duration::from_millis(20)))
            .service(channel);
        let status = EchoClient::new(deadline).unary(Request::new(note("a"))).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(session.waiters(), 0);
        assert_eq!((refreshes.load(SeqCst), server.seen().len()), (1, 1));
    })
    .await;
}

// === helpers ===

fn answering(channel: Channel, session: &Session) -> Respond<Layered, GrpcAnswer> {
    RespondLayer::new(GrpcAnswer::new()).layer(layered(channel, session))
}

#[expect(dead_code, reason = "it compiles")]
fn without_the_layer_for_trailers(
    session: Session,
    channel: Channel,
) -> impl GrpcService<Body> + Clone {
    ServiceBuilder::new()
        .layer(RefreshLayer::new(session, Origins::any()).detect(GrpcUnauthenticated))
        .layer(MapRequestBodyLayer::new(Body::new))
        .service(channel)
}
