//! A command-line program whose login lives in a directory.
//!
//! `cargo run --features store --example cli` starts an auth server in a second process, logs in,
//! lets the token expire, runs ten processes at once, logs out, and checks every number that it
//! prints. Copy from `Program`.

use std::{
    convert::Infallible,
    env,
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use lexopt::prelude::*;
use tokio::{net::TcpListener, task::JoinSet, time};
use tower::{BoxError, Layer, ServiceExt};
use tower_refresh::{
    Error, ErrorKind, Origin, RefreshContext, RefreshError, RefreshLayer, Refresher, ReplayBody,
    Session, Token,
    refresher::BoxFuture,
    store::{File, Stored},
};

const HELP: &str = "\
A program whose login lives in a directory, and the auth server that it logs in at.

Usage: cargo run --features store --example cli -- [COMMAND] [OPTIONS]

Commands:
  demo     Start a server, log in, run ten processes at once at expiry, log out [default]
  serve    Run the server, and print its address
  login    Log in
  whoami   Ask the server who is logged in
  logout   Log out

Options:
      --server <URL>      The address that `serve` has printed
      --directory <PATH>  Where the login lives [default: tower-refresh-cli in the temporary directory]
  -h, --help              Print this

Exit status: 0 for success, 1 for a failure, 2 for a wrong option, 3 if not logged in.
";

const NOT_LOGGED_IN: u8 = 3;
const LIFETIME: Duration = Duration::from_secs(1);
const PROCESSES: usize = 10;
/// No step of the demo takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Args {
    command: String,
    server: String,
    directory: PathBuf,
}

/// What the commands share.
struct Program {
    http: Client<HttpConnector, ReplayBody<Full<Bytes>>>,
    server: String,
    session: Session,
    stored: Stored<TokenEndpoint, File>,
}

/// Obtains tokens from the server. A program with the feature `oauth2` uses `oauth2::RefreshToken`.
struct TokenEndpoint {
    http: Client<HttpConnector, Full<Bytes>>,
    server: String,
}

/// The server: rotates refresh tokens, and ends the login where one is presented twice.
#[derive(Default)]
struct Server {
    newest: u64,
    is_logged_in: bool,
    exchanges: u32,
    issued: Option<time::Instant>,
}

/// Ends with the demo.
struct Served(Child);

#[tokio::main]
async fn main() -> ExitCode {
    let args = match parse_args(lexopt::Parser::from_env()) {
        Ok(Some(args)) => args,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("cli: {error}\nTry `--help`.");
            return ExitCode::from(2);
        }
    };
    match run(args).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cli: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse_args(mut args: lexopt::Parser) -> Result<Option<Args>, lexopt::Error> {
    let mut parsed = Args {
        command: "demo".to_owned(),
        server: String::new(),
        directory: env::temp_dir().join("tower-refresh-cli"),
    };
    while let Some(arg) = args.next()? {
        match arg {
            Long("server") => parsed.server = args.value()?.string()?,
            Long("directory") => parsed.directory = args.value()?.into(),
            Short('h') | Long("help") => return Ok(None),
            Value(command) => parsed.command = command.string()?,
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Some(parsed))
}

async fn run(args: Args) -> Result<ExitCode, BoxError> {
    match &*args.command {
        "demo" => time::timeout(PATIENCE, demo(args.directory)).await?,
        "serve" => serve().await,
        "login" => Program::new(args).login().await,
        "whoami" => Program::new(args).whoami().await,
        "logout" => Program::new(args).logout().await,
        other => Err(format!("there is no command {other:?}; try `--help`").into()),
    }
}

// === impl Program ===

impl Program {
    fn new(args: Args) -> Self {
        let endpoint = TokenEndpoint {
            http: Client::builder(TokioExecutor::new()).build_http(),
            server: args.server.clone(),
        };
        let stored = Stored::new(endpoint, File::new(args.directory), "the user of this example");
        Self {
            http: Client::builder(TokioExecutor::new()).build_http(),
            server: args.server,
            session: Session::builder(stored.clone()).build(),
            stored,
        }
    }

    async fn login(self) -> Result<ExitCode, BoxError> {
        // A real program sends its user to a browser here.
        let endpoint = TokenEndpoint {
            http: Client::builder(TokioExecutor::new()).build_http(),
            server: self.server,
        };
        let token = endpoint.ask("/login", "").await?;
        self.stored.login(&self.session, token).await?;
        println!("logged in");
        Ok(ExitCode::SUCCESS)
    }

    async fn whoami(self) -> Result<ExitCode, BoxError> {
        self.stored.open(&self.session).await?;
        let origin: Origin = self.server.parse()?;
        let client = RefreshLayer::new(self.session, origin).layer(self.http);
        let request = Request::get(format!("{}/me", self.server)).body(Full::default())?;
        match client.oneshot(request).await {
            Ok(response) => {
                let body = response.into_body().collect().await?.to_bytes();
                println!("{}", String::from_utf8_lossy(&body));
                Ok(ExitCode::SUCCESS)
            }
            Err(error) if is_logged_out(&error) => {
                println!("not logged in");
                Ok(ExitCode::from(NOT_LOGGED_IN))
            }
            Err(error) => Err(error),
        }
    }

    async fn logout(self) -> Result<ExitCode, BoxError> {
        self.stored.open(&self.session).await?;
        self.stored.logout(&self.session).await?;
        println!("logged out");
        Ok(ExitCode::SUCCESS)
    }
}

fn is_logged_out(error: &BoxError) -> bool {
    error.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::LoggedOut)
}

