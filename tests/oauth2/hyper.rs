//! Real connections to a token endpoint that rotates its refresh tokens and detects reuse.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tower::{Layer, ServiceExt};
use tower_refresh::{
    Origins, RefreshContext, RefreshErrorKind, RefreshLayer, Refresher, ReplayBody, Session, Token,
    exchange::RequestBody,
    oauth2::{
        ClientAuth, ClientCredentialsGrant, EndpointUrl, RefreshTokenGrant, Revocation,
        TokenEndpoint,
    },
    refresher::Cause,
};
use url::form_urlencoded;

use crate::hand::{CLIENT_SECRET, all_texts};

/// An authorization server and the API that its tokens open.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    issued: Arc<Mutex<Issued>>,
}

#[derive(Default)]
struct Issued {
    access: u32,
    refresh: u32,
    refreshes: u32,
    reused: u32,
    is_revoked: bool,
    redirected: u32,
}

type Pool = legacy::Client<HttpConnector, RequestBody>;
type Api = legacy::Client<HttpConnector, ReplayBody<Full<Bytes>>>;

const PATIENCE: Duration = Duration::from_secs(60);

fn pool() -> Pool {
    legacy::Client::builder(TokioExecutor::new()).build_http()
}

fn me() -> ClientAuth {
    ClientAuth::basic("me", CLIENT_SECRET)
}

fn context() -> RefreshContext {
    let token = Token::bearer("at-0").unwrap().with_refresh_token("rt-0");
    RefreshContext::new(Cause::Rejected).with_current(Arc::new(token))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_refresh_token_is_used_twice_however_often_tokens_expire() {
    let server = Server::start().await;
    let revocation = Revocation::new(pool(), server.url("/revoke"), me());
    let session = Session::builder(RefreshTokenGrant::new(server.tokens(me())))
        .credential(Token::bearer("at-0").unwrap().with_refresh_token("rt-0"))
        .refresh_limit(1000, Duration::ZERO)
        .on_login_end(revocation.into_hook())
        .build();
    let api: Api = legacy::Client::builder(TokioExecutor::new()).build_http();
    let api = RefreshLayer::new(session.clone(), Origins::any()).layer(api);
    let story = async {
        for round in 1..=20 {
            server.issued.lock().unwrap().access += 1;
            let requests: Vec<_> = (0..32)
                .map(|n| {
                    let request = Request::get(format!("http://{}/api", server.address));
                    let request = api.clone().oneshot(request.body(Full::default()).unwrap());
                    let request = tokio::spawn(request);
                    if n % 8 == 0 {
                        request.abort();
                    }
                    request
                })
                .collect();
            for request in requests {
                match request.await {
                    Ok(response) => assert_eq!(response.unwrap().status(), StatusCode::OK),
                    Err(aborted) => assert!(aborted.is_cancelled()),
                }
            }
            let issued = server.issued.lock().unwrap();
            assert_eq!((issued.refreshes, issued.reused), (round, 0));
        }
        session.logout().await;
    };
    tokio::time::timeout(PATIENCE, story).await.expect("it hangs");
    assert!(server.issued.lock().unwrap().is_revoked);
}

#[tokio::test]
async fn client_credentials_obtain_the_first_token_on_demand() {
    let server = Server::start().await;
    let session = Session::<Token>::builder(ClientCredentialsGrant::new(server.tokens(me())))
        .acquire_on_demand(true)
        .build();
    let api: Api = legacy::Client::builder(TokioExecutor::new()).build_http();
    let api = RefreshLayer::new(session, Origins::any()).layer(api);
    let request =
        Request::get(format!("http://{}/api", server.address)).body(Full::default()).unwrap();
    let answer = tokio::time::timeout(PATIENCE, api.oneshot(request)).await.expect("it hangs");
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_wrong_client_secret_is_transient() {
    let server = Server::start().await;
    for client in [ClientAuth::basic("me", "hush-wrong"), ClientAuth::post("me", CLIENT_SECRET)] {
        let error =
            RefreshTokenGrant::new(server.tokens(client)).refresh(context()).await.unwrap_err();
        assert_eq!(error.kind(), RefreshErrorKind::Transient);
        assert!(!all_texts(&error).contains("hush"));
    }
}

#[tokio::test]
async fn a_refresh_token_that_is_not_known_ends_the_login() {
    let server = Server::start().await;
    server.issued.lock().unwrap().refresh = 7;
    let error = RefreshTokenGrant::new(server.tokens(me())).refresh(context()).await.unwrap_err();
    assert_eq!(error.kind(), RefreshErrorKind::Terminal);
}

#[tokio::test]
async fn without_a_connection_the_failure_is_transient() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = EndpointUrl::new(&format!("http://{address}/token")).unwrap();
    let endpoint = TokenEndpoint::new(pool(), url, me());
    let error = RefreshTokenGrant::new(endpoint).refresh(context()).await.unwrap_err();
    assert_eq!(error.kind(), RefreshErrorKind::Transient);
    assert!(error.is_unprocessed());

    let url = EndpointUrl::allow_cleartext("http://no-such-host.invalid/token").unwrap();
    let endpoint = TokenEndpoint::new(pool(), url, me());
    let error = RefreshTokenGrant::new(endpoint).refresh(context()).await.unwrap_err();
    assert_eq!(error.kind(), RefreshErrorKind::Transient);
    assert!(error.is_unprocessed());
}

#[tokio::test]
async fn a_server_that_hangs_up_is_ambiguous() {
    for says in ["", "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"access_token\":\"hush"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url =
            EndpointUrl::new(&format!("http://{}/token", listener.local_addr().unwrap())).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = Vec::new();
            while !String::from_utf8_lossy(&read).contains("rt-0") {
                assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0);
            }
            stream.write_all(says.as_bytes()).await.unwrap();
        });
        let endpoint = TokenEndpoint::new(pool(), url, me());
        let error = RefreshTokenGrant::new(endpoint).refresh(context()).await.unwrap_err();
        server.await.unwrap();
        assert_eq!(error.kind(), RefreshErrorKind::Ambiguous);
        assert!(!all_texts(&error).contains("hush"));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = Server::start().await;
    let endpoint = TokenEndpoint::new(pool(), server.url("/moved"), me());
    let error = RefreshTokenGrant::new(endpoint).refresh(context()).await.unwrap_err();
    assert_eq!(error.kind(), RefreshErrorKind::Transient);
    let issued = server.issued.lock().unwrap();
    assert_eq!((issued.redirected, issued.refreshes), (1, 0));
}

