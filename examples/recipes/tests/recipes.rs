//! Single recipes, beyond the trial.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use futures_util::TryStreamExt;
use http::{Request, Uri, uri::PathAndQuery};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{WatchEvent, WatchParams},
};
use octocrab::Octocrab;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::trace::SpanExporter as _;
use recipes::{
    recipes::{kube_client, octocrab_client, otlp_interceptor, tonic_client},
    trial::Server,
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
    time::timeout,
};
use tonic::{
    Code, Response, Status,
    body::Body,
    codec::CompressionEncoding,
    service::Interceptor,
    transport::{Endpoint, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::service_fn;
use tower_refresh::{
    ErrorKind, Origin, RefreshContext, RefreshError, Session, Token, extension::Anonymous,
    refresher_fn,
};

/// Refreshes through octocrab's own client, whose `Buffer` sends from another task.
fn octocrab_session(own: Arc<OnceLock<Octocrab>>, is_marked: bool) -> Session {
    let refresher = refresher_fn(move |context: RefreshContext| {
        let octocrab = own.get().unwrap().clone();
        async move {
            let form = format!("refresh_token={}", context.refresh_token().unwrap_or_default());
            let mut request = Request::post("/token").body(form.into()).unwrap();
            if is_marked {
                request.extensions_mut().insert(Anonymous);
            }
            let answer = octocrab.send(request).await.map_err(RefreshError::ambiguous)?;
            let body = answer.into_body().collect().await.map_err(RefreshError::ambiguous)?;
            let json: serde_json::Value =
                serde_json::from_slice(&body.to_bytes()).map_err(RefreshError::ambiguous)?;
            Ok(Token::bearer(json["access_token"].as_str().unwrap_or_default())?)
        }
    });
    Session::builder(refresher).refresh_timeout(Duration::from_secs(2)).build()
}

#[tokio::test]
async fn octocrab_refreshes_through_itself_if_its_request_is_anonymous() {
    for is_marked in [true, false] {
        let server = Server::listen().await.unwrap();
        let own = Arc::new(OnceLock::new());
        let session = octocrab_session(own.clone(), is_marked);
        let octocrab =
            octocrab_client::client(session.clone(), server.origin(), server.uri()).unwrap();
        own.set(octocrab.clone()).ok().unwrap();
        session.login(server.token());
        server.expire();
        let user = octocrab.get::<serde_json::Value, _, _>("/user", None::<&()>);
        let answer = timeout(Duration::from_secs(30), user).await.expect("it hangs");
        assert_eq!(answer.is_ok(), is_marked, "an unmarked refresh waits for itself: {answer:?}");
        assert_eq!(server.refreshes(), usize::from(is_marked));
    }
}

#[tokio::test]
async fn kube_watches_after_a_refresh() {
    let server = Server::listen().await.unwrap();
    let session = Session::builder(server.refresher()).credential(server.token()).build();
    server.expire();
    let client = kube_client::client(session, server.origin(), &kube::Config::new(server.uri()));
    let pods = Api::<Pod>::default_namespaced(client);
    let mut events = Box::pin(pods.watch(&WatchParams::default(), "0").await.unwrap());
    let event = timeout(Duration::from_secs(30), events.try_next()).await.expect("it hangs");
    assert!(matches!(event.unwrap(), Some(WatchEvent::Added(_))));
    assert_eq!(server.refreshes(), 1);
}

#[tokio::test]
async fn an_otlp_interceptor_puts_the_current_token_on_each_export() {
    let server = Server::listen().await.unwrap();
    let session = Session::builder(server.refresher()).credential(server.token()).build();
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(server.url(""))
        .with_interceptor(otlp_interceptor::interceptor(session.clone()))
        .build()
        .unwrap();
    exporter.export(Vec::new()).await.unwrap();
    session.refresh().await.unwrap();
    exporter.export(Vec::new()).await.unwrap();
    assert_eq!(server.requests(), 2);

    let mut interceptor = otlp_interceptor::interceptor(session.clone());
    let metadata = interceptor.call(tonic::Request::new(())).unwrap().metadata().clone();
    assert!(metadata.get("authorization").unwrap().is_sensitive());
    assert!(!format!("{metadata:?}").contains("at-"), "{metadata:?}");
    session.logout().await;
    assert_eq!(
        interceptor.call(tonic::Request::new(())).unwrap_err().code(),
        Code::Unauthenticated
    );
}

#[tokio::test]
async fn an_otlp_interceptor_starts_a_refresh_and_fails_retryably_without_a_usable_token() {
    let (answers, answered) = mpsc::unbounded_channel::<Result<&str, RefreshError>>();
    let answered = Arc::new(Mutex::new(answered));
    let refresher = refresher_fn(move |_: RefreshContext| {
        let answered = answered.clone();
        async move {
            let token = answered.lock().await.recv().await.expect("the test has the sender")?;
            Ok(Token::bearer(token)?.with_expires_in(Duration::from_secs(60)))
        }
    });
    let minutes = Arc::new(AtomicU32::new(0));
    let clock = minutes.clone();
    let session: Session = Session::builder(refresher)
        .acquire_on_demand(true)
        .clock(move || SystemTime::UNIX_EPOCH + Duration::from_secs(60) * clock.load(SeqCst))
        .build();
    let settled = async |flights| {
        let mut watcher = session.subscribe();
        watcher.wait_for(|state| state.flights_settled() == flights).await.unwrap();
        session.retry_now();
    };
    let mut interceptor = otlp_interceptor::interceptor(session.clone());
    let mut call = || {
        let request = interceptor.call(tonic::Request::new(()));
        request.map_err(|status| status.code()).map(|request| {
            let value = request.metadata().get("authorization").unwrap();
            value.to_str().unwrap().to_owned()
        })
    };

    // The first calls start the one refresh that acquires a token.
    assert_eq!([call(), call()], [Err(Code::Unavailable), Err(Code::Unavailable)]);
    assert_eq!(session.state().flights_started(), 1);
    answers.send(Ok("at-1")).unwrap();
    settled(1).await;
    assert_eq!(call().unwrap(), "Bearer at-1");

    // The token has expired, and a refresh fails.
    minutes.store(1, SeqCst);
    assert_eq!(call(), Err(Code::Unavailable));
    answers.send(Err(RefreshError::transient("down"))).unwrap();
    settled(2).await;
    assert_eq!(call(), Err(Code::Unavailable));
    answers.send(Ok("at-2")).unwrap();
    settled(3).await;
    assert_eq!(call().unwrap(), "Bearer at-2");

    session.logout().await;
    assert_eq!(call(), Err(Code::Unauthenticated));
}

/// A tonic server that accepts `at-2`, echoes a text, and compresses.
async fn compressing_server() -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let service = service_fn(|request: Request<Body>| async move {
        if request.headers().get("authorization").is_none_or(|token| token != "Bearer at-2") {
            return Ok::<_, std::convert::Infallible>(
                Status::unauthenticated("expired").into_http(),
            );
        }
        assert_eq!(request.headers()["grpc-encoding"], "gzip");
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<String, String>::default())
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip);
        let echo = service_fn(|text: tonic::Request<String>| async {
            Ok::<_, Status>(Response::new(text.into_inner()))
        });
        Ok(grpc.unary(echo, request).await)
    });
    tokio::spawn(
        tonic::transport::Server::builder()
            .serve_with_incoming(service, TcpIncoming::from(listener)),
    );
    uri
}

