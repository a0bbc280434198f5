//! An OAuth 2 client whose tokens expire all the time: client credentials, then refresh tokens that
//! are used once.
//!
//! `cargo run --example oauth2_client --features oauth2` runs an authorization server and an API on
//! loopback, and checks what it prints. What to copy is in `service_client` and `user_client`.

use std::{
    collections::HashMap,
    convert::Infallible,
    io::{self, Write},
    net::SocketAddr,
    ops::RangeInclusive,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use lexopt::prelude::*;
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tower::{BoxError, Layer, ServiceExt};
use tower_refresh::{
    Error, ErrorKind, Origins, Refresh, RefreshLayer, ReplayBody, Session, Token,
    exchange::InvalidUrl,
    oauth2::{
        self, ClientCredentialsGrant, EndpointUrl, RefreshTokenGrant, Revocation, TokenEndpoint,
    },
};
use url::form_urlencoded;

const HELP: &str = "\
Asks an API on loopback with OAuth 2 tokens that expire again and again, and shows that each expiry costs one
request to the token endpoint: with client credentials, with refresh tokens, and when the login is revoked.

Usage: cargo run --example oauth2_client --features oauth2 -- [OPTIONS]

Options:
      --requests <N>  How many requests at once, from 2 to 1000 [default: 100]
      --expiries <N>  How often the token expires, from 1 to 100 [default: 10]
  -h, --help          Print this

Exit status: 0 if every number is as guaranteed, 1 if one is not, 2 for a wrong option.
";

const REQUESTS: RangeInclusive<usize> = 2..=1000;
const EXPIRIES: RangeInclusive<usize> = 1..=100;
/// The story takes a second, and this long only if something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

const CLIENT_ID: &str = "my-service";
const CLIENT_SECRET: &str = "correct-horse";

type Api = Refresh<Client<HttpConnector, ReplayBody<Full<Bytes>>>>;

enum Args {
    Help,
    Run { requests: usize, expiries: usize },
}

/// How many of the requests that were sent at once ended how.
#[derive(Default, PartialEq)]
struct Tally {
    ok: usize,
    terminated: usize,
    other: usize,
}

/// The authorization server, and the API that its tokens open.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    books: Arc<Mutex<Books>>,
}

#[derive(Clone, Copy, Default)]
struct Books {
    /// The numbers of the tokens that are good.
    access: usize,
    refresh: usize,
    token_requests: usize,
    reused: usize,
    revocations: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let told = match parse(lexopt::Parser::from_env()) {
        Ok(Args::Help) => print(HELP).map(|()| true),
        Ok(Args::Run { requests, expiries }) => {
            match timeout(PATIENCE, tell(requests, expiries)).await {
                Ok(told) => told,
                Err(_) => Err("something hangs".into()),
            }
        }
        Err(error) => {
            eprintln!("oauth2_client: {error}\nTry `--help`.");
            return ExitCode::from(2);
        }
    };
    match told {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("oauth2_client: {error}");
            ExitCode::FAILURE
        }
    }
}

// === what to copy ===

/// The client of a service that acts for itself. Its first request obtains the first token.
fn service_client(server: &Server) -> Result<Api, BoxError> {
    // `build_http` stands for a connector with TLS
    let http = Client::builder(TokioExecutor::new()).build_http();
    let me = oauth2::ClientAuth::basic(CLIENT_ID, CLIENT_SECRET);
    let tokens = TokenEndpoint::new(http, server.url("/token")?, me).scope("read");
    let session =
        Session::<Token>::builder(ClientCredentialsGrant::new(tokens)).acquire_on_demand(true);
    // the tokens of this API expire far too often for the default
    let session = session.refresh_limit(1000, Duration::ZERO).build();

    let api = Client::builder(TokioExecutor::new()).build_http();
    Ok(RefreshLayer::new(session, Origins::any()).layer(api))
}

/// The client of a user who has logged in, and the session, to log out.
fn user_client(server: &Server, token: Token) -> Result<(Api, Session), BoxError> {
    let http = Client::builder(TokioExecutor::new()).build_http();
    let me = oauth2::ClientAuth::basic(CLIENT_ID, CLIENT_SECRET);
    let tokens = TokenEndpoint::new(http.clone(), server.url("/token")?, me.clone());
    let revocation = Revocation::new(http, server.url("/revoke")?, me);
    let session = Session::builder(RefreshTokenGrant::new(tokens))
        .credential(token)
        .refresh_limit(1000, Duration::ZERO)
        .on_login_end(revocation.into_hook())
        .build();

    let api = Client::builder(TokioExecutor::new()).build_http();
    Ok((RefreshLayer::new(session.clone(), Origins::any()).layer(api), session))
}

// === the story ===

/// Whether every number was right.
async fn tell(requests: usize, expiries: usize) -> Result<bool, BoxError> {
    let mut is_right = true;

    let server = Server::start().await?;
    let api = service_client(&server)?;
    let tally = expire_and_ask(&server, &api, requests, expiries).await;
    let books = server.books();
    is_right &=
        check("client credentials: requests that were answered", tally.ok, requests * expiries)?;
    is_right &= check("client credentials: requests for a token", books.token_requests, expiries)?;

    let server = Server::start().await?;
    let (api, session) = user_client(&server, Token::bearer("at-0")?.with_refresh_token("rt-0"))?;
    let tally = expire_and_ask(&server, &api, requests, expiries).await;
    let books = server.books();
    is_right &=
        check("refresh tokens: requests that were answered", tally.ok, requests * expiries)?;
    is_right &= check("refresh tokens: refreshes", books.token_requests, expiries)?;
    is_right &= check("refresh tokens: used twice", books.reused, 0)?;

    server.change(|books| {
        // whatever the client holds is not known any more
        books.access += 1;
        books.refresh += 1;
    });
    let tally = ask(&server, &api, requests).await;
    let asked = server.books().token_requests - expiries;
    is_right &= check("revoked: requests that failed as logged out", tally.terminated, requests)?;
    is_right &= check("revoked: refreshes", asked, 1)?;

    let token = format!("rt-{}", server.books().refresh);
    session
        .login(Token::bearer(format!("at-{}", server.books().access))?.with_refresh_token(token));
    let before = server.books().revocations;
    session.logout().await;
    is_right &= check("logout: refresh tokens revoked", server.books().revocations - before, 1)?;
    Ok(is_right)
}

