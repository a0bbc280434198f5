//! A web application with cookie sessions, and a client whose session lives in cookies.
//!
//! `cargo run --features cookies --example cookie_session` starts the application on loopback, logs
//! in, lets the session cookie expire under many requests at once, sends forms with a CSRF header,
//! logs out, and checks every number that it prints. Copy from `Client`.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    io::{self, Write},
    net::Ipv4Addr,
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use lexopt::prelude::*;
use tokio::{net::TcpListener, sync::Barrier, task::JoinSet, time::timeout};
use tower::{BoxError, Layer, ServiceExt};
use tower_refresh::{
    Credential, Error, ErrorKind, Refresh, RefreshLayer, ReplayBody, Session,
    cookies::{Csrf, Jar, LogoutEndpoint, RefreshEndpoint},
    exchange::RequestBody,
};

const HELP: &str = "\
Starts a web application with cookie sessions on loopback, and a client that refreshes them: many requests at
once with an expired cookie, forms with a CSRF header, a logout, a session that the server ends.

Usage: cargo run --features cookies --example cookie_session -- [OPTIONS]

Options:
      --requests <N>  How many requests at once, from 2 to 500 [default: 50]
  -h, --help          Print this

Exit status: 0 if every number is as guaranteed, 1 if one is not, 2 for a wrong option.
";

/// Each request takes a connection with both ends in this process.
const REQUESTS: std::ops::RangeInclusive<usize> = 2..=500;

/// A deadline that only a hang reaches.
const PATIENCE: Duration = Duration::from_secs(120);

const CSRF_COOKIE: &str = "csrf_token";
const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");

#[tokio::main]
async fn main() -> ExitCode {
    let requests = match parse_args(lexopt::Parser::from_env()) {
        Ok(Some(requests)) => requests,
        Ok(None) => return if print(HELP).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE },
        Err(error) => {
            eprintln!("cookie_session: {error}\nTry `--help`.");
            return ExitCode::from(2);
        }
    };
    match timeout(PATIENCE, tell(requests)).await {
        Ok(Ok(true)) => return ExitCode::SUCCESS,
        Ok(Ok(false)) => eprintln!("cookie_session: a number is wrong"),
        Ok(Err(error)) => eprintln!("cookie_session: {error}"),
        Err(_) => eprintln!("cookie_session: no end after {PATIENCE:?}"),
    }
    ExitCode::FAILURE
}

