//! Several processes share a login. Its tokens last one second, and one process refreshes each.
//!
//! ```text
//! cargo run --example replicas --features redis -- --redis redis://127.0.0.1
//! ```
//!
//! Without `--redis` the processes share a directory.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use lexopt::prelude::*;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time,
};
use tower_refresh::{
    BoxError, ErrorKind, RefreshContext, RefreshError, Refresher, Session, Token,
    refresher::BoxFuture,
    store::{File, Store, Stored},
};

const HELP: &str = "\
Replicas of one service share a login: each token is refreshed by one of them.

Usage: replicas [OPTIONS]

Options:
      --replicas N       how many processes share the login [default: 4]
      --seconds N        how long they run; a token lasts one second [default: 10]
      --redis URL        share the login in Redis; needs the feature `redis`
      --directory PATH   share the login in files [default: a temporary directory]
  -h, --help             print this help
";

/// How long a token lasts.
const LIFETIME: Duration = Duration::from_secs(1);
/// How often a replica uses its token.
const REQUEST_EVERY: Duration = Duration::from_millis(5);

struct Args {
    replicas: usize,
    seconds: u64,
    place: Place,
    /// The token endpoint and the number of this replica. `None` in the first process.
    replica: Option<(String, usize)>,
}

/// Where the login is stored.
enum Place {
    Directory(PathBuf),
    Redis(String),
}

/// The token endpoint, as a replica calls it.
struct TokenEndpoint {
    address: String,
    replica: usize,
}

/// An event that the first process draws.
enum Event {
    /// A replica has called the token endpoint, which has issued this token.
    Refreshed { replica: usize, token: u64 },
    /// A replica uses this token.
    Uses { replica: usize, token: u64, at: Instant },
    /// A refresh token was presented twice, or a replica has lost its login.
    Failed(String),
}

/// The replicas and the token that each of them got.
#[derive(Default)]
struct Picture {
    tokens: BTreeMap<u64, Row>,
    failures: Vec<String>,
}

/// One token.
#[derive(Default)]
struct Row {
    refreshed_by: Option<usize>,
    used_since: BTreeMap<usize, Instant>,
}

/// A process that ends with the first one.
struct Replica(Child);

fn main() -> ExitCode {
    match parse_args(lexopt::Parser::from_env()) {
        Ok(Some(args)) => match run(args) {
            Ok(code) => code,
            Err(error) => {
                eprintln!("replicas: {error}");
                ExitCode::FAILURE
            }
        },
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("replicas: {error}; try `--help`");
            ExitCode::from(2)
        }
    }
}

fn parse_args(mut args: lexopt::Parser) -> Result<Option<Args>, lexopt::Error> {
    let directory = env::temp_dir().join(format!("tower-refresh-replicas-{}", std::process::id()));
    let mut parsed =
        Args { replicas: 4, seconds: 10, place: Place::Directory(directory), replica: None };
    let (mut endpoint, mut number) = (None, None);
    while let Some(arg) = args.next()? {
        match arg {
            Long("replicas") => parsed.replicas = args.value()?.parse()?,
            Long("seconds") => parsed.seconds = args.value()?.parse()?,
            Long("redis") => parsed.place = Place::Redis(args.value()?.string()?),
            Long("directory") => parsed.place = Place::Directory(args.value()?.into()),
            // For the processes that this one starts.
            Long("endpoint") => endpoint = Some(args.value()?.string()?),
            Long("number") => number = Some(args.value()?.parse()?),
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    parsed.replica = endpoint.zip(number);
    if !(1..=32).contains(&parsed.replicas) {
        return Err("--replicas takes 1 to 32".into());
    }
    Ok(Some(parsed))
}

#[tokio::main]
async fn run(args: Args) -> Result<ExitCode, BoxError> {
    match args.replica {
        Some((address, replica)) => {
            serve(args.place.open()?, TokenEndpoint { address, replica }).await
        }
        None => demo(args).await,
    }
}

/// Runs one replica: the part that a service would copy.
async fn serve(store: Box<dyn Store>, endpoint: TokenEndpoint) -> Result<ExitCode, BoxError> {
    let stored = Stored::new(endpoint, store, "the service of this example");
    let session = Session::builder(stored.clone()).build();
    stored.open(&session).await?.ok_or("no login is stored")?;
    tokio::spawn(stored.follow(&session));

    // Stands for the requests of the service. A `RefreshLayer` would acquire the token.
    let mut last = None;
    loop {
        match session.acquire().await {
            Ok(token) => {
                let token = token.access_token().to_owned();
                if last.as_ref() != Some(&token) {
                    println!("{token}");
                    last = Some(token);
                }
            }
            Err(error) if error.kind() == ErrorKind::LoggedOut => return Err(error.into()),
            Err(error) => eprintln!("replicas: {error}: {:?}", error.source()),
        }
        time::sleep(REQUEST_EVERY).await;
    }
}

async fn demo(args: Args) -> Result<ExitCode, BoxError> {
    let (events, received) = mpsc::channel();
    let address = listen(events.clone()).await?;
    let endpoint = TokenEndpoint { address: address.clone(), replica: 0 };
    let stored = Stored::new(endpoint, args.place.open()?, "the service of this example");
    stored.login(&Session::builder(stored.clone()).build(), token(1)?).await?;

    println!("{} replicas share a login {}.", args.replicas, args.place.name());
    println!("● calls the token endpoint   ○ takes over what it has got\n");
    let numbers: Vec<_> = (1..=args.replicas).map(|number| format!("{number:2}")).collect();
    println!(" token  {}   all have it after", numbers.join(" "));
    let mut replicas = Vec::new();
    for number in 1..=args.replicas {
        replicas.push(Replica::start(number, &address, &args.place, events.clone())?);
    }
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let replicas_count = args.replicas;
    let picture =
        tokio::task::spawn_blocking(move || Picture::draw(&received, replicas_count, end)).await?;
    drop(replicas);
    args.place.clean_up();
    Ok(picture.conclude())
}

fn token(number: u64) -> Result<Token, RefreshError> {
    let expires_at = SystemTime::now() + LIFETIME;
    let token = Token::bearer(number.to_string())?;
    Ok(token.with_refresh_token(number.to_string()).with_expires_at(expires_at))
}

/// A token endpoint that rotates refresh tokens and detects a second use.
async fn listen(events: Sender<Event>) -> Result<String, BoxError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?.to_string();
    let newest = Arc::new(Mutex::new(1_u64));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (newest, events) = (newest.clone(), events.clone());
            tokio::spawn(async move {
                let mut stream = tokio::io::BufReader::new(stream);
                let mut line = String::new();
                stream.read_line(&mut line).await?;
                let answer = {
                    let mut newest = newest.lock().expect("no holder panics");
                    match line.split_once(' ') {
                        Some((replica, token)) if token.trim() == newest.to_string() => {
                            *newest += 1;
                            let replica = replica.parse().unwrap_or_default();
                            drop(events.send(Event::Refreshed { replica, token: *newest }));
                            newest.to_string()
                        }
                        _ => {
                            let text = format!("token presented twice: {}", line.trim());
                            drop(events.send(Event::Failed(text)));
                            "invalid_grant".to_owned()
                        }
                    }
                };
                stream.write_all(answer.as_bytes()).await
            });
        }
    });
    Ok(address)
}

