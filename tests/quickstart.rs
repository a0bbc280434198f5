//! The OAuth 2 quickstart of the README, run as shown there except for the URLs.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, time::timeout};

const README: &str = include_str!("../README.md");
const THIS: &str = include_str!("quickstart.rs");

#[rustfmt::skip]
#[allow(unused_qualifications, reason = "it stands by itself")]
async fn quickstart(token: &str, user: &str) -> Result<(), tower::BoxError> {
    use tower::{Layer, ServiceExt};
    use tower_refresh::{client::Https, RefreshLayer, Session};
    use tower_refresh::oauth2::{ClientAuth, ClientCredentialsGrant, EndpointUrl, TokenEndpoint};

    let url = EndpointUrl::new(token)?;
    let tokens = TokenEndpoint::new(Https::new().build(), url, ClientAuth::basic("my-service", "s3cr3t")).scope("read");
    let session = Session::builder(ClientCredentialsGrant::new(tokens)).acquire_on_demand(true).build();
    let client = RefreshLayer::new(session).layer(Https::new().build());

    let request = http::Request::get(user).body(http_body_util::Empty::<bytes::Bytes>::new())?;
    println!("{}", client.oneshot(request).await?.status());
    Ok(())
}

#[test]
fn the_readme_shows_this_quickstart() {
    let shown = body_of("async fn quickstart() ->", README);
    let shown = shown.replace(r#""https://login.example.com/oauth/token""#, "token");
    let shown = shown.replace(r#""https://api.example.com/user""#, "user");
    assert_eq!(shown, body_of("async fn quickstart(token", THIS));
    assert!(shown.lines().filter(|line| !line.is_empty()).count() <= 12);
}

#[tokio::test]
async fn the_quickstart_obtains_a_token_and_sends_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let log = Arc::new(Mutex::new(Vec::new()));
    let logging = log.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let log = logging.clone();
            let service = service_fn(move |request| {
                let log = log.clone();
                async move {
                    let (line, answer) = answer(request).await;
                    log.lock().unwrap().push(format!("{line} {}", answer.status().as_u16()));
                    Ok::<_, Infallible>(answer)
                }
            });
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    let (token, user) = (format!("{base}/oauth/token"), format!("{base}/user"));
    timeout(Duration::from_secs(60), quickstart(&token, &user)).await.expect("it hangs").unwrap();
    assert_eq!(*log.lock().unwrap(), ["POST /oauth/token 200", "GET /user 200"]);
}

/// The lines of a function between its signature and its closing brace.
fn body_of(signature: &str, text: &str) -> String {
    let (_, rest) = text.split_once(signature).expect(signature);
    let (_, rest) = rest.split_once("{\n").unwrap();
    rest.split_once("\n}").unwrap().0.to_owned()
}

async fn answer(request: Request<Incoming>) -> (String, Response<Full<Bytes>>) {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let authorization = head.headers.get("authorization").map(|value| value.to_str().unwrap());
    let (status, body) = match (&head.method, head.uri.path(), authorization) {
        // base64 of `my-service:s3cr3t`
        (&Method::POST, "/oauth/token", Some("Basic bXktc2VydmljZTpzM2NyM3Q=")) => {
            assert_eq!(body, "grant_type=client_credentials&scope=read");
            (StatusCode::OK, r#"{"access_token":"at-1","token_type":"Bearer","expires_in":300}"#)
        }
        (&Method::GET, "/user", Some("Bearer at-1")) => (StatusCode::OK, "ada"),
        _ => (StatusCode::UNAUTHORIZED, ""),
    };
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    (format!("{} {}", head.method, head.uri.path()), answer)
}
