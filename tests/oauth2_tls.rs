//! `client::HttpsClient` against a server with the certificate of a private authority.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::{
    convert::Infallible,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri, Version, header::CONNECTION};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;
use tower_refresh::{
    RefreshContext, RefreshErrorKind, Refresher,
    client::Https,
    oauth2::{ClientAuth, ClientCredentialsGrant, EndpointUrl, TokenEndpoint},
    refresher::Cause,
};

#[tokio::test]
async fn a_private_authority_is_trusted_only_when_it_was_added() {
    for protocol in ["http/1.1", "h2"] {
        trust_over(protocol).await;
    }
}

async fn trust_over(protocol: &'static str) {
    let (url, authority) = token_endpoint(protocol).await;
    for is_given in [false, true] {
        trust_through(&url, &authority, is_given).await;
    }
}

/// `is_given`: over a connector of the application.
async fn trust_through(url: &str, authority: &[u8], is_given: bool) {
    let connect = |uri: Uri| async move {
        TcpStream::connect((uri.host().unwrap(), uri.port_u16().unwrap())).await
    };
    let ask = |https: Https| {
        let url = EndpointUrl::new(url).unwrap();
        let client =
            if is_given { https.build_over(tower::service_fn(connect)) } else { https.build() };
        let endpoint = TokenEndpoint::new(client, url, ClientAuth::basic("me", "hush"));
        let refresher = ClientCredentialsGrant::new(endpoint);
        async move {
            let answer = refresher.refresh(RefreshContext::new(Cause::Missing));
            timeout(Duration::from_secs(60), answer).await.expect("it hangs")
        }
    };
    for trusting in [Https::new(), Https::with_no_roots()] {
        let token = ask(trusting.root(authority).unwrap()).await.unwrap();
        assert_eq!(token.access_token(), "at-1");
    }
    for distrusting in [Https::new(), Https::with_no_roots()] {
        let error = ask(distrusting).await.unwrap_err();
        assert_eq!(error.kind(), RefreshErrorKind::Transient, "nothing was sent: {error:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_a_connector() {
    let path = std::env::temp_dir().join(format!("tower-refresh-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let answer = service_fn(|request: Request<Incoming>| async move {
            assert_eq!(request.headers()["host"], "api.internal");
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        });
        http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await
    });
    let socket = path.clone();
    let connect = move |_: Uri| tokio::net::UnixStream::connect(socket.clone());
    let client = Https::with_no_roots().build_over::<Full<Bytes>, _>(tower::service_fn(connect));
    for _ in 0..2 {
        let request = Request::get("http://api.internal/user").body(Full::default()).unwrap();
        let answer = timeout(Duration::from_secs(60), client.clone().oneshot(request)).await;
        let response = answer.expect("it hangs").unwrap();
        assert_eq!(response.status(), 200);
        // The listener accepts one connection, which is used again.
        http_body_util::BodyExt::collect(response).await.unwrap();
    }
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_connector_that_fails_has_sent_nothing() {
    let connect = |_: Uri| async { Err::<TcpStream, _>(std::io::Error::other("no network")) };
    let client = Https::with_no_roots().build_over::<Full<Bytes>, _>(tower::service_fn(connect));
    let request = Request::get("http://localhost/").body(Full::default()).unwrap();
    let error = client.oneshot(request).await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
}

/// The platform's file is named by an environment variable, which needs a process of its own.
#[cfg(feature = "platform-roots")]
#[test]
fn the_roots_of_the_platform_are_trusted_if_there_are_any() {
    if let Ok(expected) = std::env::var("EXPECT_PLATFORM_ROOTS") {
        assert_eq!(Https::with_platform_roots().is_ok().to_string(), expected);
        return;
    }
    let path = std::env::temp_dir().join(format!("tower-refresh-{}.pem", std::process::id()));
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let text = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, authority.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    for (content, expected) in [(pem, "true"), (String::new(), "false")] {
        std::fs::write(&path, content).unwrap();
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_roots_of_the_platform_are_trusted_if_there_are_any"])
            .env("SSL_CERT_FILE", &path)
            .env_remove("SSL_CERT_DIR")
            .env("EXPECT_PLATFORM_ROOTS", expected)
            .output()
            .unwrap();
        assert!(child.status.success(), "{expected}: {}", String::from_utf8_lossy(&child.stdout));
    }
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn an_error_tells_whether_a_connection_was_made() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = Https::with_no_roots().build::<Full<Bytes>>();
    let ask = || {
        let request = Request::get(format!("http://{address}/")).body(Full::default()).unwrap();
        client.clone().oneshot(request)
    };
    let (error, accepted) = tokio::join!(ask(), async { listener.accept().await.map(drop) });
    accepted.unwrap();
    let error = error.unwrap_err();
    assert!(!error.is_connect() && error.source().is_some(), "{error:?}");
    drop(listener);
    let error = ask().await.unwrap_err();
    assert!(error.is_connect());
    assert_eq!(error.to_string(), "the connection could not be made");
}

#[tokio::test]
async fn a_refresh_meets_no_connection_that_the_server_is_closing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // Answers one request for each connection, and closes at the second one.
            let answered = AtomicBool::new(false);
            let answer = service_fn(move |_: Request<Incoming>| {
                let is_second = answered.swap(true, SeqCst);
                async move {
                    let body = Full::new(Bytes::from(r#"{"access_token":"at-1"}"#));
                    if is_second { Err("closed") } else { Ok(Response::new(body)) }
                }
            });
            let connection = http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), answer));
        }
    });
    let endpoint = TokenEndpoint::new(
        Https::with_no_roots().build(),
        EndpointUrl::new(&url).unwrap(),
        ClientAuth::public("me"),
    );
    let refresher = ClientCredentialsGrant::new(endpoint);
    for _ in 0..5 {
        let answer = refresher.refresh(RefreshContext::new(Cause::Missing));
        timeout(Duration::from_secs(60), answer).await.expect("it hangs").unwrap();
    }
}

#[test]
fn bytes_that_are_no_certificate_are_refused() {
    for der in [&b""[..], b"-----BEGIN CERTIFICATE-----", &[0x30, 0x80]] {
        assert!(Https::new().root(der).is_err());
    }
}

/// Starts a token endpoint. Returns its URL and the certificate of its authority.
async fn token_endpoint(protocol: &'static str) -> (String, Vec<u8>) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();

    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![protocol.into()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/token", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate hangs up.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer = service_fn(move |request: Request<Incoming>| async move {
                    let is_http2 = request.version() == Version::HTTP_2;
                    assert_eq!(is_http2, protocol == "h2");
                    assert_eq!(request.headers().contains_key(CONNECTION), !is_http2);
                    let body =
                        Full::new(Bytes::from(r#"{"access_token":"at-1","token_type":"Bearer"}"#));
                    Ok::<_, Infallible>(Response::new(body))
                });
                let connection = auto::Builder::new(TokioExecutor::new());
                let _ = connection.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    (url, authority.der().to_vec())
}
