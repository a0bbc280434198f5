//! Single recipes, beyond the trial.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::{
    process::Command,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use futures_util::{SinkExt, TryStreamExt};
use http::{Request, StatusCode, Uri, uri::PathAndQuery};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{client::proxy::matcher::Matcher, rt::TokioIo};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{AttachParams, WatchEvent, WatchParams},
};
use octocrab::Octocrab;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::trace::SpanExporter as _;
use recipes::{
    recipes::{
        axum_sessions, kube_client, octocrab_client, otlp_interceptor, proxy_client, tonic_client,
    },
    trial::Server,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc},
    task::spawn_blocking,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};
use tonic::{
    Code, Response, Status,
    body::Body,
    codec::CompressionEncoding,
    service::Interceptor,
    transport::{Endpoint, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::{ServiceExt, service_fn};
use tower_refresh::{
    ErrorKind, Origin, RefreshContext, RefreshError, Session, Token, extension::Anonymous,
    refresher_fn, sessions::Sessions,
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

/// A Kubernetes API that runs a command over a websocket if the token is `at-2`.
async fn exec_server() -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let exec = hyper::service::service_fn(|request: Request<Incoming>| async move {
        let token = request.headers().get("authorization");
        if token.is_none_or(|token| token != "Bearer at-2") {
            let body = json!({ "kind": "Status", "status": "Failure", "code": 401 }).to_string();
            return http::Response::builder().status(401).body(body);
        }
        let key = request.headers()["sec-websocket-key"].as_bytes();
        let answer = http::Response::builder()
            .status(101)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", derive_accept_key(key))
            .header("sec-websocket-protocol", "v4.channel.k8s.io");
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(request).await.unwrap();
            let socket =
                WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None);
            // Standard output is channel 1, and the status is channel 3.
            let status = json!({ "kind": "Status", "status": "Success" }).to_string();
            let messages = ["\u{1}hello".to_owned(), format!("\u{3}{status}")];
            let mut socket = socket.await;
            for message in messages {
                socket.send(Message::binary(message)).await.unwrap();
            }
            socket.close(None).await.unwrap();
        });
        answer.body(String::new())
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = hyper::server::conn::http1::Builder::new();
            let serving = server.serve_connection(TokioIo::new(stream), exec);
            tokio::spawn(serving.with_upgrades());
        }
    });
    uri
}

#[tokio::test]
async fn kube_executes_a_command_after_a_refresh() {
    let uri = exec_server().await;
    let origin = Origin::try_from(&*uri.to_string()).unwrap();
    for is_around in [false, true] {
        let refresher = refresher_fn(|_: RefreshContext| async { Ok(Token::bearer("at-2")?) });
        let session = Session::new(Token::bearer("at-1").unwrap(), refresher);
        let config = kube::Config::new(uri.clone());
        let client = if is_around {
            kube_client::around(session.clone(), origin.clone(), config).unwrap()
        } else {
            kube_client::client(session.clone(), origin.clone(), &config)
        };
        let pods = Api::<Pod>::default_namespaced(client);
        let params = AttachParams::default().stderr(false);
        let exec = timeout(Duration::from_secs(30), pods.exec("a", ["hello"], &params));
        let mut process = exec.await.expect("it hangs").unwrap();
        let mut output = String::new();
        process.stdout().unwrap().read_to_string(&mut output).await.unwrap();
        assert_eq!(output, "hello");
        assert_eq!(session.state().flights_started(), 1);
    }
}

/// A proxy that opens tunnels for those who log in, and counts them.
async fn tunnels() -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://ann:hush@{}", listener.local_addr().unwrap());
    let opened = Arc::new(AtomicU32::new(0));
    let count = opened.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            assert!(head.contains("\r\nproxy-authorization: basic yw5uomh1c2g=\r\n"), "{head}");
            assert!(!head.contains("bearer"), "{head}");
            let target = head.strip_prefix("connect ").unwrap().split(' ').next().unwrap();
            let mut target = TcpStream::connect(target).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            count.fetch_add(1, SeqCst);
            tokio::spawn(async move { copy_bidirectional(&mut stream, &mut target).await });
        }
    });
    (proxy, opened)
}