// === impl Place ===

impl Place {
    fn open(&self) -> Result<Box<dyn Store>, BoxError> {
        match self {
            Self::Directory(path) => Ok(Box::new(File::new(path))),
            #[cfg(feature = "redis")]
            Self::Redis(url) => {
                let client = redis::Client::open(&**url)?;
                Ok(Box::new(tower_refresh::store::Redis::new(client)))
            }
            #[cfg(not(feature = "redis"))]
            Self::Redis(_) => Err("--redis needs the feature `redis`".into()),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Directory(path) => format!("in {}", path.display()),
            // The URL may have a password.
            Self::Redis(_) => "in Redis".to_owned(),
        }
    }

    fn clean_up(&self) {
        if let Self::Directory(path) = self {
            drop(std::fs::remove_dir_all(path));
        }
    }
}

// === impl TokenEndpoint ===

impl Refresher for TokenEndpoint {
    fn refresh(&self, context: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        Box::pin(async move {
            let current = context.current().ok_or_else(|| RefreshError::terminal("no login"))?;
            let refresh_token = current.refresh_token().unwrap_or_default();
            let answer = async {
                let mut stream = TcpStream::connect(&self.address).await?;
                stream.write_all(format!("{} {refresh_token}\n", self.replica).as_bytes()).await?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await?;
                std::io::Result::Ok(answer)
            };
            let answer = answer.await.map_err(RefreshError::ambiguous)?;
            token(answer.parse().map_err(RefreshError::terminal)?)
        })
    }
}

// === impl Replica ===

impl Replica {
    fn start(
        replica: usize,
        endpoint: &str,
        place: &Place,
        events: Sender<Event>,
    ) -> Result<Self, BoxError> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["--endpoint", endpoint, "--number", &replica.to_string()]);
        match place {
            Place::Directory(path) => command.arg("--directory").arg(path),
            Place::Redis(url) => command.args(["--redis", url]),
        };
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("a replica has no output")?;
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(token) = line.parse() {
                    let at = Instant::now();
                    drop(events.send(Event::Uses { replica, token, at }));
                }
            }
            drop(events.send(Event::Failed(format!("replica {replica} has ended"))));
        });
        Ok(Self(child))
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

// === impl Picture ===

impl Picture {
    /// Draws a line for each token that all replicas have, until it is time to end.
    fn draw(events: &Receiver<Event>, replicas: usize, end: Instant) -> Self {
        let mut picture = Self::default();
        while let Ok(event) = events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            match event {
                Event::Refreshed { replica, token } => {
                    picture.tokens.entry(token).or_default().refreshed_by = Some(replica);
                }
                Event::Uses { replica, token, at } => {
                    let row = picture.tokens.entry(token).or_default();
                    row.used_since.insert(replica, at);
                    if row.used_since.len() == replicas {
                        row.draw(token, replicas);
                    }
                }
                Event::Failed(text) => {
                    println!("{text}");
                    picture.failures.push(text);
                }
            }
        }
        picture
    }

    fn conclude(&self) -> ExitCode {
        let calls = self.tokens.values().filter(|row| row.refreshed_by.is_some()).count();
        let taken_over: usize = self.tokens.values().map(Row::taken_over).sum();
        println!(
            "\n{calls} expiries: {calls} calls of the token endpoint, {taken_over} taken over"
        );
        if self.failures.is_empty() && calls > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

// === impl Row ===

impl Row {
    fn draw(&self, token: u64, replicas: usize) {
        let marks: Vec<_> = (1..=replicas)
            .map(|replica| if self.refreshed_by == Some(replica) { " ●" } else { " ○" })
            .collect();
        let times = || self.used_since.values();
        let spread = times().max().zip(times().min()).map(|(last, first)| *last - *first);
        let spread = spread.unwrap_or_default().as_secs_f64() * 1000.0;
        println!(" {token:>5}  {}   {spread:.1} ms", marks.join(" "));
    }

    /// How many replicas have this token without a call.
    fn taken_over(&self) -> usize {
        match self.refreshed_by {
            Some(_) => self.used_since.len().saturating_sub(1),
            None => 0,
        }
    }
}