/// `None` if help was asked for.
fn parse_args(mut args: lexopt::Parser) -> Result<Option<usize>, lexopt::Error> {
    let mut requests = 50;
    while let Some(arg) = args.next()? {
        match arg {
            Long("requests") => {
                requests = args.value()?.parse_with(|value| {
                    let number = value.parse().ok().filter(|number| REQUESTS.contains(number));
                    number.ok_or("--requests takes a whole number from 2 to 500")
                })?;
            }
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Some(requests))
}

// === what a user would write ===

type Http<B> = legacy::Client<HttpConnector, B>;

/// The client of the application. Its session lives in the cookies of a jar.
#[derive(Clone)]
struct Client {
    session: Session<Jar>,
    http: Refresh<Http<ReplayBody<Full<Bytes>>>, Jar>,
    plain: Http<RequestBody>,
    base: String,
}

impl Client {
    fn new(base: &str) -> Result<Self, BoxError> {
        let plain = http();
        let refresh = RefreshEndpoint::new(plain.clone(), "/auth/refresh")?;
        let logout = LogoutEndpoint::new(plain.clone(), "/auth/logout")?;
        let session = Session::builder(refresh).on_login_end(logout.into_hook()).build();
        let layer = RefreshLayer::new(session.clone(), Jar::new(base)?.origin());
        Ok(Self { session, http: layer.layer(http()), plain, base: base.to_owned() })
    }

    /// Fetches the login form with the first cookies, and sends it.
    async fn log_in(&self, user: &str, password: &str) -> Result<(), BoxError> {
        let jar = Jar::new(&self.base)?.with_csrf(Csrf::new(CSRF_COOKIE, CSRF_HEADER));
        let url = format!("{}/auth/login", self.base);
        let form = self.plain.request(Request::get(&url).body(RequestBody::default())?).await?;
        jar.store(form.headers());

        let (mut head, body) = Request::post(&url)
            .body(RequestBody::from(format!("user={user}&password={password}")))?
            .into_parts();
        jar.apply(&mut head);
        let answer = self.plain.request(Request::from_parts(head, body)).await?;
        if answer.status() != StatusCode::OK {
            return Err(format!("the login was answered with {}", answer.status()).into());
        }
        jar.store(answer.headers());
        self.session.login(jar);
        Ok(())
    }

    async fn get(&self, path: &str) -> Result<StatusCode, BoxError> {
        self.call(Request::get(format!("{}{path}", self.base)).body(Full::default())?).await
    }

    async fn post(&self, path: &str) -> Result<StatusCode, BoxError> {
        self.call(Request::post(format!("{}{path}", self.base)).body(Full::from("a form"))?).await
    }

    async fn call(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, BoxError> {
        let response = self.http.clone().oneshot(request).await?;
        let status = response.status();
        response.into_body().collect().await?;
        Ok(status)
    }
}

fn http<B>() -> Http<B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    legacy::Client::builder(TokioExecutor::new()).build_http()
}

// === the story ===

/// Runs the story. Returns whether every number was right.
async fn tell(requests: usize) -> Result<bool, BoxError> {
    let app = Arc::new(App::new(requests));
    let base = app.clone().serve().await?;
    let client = Client::new(&base)?;
    let mut report = Report { is_right: true };

    report.say("Before the login nothing is sent.")?;
    let error = client.get("/api/orders").await.err();
    report.check("requests refused as not logged in", usize::from(is_terminated(error)), 1)?;
    report.check("requests at the application", app.lock().requests, 0)?;

    report.say("Ada logs in, and her session cookie expires.")?;
    client.log_in("ada", "lovelace").await?;
    app.lock().access = None;

    report.say(&format!("{requests} requests at once are rejected, and wait for one refresh."))?;
    app.lock().rejects_together = true;
    let mut herd = JoinSet::new();
    for _ in 0..requests {
        let client = client.clone();
        herd.spawn(async move { client.get("/api/orders").await });
    }
    let mut answered = 0;
    while let Some(status) = herd.join_next().await {
        answered += usize::from(status?? == StatusCode::OK);
    }
    app.lock().rejects_together = false;
    report.check("requests answered 200", answered, requests)?;
    report.check("refreshes", app.lock().refreshes, 1)?;

    report.say("Each form needs the CSRF token that the answer before it has set.")?;
    let mut accepted = 0;
    for _ in 0..10 {
        accepted += usize::from(client.post("/api/orders").await? == StatusCode::OK);
    }
    report.check("forms accepted", accepted, 10)?;
    report.check("refreshes", app.lock().refreshes, 1)?;

    report.say("Ada logs out: the application is told, and the jar is emptied.")?;
    let jar = client.session.credential().ok_or("there is no jar")?;
    client.session.logout().await;
    report.check("logouts at the application", app.lock().logouts, 1)?;
    report.check("jars that still hold a cookie", usize::from(!jar.is_empty()), 0)?;
    let error = client.get("/api/orders").await.err();
    report.check("requests refused as not logged in", usize::from(is_terminated(error)), 1)?;

    report.say("She logs in again, and an administrator ends her session.")?;
    client.log_in("ada", "lovelace").await?;
    *app.lock() = Sessions::default();
    let error = client.get("/api/orders").await.err();
    report.check("requests refused as not logged in", usize::from(is_terminated(error)), 1)?;
    report.check("refreshes tried and refused", app.lock().refused, 1)?;
    Ok(report.is_right)
}

fn is_terminated(error: Option<BoxError>) -> bool {
    let error = error.as_ref().and_then(|error| error.downcast_ref::<Error>());
    error.is_some_and(|error| error.kind() == ErrorKind::LoggedOut)
}

struct Report {
    is_right: bool,
}

impl Report {
    fn say(&self, text: &str) -> io::Result<()> {
        print(&format!("\n{text}\n"))
    }

    fn check<T: PartialEq + fmt::Display>(
        &mut self,
        what: &str,
        is: T,
        should_be: T,
    ) -> io::Result<()> {
        let is_right = is == should_be;
        self.is_right &= is_right;
        let verdict =
            if is_right { String::new() } else { format!("   WRONG: should be {should_be}") };
        print(&format!("  {is:>4}  {what}{verdict}\n"))
    }
}

/// Writes without the panic of `println!` when the reader is gone (`| head`).
fn print(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())
}

// === the application ===

