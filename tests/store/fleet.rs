//! A fleet: many processes that share one store and one token endpoint.
//!
//! Each worker is this test binary in a process of its own, which runs one ignored test. That test
//! calls [`work`] with a function that makes the store, so that a fleet runs over any store.

use std::{
    env, error, fs,
    io::Write,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant, SystemTime},
};

use fastrand::Rng;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tower_refresh::{
    ErrorKind, RefreshContext, RefreshError, Refresher, Session, Token,
    refresher::BoxFuture,
    store::{Store, StoreError, StoreErrorKind, Stored},
};

use crate::support::temporary;

/// A token endpoint in the first process, with rotation and the detection of reuse.
///
/// The last refresh token that was presented has a grace: it may be presented again until one of
/// its successors is, because the process that presented it may have died before it saved the
/// answer.
pub(crate) struct Issuer {
    pub(crate) address: String,
    seen: Arc<Mutex<Seen>>,
}

/// The presentations of refresh tokens.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) exchanges: u32,
    /// Presentations of the last token in its grace.
    pub(crate) in_grace: u32,
    /// Presentations outside the grace. Each would end the login.
    pub(crate) reused: u32,
    /// The number of the token that was presented last.
    last: u64,
    /// The number of the newest token.
    newest: u64,
}

/// Processes over one store.
#[derive(Clone)]
pub(crate) struct Fleet {
    /// The path of the ignored test that a worker runs.
    pub(crate) worker: &'static str,
    /// The directory or the URL of the store.
    pub(crate) place: String,
    /// The address of the [`Issuer`].
    pub(crate) endpoint: String,
    pub(crate) lease: Duration,
    /// How long a refreshed token lasts.
    pub(crate) lifetime: Duration,
}

/// A process. Dropping it kills it.
pub(crate) struct Worker(Child);

/// A client of the token endpoint.
pub(crate) struct Remote {
    address: String,
    lifetime: Duration,
}

/// How long a token lasts, unless a fleet says otherwise.
pub(crate) const LIFETIME: Duration = Duration::from_millis(60);
/// The exit code of a worker that found its login ended.
const LOST: i32 = 3;
/// The exit code of a worker that found a damaged record.
const TORN: i32 = 4;
/// The longest time that a worker may take.
const LIMIT: Duration = Duration::from_secs(120);
/// The pause of a worker between two acquisitions.
const PAUSE: Duration = Duration::from_millis(5);

/// The first token of a login has the number 1.
fn token(number: u64, lifetime: Duration) -> Token {
    let expires_at = SystemTime::now() + lifetime;
    let token = Token::bearer(format!("at-{number}")).unwrap();
    token.with_refresh_token(format!("{number}")).with_expires_at(expires_at)
}

/// A session over a store, and its driver.
fn driver<S: Store>(remote: Remote, store: S, lease: Duration) -> (Session, Stored<Remote, S>) {
    let driver = Stored::builder(remote, store, "ann").lease_ttl(lease).build();
    let session = Session::builder(driver.clone())
        .backoff(Duration::from_millis(5), Duration::from_millis(50))
        .build();
    (session, driver)
}