async fn expire_and_ask(server: &Server, api: &Api, requests: usize, expiries: usize) -> Tally {
    let mut all = Tally::default();
    for _ in 0..expiries {
        server.change(|books| books.access += 1);
        let tally = ask(server, api, requests).await;
        all.ok += tally.ok;
        all.terminated += tally.terminated;
        all.other += tally.other;
    }
    all
}

/// Sends this many requests at once.
async fn ask(server: &Server, api: &Api, requests: usize) -> Tally {
    let mut answers = JoinSet::new();
    for _ in 0..requests {
        let (api, address) = (api.clone(), server.address);
        answers.spawn(async move {
            let request = Request::get(format!("http://{address}/api")).body(Full::default())?;
            api.oneshot(request).await
        });
    }
    let mut tally = Tally::default();
    while let Some(answer) = answers.join_next().await {
        match answer {
            Ok(Ok(response)) if response.status() == StatusCode::OK => tally.ok += 1,
            Ok(Err(error)) if is_logged_out(&error) => tally.terminated += 1,
            _ => tally.other += 1,
        }
    }
    tally
}

fn is_logged_out(error: &BoxError) -> bool {
    error.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::LoggedOut)
}

fn check(what: &str, number: usize, expected: usize) -> Result<bool, BoxError> {
    let is_right = number == expected;
    let verdict =
        if is_right { "as it should be".to_owned() } else { format!("and not {expected}") };
    print(&format!("{what}: {number}, {verdict}\n"))?;
    Ok(is_right)
}

/// Writes without the panic of `println!` when the reader is gone (`| head`).
fn print(text: &str) -> Result<(), BoxError> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn parse(mut parser: lexopt::Parser) -> Result<Args, lexopt::Error> {
    let (mut requests, mut expiries) = (100, 10);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("requests") => requests = parser.value()?.parse_with(|n| number(n, REQUESTS))?,
            Long("expiries") => expiries = parser.value()?.parse_with(|n| number(n, EXPIRIES))?,
            Short('h') | Long("help") => return Ok(Args::Help),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Args::Run { requests, expiries })
}

fn number(value: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let number = value.parse().ok().filter(|number| range.contains(number));
    number
        .ok_or_else(|| format!("a whole number from {} to {}, please", range.start(), range.end()))
}

// === impl Server ===

impl Server {
    async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let server = Self { address: listener.local_addr()?, books: Arc::default() };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = serving.clone();
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, Infallible>(server.answer(request).await) }
                });
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(server)
    }

    fn url(&self, path: &str) -> Result<EndpointUrl, InvalidUrl> {
        EndpointUrl::new(&format!("http://{}{path}", self.address))
    }

    fn books(&self) -> Books {
        *self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Books) -> T) -> T {
        change(&mut self.books.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let authorization =
            head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if head.uri.path() == "/api" {
            let good = format!("Bearer at-{}", self.books().access);
            let status = if authorization == Some(&good) { 200 } else { 401 };
            return say(status, String::new());
        }
        // base64 of `my-service:correct-horse`
        if authorization != Some("Basic bXktc2VydmljZTpjb3JyZWN0LWhvcnNl") {
            return say(401, r#"{"error":"invalid_client"}"#.to_owned());
        }
        let Ok(body) = body.collect().await else { return say(400, String::new()) };
        let body = body.to_bytes();
        let form: HashMap<_, _> = form_urlencoded::parse(&body).into_owned().collect();
        let field = |name| form.get(name).map_or("", String::as_str);
        match head.uri.path() {
            "/token" => {
                self.change(|books| books.token(field("grant_type"), field("refresh_token")))
            }
            "/revoke" => self.change(|books| {
                books.revocations += usize::from(field("token") == format!("rt-{}", books.refresh));
                say(200, String::new())
            }),
            _ => say(404, String::new()),
        }
    }
}

// === impl Books ===

impl Books {
    fn token(&mut self, grant_type: &str, refresh_token: &str) -> Response<Full<Bytes>> {
        self.token_requests += 1;
        let access = format!(
            r#""access_token":"at-{}","token_type":"Bearer","expires_in":300"#,
            self.access
        );
        match grant_type {
            "client_credentials" => say(200, format!("{{{access}}}")),
            "refresh_token" if refresh_token == format!("rt-{}", self.refresh) => {
                self.refresh += 1;
                say(200, format!(r#"{{{access},"refresh_token":"rt-{}"}}"#, self.refresh))
            }
            "refresh_token" => {
                self.reused += 1;
                say(400, r#"{"error":"invalid_grant"}"#.to_owned())
            }
            _ => say(400, r#"{"error":"unsupported_grant_type"}"#.to_owned()),
        }
    }
}

fn say(status: u16, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response
}
