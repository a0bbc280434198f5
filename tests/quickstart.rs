//! The quickstart of the README for OAuth 2, run as it is shown there, but for the URLs.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::{
    convert::Infallible,
    env, fs,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, time::timeout};
use tower::Layer;
use tower_refresh::{
    BoxError, Origin, RefreshLayer, Session,
    client::Https,
    oauth2::{ClientAuth, ClientCredentialsGrant, EndpointUrl, TokenEndpoint},
};

const README: &str = include_str!("../README.md");
const THIS: &str = include_str!("quickstart.rs");

#[rustfmt::skip]
#[allow(unused_qualifications, reason = "the README imports less than this file")]
async fn quickstart(token: &str, origin: &str, user: &str) -> Result<(), BoxError> {
    let url = EndpointUrl::new(token)?;
    let tokens = TokenEndpoint::new(Https::new().build(), url, ClientAuth::basic("my-service", "s3cr3t"));
    let session = Session::builder(ClientCredentialsGrant::new(tokens)).acquire_on_demand(true).build();
    let api = Origin::try_from(origin)?;
    let client = RefreshLayer::new(session, api).layer(Https::new().build());
    let user = http::Request::get(user).body(String::new())?;
    println!("{}", client.request(user).await?.status());
    Ok(())
}

#[test]
fn the_readme_shows_this_quickstart() {
    let shown = body_of("async fn main() ->", README);
    let shown = shown.replace(r#""https://login.example.com/oauth/token""#, "token");
    let shown = shown.replace(r#"from_static("https://api.example.com")"#, "try_from(origin)?");
    let shown = shown.replace(r#""https://api.example.com/user""#, "user");
    assert_eq!(shown, body_of("async fn quickstart(token", THIS));
    let (_, quickstart) = README.split_once("```rust,no_run\n").unwrap();
    assert!(quickstart.split_once("```").unwrap().0.lines().count() <= 15);
}

/// A new package whose manifest and program are the lines of the README.
#[test]
fn the_lines_of_the_readme_build() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    let mut manifest = "[workspace]\n[package]\nname = \"pasted\"\nedition = \"2024\"\n".to_owned();
    for line in README.lines().filter_map(|line| line.strip_prefix("cargo add ")) {
        let (names, features) = line.split_once(" --features ").unwrap_or((line, ""));
        let features: Vec<_> = features.split(',').filter(|feature| !feature.is_empty()).collect();
        for name in names.split(' ') {
            let source = match name {
                "tower-refresh" => format!("path = {root:?}"),
                _ => "version = \"*\"".to_owned(),
            };
            manifest
                .push_str(&format!("[dependencies.{name}]\n{source}\nfeatures = {features:?}\n"));
        }
    }
    let (_, program) = README.split_once("```rust,no_run\n").unwrap();
    fs::create_dir_all(package.join("src")).unwrap();
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::write(package.join("src/main.rs"), program.split_once("```").unwrap().0).unwrap();
    // The same versions of dependencies, which are there without a network.
    let _ = fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock"));
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["check", "--quiet", "--offline", "--color", "never", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(package.join("target"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
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
    timeout(Duration::from_secs(60), quickstart(&token, &base, &user))
        .await
        .expect("it hangs")
        .unwrap();
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
            assert_eq!(body, "grant_type=client_credentials");
            (StatusCode::OK, r#"{"access_token":"at-1","token_type":"Bearer","expires_in":300}"#)
        }
        (&Method::GET, "/user", Some("Bearer at-1")) => (StatusCode::OK, "ada"),
        _ => (StatusCode::UNAUTHORIZED, ""),
    };
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    (format!("{} {}", head.method, head.uri.path()), answer)
}