#[tokio::test]
async fn a_compressed_call_is_replayed() {
    let uri = compressing_server().await;
    let refresher = refresher_fn(|_: RefreshContext| async { Ok(Token::bearer("at-2")?) });
    let session = Session::new(Token::bearer("at-1").unwrap(), refresher);
    let origin = Origin::try_from(&*uri.to_string()).unwrap();
    let channel = tonic_client::channel(session.clone(), origin, Endpoint::from(uri));
    let mut client = tonic::client::Grpc::new(channel)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    client.ready().await.unwrap();
    let text = "compress me ".repeat(100);
    let path = PathAndQuery::from_static("/test.Echo/Unary");
    let codec = ProstCodec::<String, String>::default();
    let call = client.unary(tonic::Request::new(text.clone()), path, codec);
    let answer = timeout(Duration::from_secs(30), call).await.expect("it hangs").unwrap();
    assert_eq!(answer.into_inner(), text);
    assert_eq!(session.state().flights_started(), 1);
}

#[tokio::test]
async fn the_error_of_a_session_reaches_the_caller_of_octocrab_and_of_kube() {
    let server = Server::listen().await.unwrap();
    let session = Session::builder(server.refresher()).credential(server.token()).build();
    session.logout().await;
    let octocrab = octocrab_client::client(session.clone(), server.origin(), server.uri()).unwrap();
    let error = octocrab.get::<serde_json::Value, _, _>("/user", None::<&()>).await.unwrap_err();
    assert_eq!(kind_in(&error), Some(ErrorKind::LoggedOut));

    let kube = kube_client::client(session, server.origin(), &kube::Config::new(server.uri()));
    let pods = Api::<Pod>::default_namespaced(kube);
    let error = pods.get("a").await.unwrap_err();
    assert_eq!(kind_in(&error), Some(ErrorKind::LoggedOut));
}

/// The kind of the session's error among the causes of another one.
fn kind_in(error: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<tower_refresh::Error>())
        .map(tower_refresh::Error::kind)
}
