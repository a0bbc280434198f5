//! Real processes over one directory: each is this test binary, which runs itself.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tower_refresh::{
    ErrorKind, RefreshContext, RefreshError, Refresher, Session, Token,
    refresher::BoxFuture,
    store::{File, StoreErrorKind, Stored},
};

use crate::support::temporary;

/// What the token endpoint has seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// The number of the newest refresh token.
    newest: u64,
    exchanges: u32,
    /// The token before the newest one, whose answer may have died with its process.
    in_grace: u32,
    reused: u32,
}

/// A client of the token endpoint in the first process.
struct Remote(String);

/// What ends with a process.
struct Worker(Child);

const LIFETIME: Duration = Duration::from_millis(60);
/// Longer than a busy machine keeps a process from extending it.
const LEASE: Duration = Duration::from_secs(2);
const LONG_LEASE: Duration = Duration::from_secs(30);
const LOST: i32 = 3;
const TORN: i32 = 4;
const LIMIT: Duration = Duration::from_secs(60);

fn token(number: u64) -> Token {
    let expires_at = SystemTime::now() + LIFETIME;
    let token = Token::bearer(format!("at-{number}")).unwrap();
    token.with_refresh_token(format!("{number}")).with_expires_at(expires_at)
}

impl Refresher for Remote {
    fn refresh(&self, context: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        Box::pin(async move {
            let token_before = context.current().ok_or_else(|| RefreshError::terminal("none"))?;
            let presented = token_before.refresh_token().unwrap_or_default();
            let answer = async {
                let mut endpoint = TcpStream::connect(&self.0).await?;
                endpoint.write_all(format!("{presented}\n").as_bytes()).await?;
                let mut answer = String::new();
                endpoint.read_to_string(&mut answer).await?;
                std::io::Result::Ok(answer)
            };
            let answer = answer.await.map_err(RefreshError::ambiguous)?;
            let number = answer.trim().parse().map_err(RefreshError::terminal)?;
            Ok(token(number))
        })
    }
}

/// Rotates, and detects reuse: of the newest token and the one before it, each may be presented.
fn endpoint(runtime: &tokio::runtime::Runtime) -> (String, Arc<Mutex<Seen>>) {
    let seen = Arc::new(Mutex::new(Seen { newest: 1, ..Seen::default() }));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let shared = seen.clone();
    runtime.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let seen = shared.clone();
            tokio::spawn(async move {
                let (read, mut write) = stream.split();
                let mut presented = String::new();
                drop(BufReader::new(read).read_line(&mut presented).await);
                let Ok(presented) = presented.trim().parse::<u64>() else { return };
                let answer = {
                    let mut seen = seen.lock().unwrap();
                    seen.exchanges += 1;
                    seen.in_grace += u32::from(presented + 1 == seen.newest);
                    if presented == seen.newest || presented + 1 == seen.newest {
                        seen.newest += 1;
                        seen.newest.to_string()
                    } else {
                        seen.reused += 1;
                        "invalid_grant".to_owned()
                    }
                };
                tokio::time::sleep(Duration::from_millis(2)).await;
                drop(write.write_all(answer.as_bytes()).await);
            });
        }
    });
    (address, seen)
}

fn driver(address: &str, directory: &Path, lease: Duration) -> (Session, Stored<Remote, File>) {
    let refresher = Remote(address.to_owned());
    let driver = Stored::builder(refresher, File::new(directory), "ann").lease_ttl(lease).build();
    let session = Session::builder(driver.clone())
        .backoff(Duration::from_millis(5), Duration::from_millis(50))
        .build();
    (session, driver)
}

fn spawn(address: &str, directory: &Path, acquisitions: u32, lease: Duration) -> Worker {
    let child = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "processes::worker"])
        .env("STORE_ENDPOINT", address)
        .env("STORE_DIRECTORY", directory)
        .env("STORE_ACQUISITIONS", acquisitions.to_string())
        .env("STORE_LEASE_MS", lease.as_millis().to_string())
        .stdout(Stdio::null())
        .spawn();
    Worker(child.unwrap())
}