/// `access` is good for a while, `refresh` for one use and for `/auth` alone, `csrf_token` until
/// the next form.
struct App {
    sessions: Mutex<Sessions>,
    all_rejected: Barrier,
}

#[derive(Default)]
struct Sessions {
    /// The number of the newest value. A real application makes its values unguessable.
    issued: usize,
    access: Option<String>,
    refresh: Option<String>,
    csrf: Option<String>,
    rejects_together: bool,
    requests: usize,
    refreshes: usize,
    refused: usize,
    logouts: usize,
}

impl App {
    fn new(herd: usize) -> Self {
        Self { sessions: Mutex::default(), all_rejected: Barrier::new(herd) }
    }

    /// On a free port, until the runtime ends.
    async fn serve(self: Arc<Self>) -> io::Result<String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let base = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move {
            loop {
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        return eprintln!("cookie_session: can't accept connections: {error}");
                    }
                };
                let app = self.clone();
                let service = service_fn(move |request| {
                    let app = app.clone();
                    async move { Ok::<_, Infallible>(app.answer(request).await) }
                });
                // The client notices a broken connection.
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(base)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return answer(StatusCode::BAD_REQUEST, []) };
        let path = format!("{} {}", head.method, head.uri.path());
        let (answer, rejected_together) = {
            let mut sessions = self.lock();
            let answer = sessions.answer(&path, &head.headers, &body.to_bytes());
            let is_rejected = answer.status() == StatusCode::UNAUTHORIZED;
            (answer, is_rejected && sessions.rejects_together)
        };
        if rejected_together {
            // No request of the herd may come after the refresh.
            self.all_rejected.wait().await;
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().expect("nothing panics while it holds the lock")
    }
}

impl Sessions {
    fn answer(&mut self, path: &str, headers: &HeaderMap, body: &[u8]) -> Response<Full<Bytes>> {
        self.requests += 1;
        let cookies = cookies(headers);
        let holds = |name: &str, good: &Option<String>| {
            good.is_some() && cookies.get(name) == good.as_ref()
        };
        let header = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
        let is_ours = holds(CSRF_COOKIE, &self.csrf) && header == self.csrf.as_deref();
        match path {
            "GET /auth/login" => answer(StatusCode::OK, [self.next_csrf()]),
            path if path.starts_with("POST ") && !is_ours && self.refresh.is_some() => {
                answer(StatusCode::FORBIDDEN, [])
            }
            "POST /auth/login" if is_ours && body == b"user=ada&password=lovelace" => self.issue(),
            "POST /auth/login" => answer(StatusCode::FORBIDDEN, []),
            "POST /auth/refresh" if holds("refresh", &self.refresh) => {
                self.refreshes += 1;
                self.issue()
            }
            "POST /auth/refresh" => {
                self.refused += 1;
                answer(StatusCode::UNAUTHORIZED, [])
            }
            "POST /auth/logout" => {
                self.logouts += usize::from(holds("refresh", &self.refresh));
                (self.access, self.refresh) = (None, None);
                answer(StatusCode::NO_CONTENT, [])
            }
            _ if !holds("access", &self.access) => answer(StatusCode::UNAUTHORIZED, []),
            "POST /api/orders" => answer(StatusCode::OK, [self.next_csrf()]),
            _ => answer(StatusCode::OK, []),
        }
    }

    fn issue(&mut self) -> Response<Full<Bytes>> {
        self.issued += 1;
        let access = self.access.insert(format!("access-{}", self.issued));
        let refresh = self.refresh.insert(format!("refresh-{}", self.issued));
        let set = [
            format!("access={access}; Path=/; HttpOnly; SameSite=Lax; Max-Age=300"),
            format!("refresh={refresh}; Path=/auth; HttpOnly; SameSite=Strict"),
        ];
        answer(StatusCode::OK, set)
    }

    fn next_csrf(&mut self) -> String {
        self.issued += 1;
        let csrf = self.csrf.insert(format!("csrf-{}", self.issued));
        format!("{CSRF_COOKIE}={csrf}; Path=/; SameSite=Lax")
    }
}

fn cookies(headers: &HeaderMap) -> HashMap<String, String> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs =
        values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn answer(
    status: StatusCode,
    set_cookies: impl IntoIterator<Item = String>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    for cookie in set_cookies {
        let cookie = HeaderValue::try_from(cookie).expect("it is of letters, digits and signs");
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}
