//! The server of the trial: an API, a token endpoint, and the refresh path of a web application.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::json;
use tokio::{net::TcpListener, sync::watch};
use tower_refresh::{
    Origin, Token,
    cookies::{Jar, RefreshEndpoint},
    oauth2::{ClientAuth, EndpointUrl, RefreshTokenGrant, TokenEndpoint},
};

use crate::trial::answer::{AnyBody, accepted, plain, rejected};

/// A server that issues `at-1` with `rt-1`, `at-2` with `rt-2`, and so on. Each refresh token is
/// good once.
#[derive(Clone, Debug)]
pub struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Whether refreshes are answered.
    gate: watch::Sender<bool>,
    /// The number of refreshes that have arrived.
    refreshes: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the newest tokens.
    issued: usize,
    is_expired: bool,
    is_revoked: bool,
    /// Refreshes with a token that had been used before.
    reused: usize,
    /// Requests to the API.
    requests: usize,
}

// === impl Server ===

impl Server {
    /// Listens on loopback.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub async fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let server = Self {
            address: listener.local_addr()?,
            state: Arc::default(),
            gate: watch::Sender::new(true),
            refreshes: watch::Sender::new(0),
        };
        let served = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = served.clone();
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, Infallible>(server.respond(request).await) }
                });
                tokio::spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    builder.serve_connection(TokioIo::new(stream), service).await.map_err(drop)
                });
            }
        });
        Ok(server)
    }

    /// `http://127.0.0.1:…` and a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn uri(&self) -> Uri {
        self.url("/").parse().expect("a valid URI")
    }

    pub fn origin(&self) -> Origin {
        Origin::try_from(&*self.url("")).expect("a valid origin")
    }

    /// A login: the next tokens.
    pub fn token(&self) -> Token {
        let number = self.issue();
        let token = Token::bearer(format!("at-{number}")).expect("a valid token");
        token.with_refresh_token(format!("rt-{number}"))
    }

    /// A login of a web application.
    pub fn jar(&self) -> Jar {
        let jar = Jar::new(&self.url("/")).expect("a valid URL");
        jar.store(&cookies(self.issue()));
        jar
    }

    /// A refresher at the token endpoint of this server.
    pub fn refresher(&self) -> RefreshTokenGrant {
        let http = Client::builder(TokioExecutor::new()).build_http();
        let url = EndpointUrl::new(&self.url("/token")).expect("a valid URL");
        RefreshTokenGrant::new(TokenEndpoint::new(http, url, ClientAuth::public("trial")))
    }

    /// A refresher at the refresh path of this server.
    pub fn cookie_refresher(&self) -> RefreshEndpoint {
        let http = Client::builder(TokioExecutor::new()).build_http();
        RefreshEndpoint::new(http, "/auth/refresh").expect("a valid path")
    }

    /// The newest access token is accepted no longer.
    pub fn expire(&self) {
        self.state().is_expired = true;
    }

    /// Refuses every refresh until the next login.
    pub fn revoke(&self) {
        self.state().is_revoked = true;
    }

    /// Leaves refreshes unanswered until [`release`](Self::release).
    pub fn hold(&self) {
        self.gate.send_replace(false);
    }

    pub fn release(&self) {
        self.gate.send_replace(true);
    }

    /// Waits until this many refreshes have arrived.
    pub async fn refreshing(&self, count: usize) {
        let mut refreshes = self.refreshes.subscribe();
        refreshes.wait_for(|arrived| *arrived >= count).await.expect("the server has the sender");
    }

    pub fn refreshes(&self) -> usize {
        *self.refreshes.borrow()
    }

    pub fn reused(&self) -> usize {
        self.state().reused
    }

    pub fn requests(&self) -> usize {
        self.state().requests
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn issue(&self) -> usize {
        let mut state = self.state();
        state.is_revoked = false;
        state.is_expired = false;
        state.issued += 1;
        state.issued
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<AnyBody> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return plain(StatusCode::BAD_REQUEST, "");
        };
        let body = body.to_bytes();
        match head.uri.path() {
            "/token" => {
                let form = String::from_utf8_lossy(&body).into_owned();
                let presented =
                    form.split('&').find_map(|pair| pair.strip_prefix("refresh_token="));
                match self.refresh(presented.unwrap_or_default()).await {
                    Some(number) => {
                        let (access, refresh) = (format!("at-{number}"), format!("rt-{number}"));
                        let tokens = json!({ "access_token": access, "refresh_token": refresh });
                        plain(StatusCode::OK, tokens.to_string())
                    }
                    None => plain(StatusCode::BAD_REQUEST, r#"{"error":"invalid_grant"}"#),
                }
            }
            "/auth/refresh" => {
                let presented = cookie(&head.headers, "refresh").unwrap_or_default();
                match self.refresh(&presented).await {
                    Some(number) => {
                        let mut response = plain(StatusCode::OK, "");
                        *response.headers_mut() = cookies(number);
                        response
                    }
                    None => plain(StatusCode::UNAUTHORIZED, ""),
                }
            }
            _ => {
                let presented = bearer(&head.headers).or_else(|| cookie(&head.headers, "access"));
                let is_good = {
                    let mut state = self.state();
                    state.requests += 1;
                    let newest = format!("at-{}", state.issued);
                    !state.is_expired && presented.is_some_and(|token| token == newest)
                };
                if is_good { accepted(&head, &body) } else { rejected(&head) }
            }
        }
    }

    /// The number of the next tokens. `None` if the refresh is refused.
    async fn refresh(&self, presented: &str) -> Option<usize> {
        self.refreshes.send_modify(|refreshes| *refreshes += 1);
        let mut gate = self.gate.subscribe();
        gate.wait_for(|is_open| *is_open).await.expect("the server has the sender");
        let mut state = self.state();
        if presented != format!("rt-{}", state.issued) {
            state.reused += 1;
            return None;
        }
        if state.is_revoked {
            return None;
        }
        state.is_expired = false;
        state.issued += 1;
        Some(state.issued)
    }
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("authorization")?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::to_owned)
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let cookies = headers.get("cookie")?.to_str().ok()?;
    let mut pairs = cookies.split("; ").filter_map(|pair| pair.split_once('='));
    pairs.find(|pair| pair.0 == name).map(|pair| pair.1.to_owned())
}

fn cookies(number: usize) -> HeaderMap {
    let cookies = [
        format!("access=at-{number}; Path=/; HttpOnly"),
        format!("refresh=rt-{number}; Path=/auth; HttpOnly"),
    ];
    let values = cookies.map(|cookie| HeaderValue::try_from(cookie).expect("a valid cookie"));
    values.into_iter().map(|value| ("set-cookie".parse().expect("a name"), value)).collect()
}