async fn through(proxies: Matcher) -> Result<(), tower_refresh::BoxError> {
    let server = Server::listen().await.unwrap();
    let session = Session::builder(server.refresher()).credential(server.token()).build();
    server.expire();
    let client = proxy_client::client(session, server.origin(), proxies);
    let request = Request::get(server.url("/user")).body(Full::default()).unwrap();
    let answer = timeout(Duration::from_secs(30), client.request(request)).await;
    assert_eq!(answer.expect("it hangs")?.status(), 200);
    assert_eq!(server.refreshes(), 1);
    Ok(())
}

#[tokio::test]
async fn requests_go_through_the_proxy_of_a_setting_unless_it_is_excluded() {
    let (proxy, opened) = tunnels().await;
    through(Matcher::builder().all(proxy.clone()).build()).await.unwrap();
    assert_eq!(opened.load(SeqCst), 1);
    through(Matcher::builder().all(proxy).no("127.0.0.1").build()).await.unwrap();
    assert_eq!(opened.load(SeqCst), 1);
    let nowhere = Matcher::builder().all("http://127.0.0.1:1").build();
    through(nowhere).await.unwrap_err();
}

/// The environment of a process cannot be changed safely, so that this test runs itself again.
#[tokio::test]
async fn requests_go_through_the_proxy_of_the_environment() {
    if std::env::var_os("IS_BEHIND_A_PROXY").is_some() {
        return through(Matcher::from_env()).await.unwrap();
    }
    for (no_proxy, expected) in [("", 1), ("127.0.0.1", 0)] {
        let (proxy, opened) = tunnels().await;
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "requests_go_through_the_proxy_of_the_environment"]);
        for other in ["HTTP_PROXY", "http_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD"] {
            child.env_remove(other);
        }
        child.envs([("IS_BEHIND_A_PROXY", "1"), ("ALL_PROXY", &proxy), ("NO_PROXY", no_proxy)]);
        // The proxy is a task of this thread.
        let child = spawn_blocking(move || child.output()).await.unwrap().unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        assert_eq!(opened.load(SeqCst), expected, "{no_proxy:?}");
    }
}

/// An upstream that accepts tokens of the form `…-2`, and answers with the token and the cookies.
async fn upstream_of_users() -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let echo = axum::Router::new().fallback(|request: axum::extract::Request| async move {
        let header = |name| {
            request.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        let token = header("authorization");
        let code = if token.ends_with("-2") { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        (code, format!("{token}{}", header("cookie")))
    });
    tokio::spawn(async move { axum::serve(listener, echo).await });
    uri
}

#[tokio::test]
async fn a_proxy_of_axum_has_a_session_for_each_of_its_users() {
    let refresher = refresher_fn(|context: RefreshContext| async move {
        Ok(Token::bearer(format!("{}-2", context.refresh_token().unwrap_or_default()))?)
    });
    let sessions = Sessions::builder(Session::builder(refresher).template()).build();
    for user in ["ann", "bob"] {
        let token = Token::bearer(format!("{user}-1")).unwrap().with_refresh_token(user);
        sessions.login(&format!("cookie-of-{user}"), token).await.unwrap();
    }
    let base = upstream_of_users().await;
    let origin = Origin::try_from(&*base.to_string()).unwrap();
    let proxy = axum_sessions::proxy(sessions, origin, base);
    for (cookie, expected) in [
        (Some("cookie-of-ann"), Some("Bearer ann-2")),
        (Some("cookie-of-bob"), Some("Bearer bob-2")),
        (Some("cookie-of-ann"), Some("Bearer ann-2")),
        (Some("cookie-of-eve"), None),
        (None, None),
    ] {
        let mut request = Request::get("/user").body(axum::body::Body::empty()).unwrap();
        if let Some(cookie) = cookie {
            let value = format!("__Host-session={cookie}; theme=dark").parse().unwrap();
            request.headers_mut().insert("cookie", value);
        }
        let answer = proxy.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status() == StatusCode::OK, expected.is_some(), "{cookie:?}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        match expected {
            Some(expected) => assert_eq!(body, expected),
            None => assert!(!body.starts_with(b"Bearer"), "{body:?}"),
        }
    }
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