/// Run by the tests below, in a process of its own.
#[test]
#[ignore = "a part of the other tests"]
fn worker() {
    let Ok(address) = env::var("STORE_ENDPOINT") else { return };
    let directory = PathBuf::from(env::var_os("STORE_DIRECTORY").unwrap());
    let acquisitions: u32 = env::var("STORE_ACQUISITIONS").unwrap().parse().unwrap();
    let lease = Duration::from_millis(env::var("STORE_LEASE_MS").unwrap().parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let code = runtime.block_on(async {
        let (session, driver) = driver(&address, &directory, lease);
        match driver.open(&session).await {
            Ok(Some(_)) => {}
            Ok(None) => return LOST,
            Err(error) if error.kind() == StoreErrorKind::Corrupt => return TORN,
            Err(error) => panic!("{error:?}"),
        }
        let mut acquired = 0;
        while acquired < acquisitions {
            match session.acquire().await {
                Ok(_) => acquired += 1,
                Err(error) if error.kind() == ErrorKind::LoggedOut => return LOST,
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        0
    });
    std::process::exit(code);
}

impl Worker {
    fn wait(mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            match self.0.try_wait().unwrap() {
                Some(status) => return status,
                None => assert!(start.elapsed() < LIMIT, "a worker has not ended"),
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// With SIGKILL, in the midst of whatever it does.
    fn kill(&mut self) -> bool {
        let runs = self.0.try_wait().unwrap().is_none();
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        runs
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn log_in(runtime: &tokio::runtime::Runtime, address: &str, directory: &Path) {
    runtime.block_on(async {
        let (session, driver) = driver(address, directory, LONG_LEASE);
        driver.login(&session, token(1)).await.unwrap();
    });
}

#[test]
fn g16_ten_processes_that_start_at_expiry_make_one_exchange() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (address, seen) = endpoint(&runtime);
    let directory = temporary("ten");
    log_in(&runtime, &address, &directory);
    thread::sleep(LIFETIME);
    let workers: Vec<_> = (0..10).map(|_| spawn(&address, &directory, 1, LONG_LEASE)).collect();
    for worker in workers {
        assert_eq!(worker.wait().code(), Some(0));
    }
    let seen = *seen.lock().unwrap();
    // A slow machine starts some of them after the next expiry.
    assert!(seen.exchanges <= 10 && seen.reused + seen.in_grace == 0, "{seen:?}");
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn g16_processes_that_are_killed_at_random_lose_no_login_and_tear_no_file() {
    const WORKERS: usize = 6;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (address, seen) = endpoint(&runtime);
    let directory = temporary("killed");
    log_in(&runtime, &address, &directory);

    let killing = Arc::new(AtomicBool::new(true));
    let killed = Arc::new(Mutex::new(0));
    let mut rounds = Vec::new();
    for number in 0..WORKERS {
        let (address, directory) = (address.clone(), directory.clone());
        let (killing, killed) = (killing.clone(), killed.clone());
        rounds.push(thread::spawn(move || {
            let mut pause = 40 + 23 * number as u64;
            while killing.load(Ordering::SeqCst) {
                let mut worker = spawn(&address, &directory, 1000, LEASE);
                thread::sleep(Duration::from_millis(pause));
                pause = (pause * 7 + 31) % 400;
                if worker.kill() {
                    *killed.lock().unwrap() += 1;
                } else {
                    let code = worker.0.wait().unwrap().code();
                    assert_eq!(code, Some(0), "{LOST}: login lost, {TORN}: file torn");
                }
            }
            spawn(&address, &directory, 20, LEASE).wait()
        }));
    }
    thread::sleep(Duration::from_secs(3));
    killing.store(false, Ordering::SeqCst);
    for round in rounds {
        let status = round.join().unwrap();
        assert_eq!(status.code(), Some(0), "{LOST}: login lost, {TORN}: file torn");
    }
    let (seen, killed) = (*seen.lock().unwrap(), *killed.lock().unwrap());
    println!("{seen:?}, {killed} processes were killed");
    assert_eq!(seen.reused, 0, "{seen:?}");
    assert!(seen.in_grace <= killed, "{seen:?}, and {killed} were killed");
    assert!(killed >= 10 && seen.exchanges >= 5, "{seen:?}, and {killed} were killed");
    fs::remove_dir_all(directory).unwrap();
}

#[cfg(unix)]
#[test]
fn g16_a_process_that_is_stopped_for_longer_than_its_lease_ends_no_login() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (address, seen) = endpoint(&runtime);
    let directory = temporary("stopped");
    log_in(&runtime, &address, &directory);
    let signal = |worker: &Worker, signal: &str| {
        let pid = worker.0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    };
    let workers: Vec<_> = (0..3).map(|_| spawn(&address, &directory, 300, LEASE)).collect();
    thread::sleep(Duration::from_millis(300));
    let before = seen.lock().unwrap().exchanges;
    signal(&workers[0], "-STOP");
    thread::sleep(LEASE * 2);
    let during = seen.lock().unwrap().exchanges - before;
    assert!(during > 0, "the other processes go on");
    signal(&workers[0], "-CONT");
    for worker in workers {
        assert_eq!(worker.wait().code(), Some(0), "{LOST}: login lost, {TORN}: file torn");
    }
    let seen = *seen.lock().unwrap();
    println!("{seen:?}");
    // One that was stopped on its way to the endpoint presents what another has used since.
    assert!(seen.in_grace + seen.reused <= 1, "{seen:?}");
    fs::remove_dir_all(directory).unwrap();
}