// === impl TokenEndpoint ===

impl TokenEndpoint {
    async fn ask(&self, path: &str, refresh_token: &str) -> Result<Token, RefreshError> {
        let request = Request::post(format!("{}{path}", self.server))
            .body(Full::from(refresh_token.to_owned()))
            .map_err(RefreshError::transient)?;
        let response = self.http.request(request).await.map_err(RefreshError::ambiguous)?;
        if !response.status().is_success() {
            return Err(RefreshError::from_status(response.status()));
        }
        let body = response.into_body().collect().await.map_err(RefreshError::ambiguous)?;
        let number = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok(Token::bearer(format!("at-{number}"))?
            .with_refresh_token(number)
            .with_expires_in(LIFETIME))
    }
}

impl Refresher for TokenEndpoint {
    fn refresh(&self, context: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        Box::pin(async move {
            let refresh_token = context.current().and_then(|token| token.refresh_token());
            let refresh_token =
                refresh_token.ok_or_else(|| RefreshError::terminal("log in first"))?;
            self.ask("/token", refresh_token).await
        })
    }
}

// === impl Server ===

impl Server {
    fn issue(&mut self) -> (StatusCode, String) {
        self.newest += 1;
        self.issued = Some(time::Instant::now());
        (StatusCode::OK, self.newest.to_string())
    }

    fn answer(&mut self, path: &str, bearer: &str, body: &str) -> (StatusCode, String) {
        match path {
            "/login" => {
                self.is_logged_in = true;
                self.issue()
            }
            "/token" => {
                self.exchanges += 1;
                if self.is_logged_in && body == self.newest.to_string() {
                    return self.issue();
                }
                // Presented twice: it may be stolen.
                self.is_logged_in = false;
                (StatusCode::UNAUTHORIZED, "invalid_grant".to_owned())
            }
            "/me" => {
                let is_newest = bearer == format!("Bearer at-{}", self.newest);
                let is_fresh = self.issued.is_some_and(|at| at.elapsed() < LIFETIME);
                if self.is_logged_in && is_newest && is_fresh {
                    (StatusCode::OK, "ann".to_owned())
                } else {
                    (StatusCode::UNAUTHORIZED, "the token has expired".to_owned())
                }
            }
            "/exchanges" => (StatusCode::OK, self.exchanges.to_string()),
            _ => (StatusCode::NOT_FOUND, String::new()),
        }
    }
}

async fn serve() -> Result<ExitCode, BoxError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("http://{}", listener.local_addr()?);
    let server = Arc::new(Mutex::new(Server::default()));
    loop {
        let (stream, _) = listener.accept().await?;
        let server = server.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| handle(server.clone(), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("cli serve: {error}");
            }
        });
    }
}

async fn handle(
    server: Arc<Mutex<Server>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let bearer = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (status, text) = server.lock().expect("no handler panics").answer(
        head.uri.path(),
        bearer.unwrap_or_default(),
        &String::from_utf8_lossy(&body),
    );
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    Ok(response)
}

// === The demo ===

async fn demo(directory: PathBuf) -> Result<ExitCode, BoxError> {
    let (_served, server) = start_server()?;
    let directory = directory.join(std::process::id().to_string());
    let command = |name: &str| {
        let mut command = this_program(name, &server);
        command.arg("--directory").arg(&directory);
        command
    };
    let login = output(command("login")).await?;
    time::sleep(LIFETIME).await;

    let mut processes = JoinSet::new();
    for _ in 0..PROCESSES {
        processes.spawn(output(command("whoami")));
    }
    let mut answers = Vec::new();
    while let Some(answer) = processes.join_next().await {
        answers.push(answer??);
    }
    let known = answers.iter().filter(|(_, text)| text == "ann").count();
    let exchanges = exchanges(&server).await?;
    println!("{PROCESSES} processes started at once with an expired token: {known} were answered");
    println!("calls of the token endpoint: {exchanges}");

    let logout = output(command("logout")).await?;
    let after = output(command("whoami")).await?;
    println!("after the logout: {}", after.1);
    std::fs::remove_dir_all(&directory)?;

    // A machine that takes a second to start ten processes sees a second expiry.
    let is_right = login.0 == Some(0)
        && known == PROCESSES
        && (1..=3).contains(&exchanges)
        && logout.0 == Some(0)
        && after.0 == Some(NOT_LOGGED_IN.into());
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn start_server() -> Result<(Served, String), BoxError> {
    let mut child =
        Command::new(env::current_exe()?).arg("serve").stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or("the server has no output")?;
    let served = Served(child);
    let mut address = String::new();
    BufReader::new(output).read_line(&mut address)?;
    Ok((served, address.trim().to_owned()))
}

fn this_program(name: &str, server: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("a program knows its own path"));
    command.arg(name).arg("--server").arg(server);
    command
}

/// The exit status and what was printed.
async fn output(mut command: Command) -> Result<(Option<i32>, String), BoxError> {
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Ok((output.status.code(), text))
}

async fn exchanges(server: &str) -> Result<u32, BoxError> {
    let http: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response = http.get(format!("{server}/exchanges").parse()?).await?;
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&body).parse()?)
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