/// A token endpoint that closes each connection when a second request comes over it, as one does
/// that is just closing an idle connection. Counts its connections.
async fn closing_server() -> (EndpointUrl, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counting = connections.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counting.fetch_add(1, SeqCst);
            tokio::spawn(async move {
                let mut read = Vec::new();
                while !String::from_utf8_lossy(&read).contains("rt-") {
                    if stream.read_buf(&mut read).await.unwrap() == 0 {
                        return;
                    }
                }
                let body = r#"{"access_token":"at-1","refresh_token":"rt-1"}"#;
                let answer =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
                let _ = stream.read_buf(&mut read).await;
            });
        }
    });
    (EndpointUrl::new(&url).unwrap(), connections)
}

#[tokio::test]
async fn a_refresh_meets_no_connection_that_the_server_is_closing() {
    for _ in 0..5 {
        let (url, connections) = closing_server().await;
        let refresher = RefreshTokenGrant::new(TokenEndpoint::new(pool(), url, me()));
        for count in 1..=3 {
            let refreshed = refresher.refresh(context());
            let token = tokio::time::timeout(PATIENCE, refreshed).await.expect("it hangs").unwrap();
            assert_eq!(token.access_token(), "at-1");
            assert_eq!(connections.load(SeqCst), count);
        }
    }
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), issued: Arc::default() };
        let serving = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let server = serving.clone();
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, Infallible>(server.answer(request).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        server
    }

    fn url(&self, path: &str) -> EndpointUrl {
        EndpointUrl::new(&format!("http://{}{path}", self.address)).unwrap()
    }

    fn tokens(&self, client: ClientAuth) -> TokenEndpoint {
        TokenEndpoint::new(pool(), self.url("/token"), client)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let authorization =
            request.headers().get("authorization").map(|value| value.as_bytes().to_vec());
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let form: HashMap<_, _> = form_urlencoded::parse(&body).into_owned().collect();
        let mut issued = self.issued.lock().unwrap();
        if path == "/api" {
            let expected = format!("Bearer at-{}", issued.access);
            let known = authorization.as_deref() == Some(expected.as_bytes());
            return say(if known { 200 } else { 401 }, String::new());
        }
        if path == "/moved" {
            issued.redirected += 1;
            let mut answer = say(307, String::new());
            answer.headers_mut().insert("location", "/token".parse().unwrap());
            return answer;
        }
        // base64 of `me:hush-client`
        if authorization.as_deref() != Some(b"Basic bWU6aHVzaC1jbGllbnQ=") {
            return say(
                401,
                r#"{"error":"invalid_client","error_description":"hush-wrong"}"#.to_owned(),
            );
        }
        if path == "/revoke" {
            issued.is_revoked = form["token"] == format!("rt-{}", issued.refresh);
            return say(200, String::new());
        }
        if form["grant_type"] == "client_credentials" {
            let access = issued.access;
            return say(200, format!(r#"{{"access_token":"at-{access}","token_type":"bearer"}}"#));
        }
        if form["refresh_token"] != format!("rt-{}", issued.refresh) {
            issued.reused += 1;
            return say(400, r#"{"error":"invalid_grant"}"#.to_owned());
        }
        issued.refreshes += 1;
        issued.refresh += 1;
        let (access, refresh) = (issued.access, issued.refresh);
        let answer = r#"{"token_type":"Bearer","expires_in":300,"access_token":"at-"#;
        say(200, format!(r#"{answer}{access}","refresh_token":"rt-{refresh}"}}"#))
    }
}

fn say(status: u16, body: String) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::new(body.into())).unwrap()
}
