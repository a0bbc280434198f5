//! Does one session keep up with 200 000 requests a second while its credential expires every
//! second?
//!
//! Forty tasks on a runtime of two threads send five requests per millisecond each, through clones
//! of one service, for a minute (`LOAD_SECONDS`). Each second the upstream, which is in memory,
//! begins to reject the current token. A refresh takes 5 ms. A task that has waited for a refresh
//! sends the requests that it owes at once, so a wait costs no load.
//!
//! The run fails if the slowest request in a thousand waits longer than the refresh and 50 ms, if a
//! second costs more than one refresh, if waiters are left, or if memory grows.

mod support;

use std::{
    convert::Infallible,
    env, fs,
    future::{Ready, ready},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::Empty;
use support::{page::Table, race::Effort, request::Head};
use tokio::{
    runtime::Builder,
    task::JoinSet,
    time::{interval, sleep},
};
use tower::{Layer, Service, ServiceExt};
use tower_refresh::{
    Origins, RefreshContext, RefreshLayer, ReplayBody, Session, Token, refresher_fn,
};

/// Accepts one token: the one of this number.
#[derive(Clone)]
struct Upstream(Arc<AtomicUsize>);

/// The number of requests for each tenth of a millisecond that they took.
struct Latencies(Vec<u64>);

const TASKS: usize = 40;
const BURST: usize = 5;
const TICK: Duration = Duration::from_millis(1);
const REFRESH: Duration = Duration::from_millis(5);
const SLACK: Duration = Duration::from_millis(50);
const EXPIRY: Duration = Duration::from_secs(1);
const SECONDS: u64 = 60;
const MORE_KILOBYTES: usize = 16 * 1024;
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/README.md");

fn main() -> ExitCode {
    let effort = Effort::from_args();
    if effort == Effort::List {
        return ExitCode::SUCCESS;
    }
    let seconds = env::var("LOAD_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let seconds = if effort == Effort::Full { seconds.unwrap_or(SECONDS) } else { 2 };
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime needs only memory").block_on(run(seconds, effort))
}

async fn run(seconds: u64, effort: Effort) -> ExitCode {
    let time = Duration::from_secs(seconds);
    let accepted = Arc::new(AtomicUsize::new(0));
    let refreshes = Arc::new(AtomicUsize::new(0));
    let refresher = refresher_fn({
        let (accepted, refreshes) = (accepted.clone(), refreshes.clone());
        move |_: RefreshContext| {
            let (accepted, refreshes) = (accepted.clone(), refreshes.clone());
            async move {
                refreshes.fetch_add(1, Ordering::Relaxed);
                sleep(REFRESH).await;
                Ok(token(accepted.load(Ordering::Acquire)))
            }
        }
    });
    let session = Session::builder(refresher)
        .credential(token(0))
        .refresh_limit(1000, Duration::ZERO)
        .build();
    let service =
        RefreshLayer::new(session.clone(), Origins::any()).layer(Upstream(accepted.clone()));

    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let mut service = service.clone();
        tasks.spawn(async move {
            let (mut latencies, mut ticks) = (Latencies::new(), interval(TICK));
            while start.elapsed() < time {
                ticks.tick().await;
                for _ in 0..BURST {
                    let request = Head::Own(4).request(Empty::<Bytes>::new());
                    let sent = Instant::now();
                    let service = service.ready().await.expect("the upstream is always ready");
                    let response = service.call(request).await.expect("the refresh succeeds");
                    assert_eq!(response.status(), StatusCode::OK);
                    latencies.add(sent.elapsed());
                }
            }
            latencies
        });
    }
    let (mut expiries, mut most_waiters, mut warm) = (0, 0, None);
    let mut expiry = interval(EXPIRY);
    expiry.tick().await;
    while start.elapsed() + EXPIRY < time {
        expiry.tick().await;
        expiries += 1;
        accepted.store(expiries, Ordering::Release);
        sleep(REFRESH / 2).await;
        most_waiters = most_waiters.max(session.waiters());
        if warm.is_none() && start.elapsed() > time / 4 {
            warm = Some(resident_kilobytes());
        }
    }
    let mut all = Latencies::new();
    while let Some(latencies) = tasks.join_next().await {
        all.merge(&latencies.expect("no task panics"));
    }
    let took = start.elapsed();
    let growth = resident_kilobytes().saturating_sub(warm.unwrap_or_default());
    let (slow, worst) = (all.quantile(0.999), all.quantile(1.0));
    let refreshes = refreshes.load(Ordering::Relaxed);

    let columns = ["requests per second", "99.9 % within", "all within", "expiries", "refreshes"];
    let more = ["most waiters seen", "waiters left", "memory grew by"];
    let mut table = Table::new("load", &[&columns[..], &more].concat());
    table.row([
        format!("{:.0}", all.count() as f64 / took.as_secs_f64()),
        format!("{:.1} ms", slow.as_secs_f64() * 1000.0),
        format!("{:.1} ms", worst.as_secs_f64() * 1000.0),
        expiries.to_string(),
        refreshes.to_string(),
        most_waiters.to_string(),
        session.waiters().to_string(),
        format!("{growth} KiB"),
    ]);
    table.publish(PAGE, effort == Effort::Full);
    let is_right = refreshes == expiries && session.waiters() == 0;
    // The latency of a test says more about the machine.
    let is_fast = effort != Effort::Full || slow <= REFRESH + SLACK;
    let is_flat = effort != Effort::Full || growth < MORE_KILOBYTES;
    if is_right && is_fast && is_flat { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn token(number: usize) -> Token {
    Token::bearer(format!("token-{number}")).expect("visible ASCII")
}

/// By `/proc`: zero where there is none.
fn resident_kilobytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

// === impl Upstream ===

impl Service<Request<ReplayBody<Empty<Bytes>>>> for Upstream {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<Empty<Bytes>>>) -> Self::Future {
        let number = request.headers().get(AUTHORIZATION).and_then(|value| {
            value.to_str().ok()?.strip_prefix("Bearer token-")?.parse::<usize>().ok()
        });
        let mut response = Response::new(Empty::new());
        if number != Some(self.0.load(Ordering::Acquire)) {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        ready(Ok(response))
    }
}

// === impl Latencies ===

impl Latencies {
    const UNIT: Duration = Duration::from_micros(100);

    fn new() -> Self {
        Self(vec![0; 10_000])
    }

    fn add(&mut self, latency: Duration) {
        let slot = (latency.as_nanos() / Self::UNIT.as_nanos()) as usize;
        let last = self.0.len() - 1;
        self.0[slot.min(last)] += 1;
    }

    fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(slot, more)| *slot += more);
    }

    fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The upper bound of the slot in which this share of the requests is complete.
    fn quantile(&self, share: f64) -> Duration {
        let enough = (self.count() as f64 * share).ceil() as u64;
        let mut sum = 0;
        let slot = self.0.iter().position(|count| {
            sum += count;
            sum >= enough
        });
        Self::UNIT * (slot.unwrap_or(self.0.len()) as u32 + 1)
    }
}