/// The seed of a random run, which is printed and may be given.
pub(crate) fn seed() -> u64 {
    let seed = env::var("STORE_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("STORE_SEED is a number"));
    println!("STORE_SEED={seed}");
    seed
}

/// The life of a worker: acquires credentials until all that are wanted have been acquired, by this
/// process or by those before it. The body of the ignored test that a fleet names.
pub(crate) fn work<S: Store>(make: impl AsyncFnOnce(String) -> S) {
    let Ok(address) = env::var("FLEET_ENDPOINT") else { return };
    let number = |name: &str| env::var(name).unwrap().parse::<u64>().unwrap();
    let lease = Duration::from_millis(number("FLEET_LEASE_MS"));
    let remote = Remote { address, lifetime: Duration::from_millis(number("FLEET_LIFETIME_MS")) };
    let wanted = number("FLEET_ACQUISITIONS");
    let progress = env::var_os("FLEET_PROGRESS").unwrap();
    let mut progress = fs::File::options().create(true).append(true).open(progress).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let code = runtime.block_on(async {
        let store = make(env::var("FLEET_PLACE").unwrap()).await;
        let (session, driver) = driver(remote, store, lease);
        loop {
            match driver.open(&session).await {
                Ok(Some(_)) => break,
                Ok(None) => return LOST,
                Err(error) if error.kind() == StoreErrorKind::Corrupt => return TORN,
                // A store that restarts.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        while progress.metadata().unwrap().len() < wanted {
            match session.acquire().await {
                Ok(_) => progress.write_all(b".").unwrap(),
                Err(error) if error.kind() == ErrorKind::LoggedOut => return LOST,
                Err(error) if is_torn(&error) => return TORN,
                Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
        0
    });
    std::process::exit(code);
}

fn is_torn(error: &(dyn error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        let store = cause.downcast_ref::<StoreError>();
        store.is_some_and(|error| error.kind() == StoreErrorKind::Corrupt)
    })
}

// === impl Issuer ===

impl Issuer {
    pub(crate) fn start(runtime: &Runtime) -> Self {
        let seen = Arc::new(Mutex::new(Seen { newest: 1, ..Seen::default() }));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = seen.clone();
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn seen(&self) -> Seen {
        *self.seen.lock().unwrap()
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let (read, mut write) = stream.split();
    let mut presented = String::new();
    drop(BufReader::new(read).read_line(&mut presented).await);
    let Ok(presented) = presented.trim().parse() else { return };
    let next = seen.lock().unwrap().present(presented);
    let answer = next.map_or_else(|| "invalid_grant".to_owned(), |next| next.to_string());
    tokio::time::sleep(Duration::from_millis(2)).await;
    drop(write.write_all(answer.as_bytes()).await);
}

// === impl Seen ===

impl Seen {
    /// The number of the next token, unless this one was used before its grace.
    fn present(&mut self, presented: u64) -> Option<u64> {
        self.exchanges += 1;
        if presented < self.last {
            self.reused += 1;
            return None;
        }
        self.in_grace += u32::from(presented == self.last);
        self.last = presented;
        self.newest += 1;
        Some(self.newest)
    }
}

// === impl Fleet ===

impl Fleet {
    /// Saves a first login, as the program does before its replicas start.
    pub(crate) fn log_in<S: Store>(&self, runtime: &Runtime, store: S) {
        runtime.block_on(async {
            let remote = Remote { address: self.endpoint.clone(), lifetime: self.lifetime };
            let (session, driver) = driver(remote, store, self.lease);
            driver.login(&session, token(1, LIFETIME)).await.unwrap();
        });
    }

    /// Starts a worker that acquires so many credentials.
    pub(crate) fn spawn(&self, acquisitions: u32) -> Worker {
        self.spawn_with(acquisitions, &temporary("progress"))
    }

    fn spawn_with(&self, acquisitions: u32, progress: &PathBuf) -> Worker {
        fs::create_dir_all(progress.parent().unwrap()).unwrap();
        let child = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", self.worker])
            .env("FLEET_ENDPOINT", &self.endpoint)
            .env("FLEET_PLACE", &self.place)
            .env("FLEET_ACQUISITIONS", acquisitions.to_string())
            .env("FLEET_LEASE_MS", self.lease.as_millis().to_string())
            .env("FLEET_LIFETIME_MS", self.lifetime.as_millis().to_string())
            .env("FLEET_PROGRESS", progress)
            .stdout(Stdio::null())
            .spawn();
        Worker(child.unwrap())
    }

    /// Runs so many workers at once until each has acquired so many credentials. Each of them is
    /// killed about so many times on its way, at random, and replaced by another one. Returns the
    /// number of kills.
    pub(crate) fn run(&self, workers: u32, acquisitions: u32, kills: u32, seed: u64) -> u32 {
        let places: Vec<_> = (0..workers)
            .map(|number| {
                let (fleet, rng) = (self.clone(), Rng::with_seed(seed.wrapping_add(number.into())));
                thread::spawn(move || fleet.run_one(acquisitions, kills, rng))
            })
            .collect();
        places.into_iter().map(|place| place.join().unwrap()).sum()
    }

    fn run_one(&self, acquisitions: u32, kills: u32, mut rng: Rng) -> u32 {
        let progress = temporary("progress");
        let mut killed = 0;
        for _ in 0..kills {
            let mut worker = self.spawn_with(acquisitions, &progress);
            thread::sleep(Duration::from_millis(rng.u64(20..400)));
            if worker.kill() {
                killed += 1;
            } else {
                worker.expect_success();
            }
        }
        self.spawn_with(acquisitions, &progress).expect_success();
        let acquired = fs::metadata(&progress).unwrap().len();
        assert!(acquired >= acquisitions.into(), "{acquired} of {acquisitions}");
        fs::remove_file(progress).unwrap();
        killed
    }
}

// === impl Worker ===

impl Worker {
    /// Waits for the end of the worker.
    ///
    /// # Panics
    ///
    /// The worker has lost its login, has read a damaged record, or does not end.
    pub(crate) fn expect_success(mut self) {
        assert_eq!(self.wait().code(), Some(0), "{LOST}: login lost, {TORN}: record damaged");
    }

    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            match self.0.try_wait().unwrap() {
                Some(status) => return status,
                None => assert!(start.elapsed() < LIMIT, "a worker has not ended"),
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the worker with SIGKILL in the midst of its work. `false` where it had ended.
    pub(crate) fn kill(&mut self) -> bool {
        let runs = self.0.try_wait().unwrap().is_none();
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        runs
    }

    /// Sends a signal, such as `-STOP`.
    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

// === impl Remote ===

impl Refresher for Remote {
    fn refresh(&self, context: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        Box::pin(async move {
            let current = context.current().ok_or_else(|| RefreshError::terminal("no login"))?;
            let presented = current.refresh_token().unwrap_or_default();
            let answer = async {
                let mut endpoint = TcpStream::connect(&self.address).await?;
                endpoint.write_all(format!("{presented}\n").as_bytes()).await?;
                let mut answer = String::new();
                endpoint.read_to_string(&mut answer).await?;
                std::io::Result::Ok(answer)
            };
            let answer = answer.await.map_err(RefreshError::ambiguous)?;
            let number = answer.trim().parse().map_err(RefreshError::terminal)?;
            Ok(token(number, self.lifetime))
        })
    }
}
