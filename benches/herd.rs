//! What does a herd cost: N requests rejected together, one refresh, N replays?
//!
//! The upstream is in memory and responds at the second poll, so all N requests are sent before the
//! first one is rejected. There are four subjects. Each makes a boxed future per request:
//!
//! - `layer`: the request goes through a clone of one service.
//! - `bare`: the request is sent twice, the second time as a clone that was made before the first
//!   send. There is no credential and no wait. The first response is 401, the second 200. This is
//!   the cost of the two sends alone.
//! - `by_hand`: `bare` with the work that no layer can avoid: a credential on both sends, and a
//!   wait for one refresh, which the first rejection starts.
//! - `late`: the layer without a refresh. The session's credential is replaced once all N requests
//!   are sent, so every rejection is late and replays at once. This is the cost of copying a head,
//!   restoring it and sending it twice. The difference to `layer` is the cost of the refresh and of
//!   waiting for it.
//!
//! Two drivers poll the futures:
//!
//! - `polled`: one task polls all futures in turns, which adds the least to the cost of a subject;
//! - `tasks`: every future has a task, as in a client.
//!
//! divan prints the time and the allocations of whole herds, and the memory of waiting requests.
//! This bench then prints ratios, from samples taken in turns.

mod support;

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use divan::{AllocProfiler, Bencher, black_box};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use support::{
    page::Table,
    poll::yield_once,
    race::{Effort, Race, median},
    request::{Head, TOKEN, full, token},
};
use tokio::{
    runtime::Runtime,
    sync::watch,
    task::{JoinSet, unconstrained, yield_now},
    time::sleep,
};
use tower::{Layer, Service, ServiceExt};
use tower_refresh::{
    Origins, Refresh, RefreshContext, RefreshLayer, Refresher, Session, Token, refresher_fn,
};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

/// The page with the tables of all benches of this package.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/README.md");

/// The sizes N of herds, and the number of samples for each.
const SIZES: [(usize, usize); 4] = [(100, 200), (FEW, 60), (10_000, 15), (MANY, 3)];
/// The sizes between which the growth of the cost per request is printed.
const FEW: usize = 1_000;
const MANY: usize = 100_000;

const HEAD: Head = Head::Own(4);
const NEW: &str = "the-new-token";
const INSTANT: Duration = Duration::ZERO;
const SLOW: Duration = Duration::from_millis(50);

/// Responds with 200 to requests with the accepted header, and with 401 to others, at the second
/// poll.
#[derive(Clone)]
struct Upstream {
    /// The accepted `Authorization`. `None` accepts requests without one.
    accepted: Option<HeaderValue>,
}

struct SecondPoll {
    response: Option<Reply>,
    polled: bool,
}

type Inbound = Request<Full<Bytes>>;
type Reply = Response<Empty<Bytes>>;
type Sending = <Refresh<Upstream> as Service<Inbound>>::Future;
type Answer = Pin<Box<dyn Future<Output = StatusCode> + Send>>;

/// The way in which the futures of a herd are polled.
#[derive(Clone, Copy)]
enum Driver {
    Polled,
    Tasks,
}

/// The way in which a herd is sent.
#[derive(Clone, Copy)]
enum Subject {
    Layer,
    Bare,
    ByHand,
    Late,
}

/// The futures of N requests that were not sent yet.
struct Herd {
    answers: Vec<Answer>,
}

/// A refresh that sleeps, and measures its duration.
#[derive(Clone)]
struct TimedRefresh {
    time: Duration,
    took: Arc<OnceLock<Duration>>,
}

fn main() {
    divan::main();
    let effort = Effort::from_args();
    if effort != Effort::List {
        println!();
        println!("Time per request of a herd of N requests ({})", effort.caption());
        print_instant(effort);
        print_slow(effort);
        print_sizes();
    }
}

// === Time and allocations of a herd ===

#[divan::bench(args = [100, 1_000, 10_000], sample_count = 10, sample_size = 1)]
fn polled_bare(bencher: Bencher, n: usize) {
    measure(bencher, Driver::Polled, Subject::Bare, n);
}

#[divan::bench(args = [100, 1_000, 10_000], sample_count = 10, sample_size = 1)]
fn polled_by_hand(bencher: Bencher, n: usize) {
    measure(bencher, Driver::Polled, Subject::ByHand, n);
}

#[divan::bench(args = [100, 1_000, 10_000], sample_count = 10, sample_size = 1)]
fn polled_late(bencher: Bencher, n: usize) {
    measure(bencher, Driver::Polled, Subject::Late, n);
}

#[divan::bench(args = [100, 1_000, 10_000], sample_count = 10, sample_size = 1)]
fn polled_layer(bencher: Bencher, n: usize) {
    measure(bencher, Driver::Polled, Subject::Layer, n);
}

#[divan::bench(args = [100, 1_000, 10_000], sample_count = 10, sample_size = 1)]
fn tasks_bare(bencher: Bencher, n: usize) {
    measure(bencher, Driver::Tasks, Subject::Bare, n);
}

#[divan::bench(args = [100, 1_000, 10_000], sample_count = 10, sample_size = 1)]
fn tasks_by_hand(bencher: Bencher, n: usize) {
    measure(bencher, Driver::Tasks, Subject::ByHand, n);
}

#[divan::bench(args = [100, 1_000, 10_000], sample_count = 10, sample_size = 1)]
fn tasks_late(bencher: Bencher, n: usize) {
    measure(bencher, Driver::Tasks, Subject::Late, n);
}

#[divan::bench(args = [100, 1_000, 10_000], sample_count = 10, sample_size = 1)]
fn tasks_layer(bencher: Bencher, n: usize) {
    measure(bencher, Driver::Tasks, Subject::Layer, n);
}

fn measure(bencher: Bencher, driver: Driver, subject: Subject, n: usize) {
    let runtime = runtime();
    bencher
        .with_inputs(|| Herd::of(subject, n, TimedRefresh::new(INSTANT)))
        .bench_local_values(|herd| herd.run(&runtime, driver));
}

// === Memory of a herd that waits ===

/// Sends a herd and polls it until all requests wait for the refresh. The additional memory of a
/// waiting request is (allocated - freed) / N, less the inline size of the request.
#[divan::bench(args = [100, 1_000, 10_000, 100_000], sample_count = 1, sample_size = 1)]
fn waiting(bencher: Bencher, n: usize) {
    let runtime = runtime();
    let _entered = runtime.enter();
    let mut cx = Context::from_waker(Waker::noop());
    bencher
        .with_inputs(|| {
            let herd: Vec<_> = (0..n).map(|_| (Some(request()), None)).collect();
            (unanswered(), herd)
        })
        .bench_local_refs(|(service, herd)| {
            for (request, answer) in herd.iter_mut() {
                *answer = request.take().map(|request| Box::pin(call(service, request)));
            }
            let mut waits = |answer: &mut Option<Pin<Box<Sending>>>| {
                answer.as_mut().is_some_and(|answer| answer.as_mut().poll(&mut cx).is_pending())
            };
            assert!(
                herd.iter_mut().all(|(_, answer)| waits(answer)),
                "the upstream responds at the second poll"
            );
            assert!(herd.iter_mut().all(|(_, answer)| waits(answer)), "the refresh never ends");
        });
}

// === Ratios ===

/// Prints the tables for a refresh that takes no time.
fn print_instant(effort: Effort) {
    const SUBJECTS: [Subject; 4] = [Subject::Layer, Subject::Bare, Subject::ByHand, Subject::Late];
    let runtime = runtime();
    for (driver, name, drive) in [
        (Driver::Polled, "herd, polled", "one task polls all"),
        (Driver::Tasks, "herd, tasks", "a task for each"),
    ] {
        println!();
        let times = ["layer", "bare", "by hand", "late"];
        let ratios = ["layer / bare", "by hand / bare", "late / bare"];
        let mut table = Table::new(name, &[&[drive][..], &times, &ratios].concat());
        let mut growth = [0.0; SUBJECTS.len()];
        for (n, turns) in sizes(effort) {
            let mut race = Race::new();
            for subject in SUBJECTS {
                race = race.against(sampler(&runtime, driver, subject, n, INSTANT));
            }
            let samples = race.samples(effort.turns(turns));
            let nanos = [0, 1, 2, 3].map(|subject| median(samples[subject].iter().copied()));
            let to_bare = |subject: usize| {
                median(samples[subject].iter().zip(&samples[1]).map(|(own, bare)| own / bare))
            };
            let times = nanos.iter().map(|nanos| format!("{nanos:.0} ns"));
            let ratios = [0, 2, 3].map(|subject| format!("{:.2}", to_bare(subject)));
            table.row([n.to_string()].into_iter().chain(times).chain(ratios));
            match n {
                FEW => growth = nanos,
                MANY => growth = [0, 1, 2, 3].map(|subject| nanos[subject] / growth[subject]),
                _ => {}
            }
        }
        if effort.is_measured() {
            let [layer, bare, by_hand, late] = growth;
            let ratios = [layer / bare, by_hand / bare, late / bare];
            let growth = growth.iter().chain(&ratios).map(|growth| format!("{growth:.2}"));
            table.row([format!("growth from {FEW}")].into_iter().chain(growth));
        }
        table.publish(PAGE, effort.is_measured());
    }
}

/// Prints the table for a refresh that takes long in real time.
fn print_slow(effort: Effort) {
    println!();
    let caption = format!("a refresh of {SLOW:?}, a task for each");
    let mut table = Table::new("herd, slow refresh", &[&caption, "beyond it and bare"]);
    let runtime = runtime();
    for (n, turns) in sizes(effort) {
        let samples = Race::new()
            .against(sampler(&runtime, Driver::Tasks, Subject::Layer, n, SLOW))
            .against(sampler(&runtime, Driver::Tasks, Subject::Bare, n, SLOW))
            .samples(effort.turns(turns.min(20)));
        let beyond = samples[0].iter().zip(&samples[1]).map(|(layer, bare)| layer - bare);
        table.row([n.to_string(), format!("{:.0} ns", median(beyond))]);
    }
    table.publish(PAGE, effort.is_measured());
}

/// Prints the inline sizes of a request and of its future.
fn print_sizes() {
    println!();
    println!(
        "A request takes {} B inline, its response future {} B, and the inner future {} B.",
        size_of::<Inbound>(),
        size_of::<Sending>(),
        size_of::<SecondPoll>(),
    );
}

/// The sizes to measure, without the largest ones in a test run.
fn sizes(effort: Effort) -> impl Iterator<Item = (usize, usize)> {
    let most = effort.choose(MANY, FEW);
    SIZES.into_iter().filter(move |(n, _)| *n <= most)
}

/// Measures nanoseconds per request, without the time of the refresh.
fn sampler(
    runtime: &Runtime,
    driver: Driver,
    subject: Subject,
    n: usize,
    refresh: Duration,
) -> impl FnMut() -> f64 {
    move || {
        let refresh = TimedRefresh::new(refresh);
        let herd = Herd::of(subject, n, refresh.clone());
        let start = Instant::now();
        herd.run(runtime, driver);
        // Negative if the rejections alone take longer than the refresh.
        let nanos = start.elapsed().as_nanos() as f64 - refresh.took().as_nanos() as f64;
        nanos / n as f64
    }
}

// === Subjects ===

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O")
}

fn request() -> Inbound {
    HEAD.request(full(0))
}

fn authorization(token: &str) -> HeaderValue {
    HeaderValue::try_from(format!("Bearer {token}")).expect("visible ASCII")
}

fn refresh(refresher: impl Refresher) -> Refresh<Upstream> {
    let upstream = Upstream { accepted: Some(authorization(NEW)) };
    RefreshLayer::new(Session::new(token(), refresher), Origins::any()).layer(upstream)
}

/// A service whose refresh never ends.
fn unanswered() -> Refresh<Upstream> {
    refresh(refresher_fn(|_: RefreshContext| pending()))
}

fn call(service: &mut Refresh<Upstream>, request: Inbound) -> Sending {
    let ready = Service::<Inbound>::poll_ready(service, &mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Ok(()))), "the upstream is always ready");
    service.call(request)
}

// === impl TimedRefresh ===

impl TimedRefresh {
    fn new(time: Duration) -> Self {
        Self { time, took: Arc::default() }
    }

    async fn run(self) {
        if !self.time.is_zero() {
            let start = Instant::now();
            sleep(self.time).await;
            self.took.set(start.elapsed()).expect("a herd is refreshed once");
        }
    }

    fn took(&self) -> Duration {
        self.took.get().copied().unwrap_or_default()
    }
}

// === impl Herd ===

impl Herd {
    fn of(subject: Subject, n: usize, refresh: TimedRefresh) -> Self {
        let answers = match subject {
            Subject::Layer => Self::layer(n, refresh),
            Subject::Bare => Self::bare(n),
            Subject::ByHand => Self::by_hand(n, refresh),
            Subject::Late => Self::late(n),
        };
        Self { answers }
    }

    fn layer(n: usize, timed: TimedRefresh) -> Vec<Answer> {
        let refresher = refresher_fn(move |_: RefreshContext| {
            let timed = timed.clone();
            async move {
                timed.run().await;
                Ok(Token::bearer(NEW).expect("visible ASCII"))
            }
        });
        let service = refresh(refresher);
        let answer = || {
            let (service, request) = (service.clone(), request());
            Box::pin(async move {
                service.oneshot(request).await.expect("the refresh succeeds").status()
            }) as _
        };
        (0..n).map(|_| answer()).collect()
    }

    fn bare(n: usize) -> Vec<Answer> {
        let rejecting = Upstream { accepted: Some(authorization(NEW)) };
        let accepting = Upstream { accepted: None };
        let answer = || {
            let (rejecting, accepting, request) = (rejecting.clone(), accepting.clone(), request());
            Box::pin(async move {
                let again = request.clone();
                let first: Result<Reply, Infallible> = rejecting.oneshot(request).await;
                assert_eq!(
                    first.expect("the upstream is infallible").status(),
                    StatusCode::UNAUTHORIZED
                );
                yield_once().await;
                accepting.oneshot(again).await.expect("the upstream is infallible").status()
            }) as _
        };
        (0..n).map(|_| answer()).collect()
    }

    /// The last request replaces the credential after its first poll, when all requests are sent.
    fn late(n: usize) -> Vec<Answer> {
        let refresher =
            refresher_fn(|_: RefreshContext| async { panic!("all rejections are late") });
        let session = Session::new(token(), refresher);
        let upstream = Upstream { accepted: Some(authorization(NEW)) };
        let service = RefreshLayer::new(session.clone(), Origins::any()).layer(upstream);
        let answer = |number| {
            let (service, request) = (service.clone(), request());
            let replaces = (number + 1 == n).then(|| session.clone());
            Box::pin(async move {
                let mut response = pin!(service.oneshot(request));
                if let Some(session) = replaces {
                    let first = poll_fn(|cx| Poll::Ready(response.as_mut().poll(cx))).await;
                    assert!(first.is_pending(), "the upstream responds at the second poll");
                    let new = Token::bearer(NEW).expect("visible ASCII");
                    session.replace(session.state().login(), new).expect("the login goes on");
                }
                response.await.expect("the replay is accepted").status()
            }) as _
        };
        (0..n).map(answer).collect()
    }

    fn by_hand(n: usize, timed: TimedRefresh) -> Vec<Answer> {
        let upstream = Upstream { accepted: Some(authorization(NEW)) };
        let credential = Arc::new(watch::Sender::new(authorization(TOKEN)));
        let renewing = Arc::new(AtomicBool::new(false));
        let answer = || {
            let (service, request) = (upstream.clone(), request());
            let (credential, renewing, timed) =
                (credential.clone(), renewing.clone(), timed.clone());
            Box::pin(async move {
                let (mut replay, mut request) = (request.clone(), request);
                let mut changes = credential.subscribe();
                let sent = changes.borrow_and_update().clone();
                request.headers_mut().insert(header::AUTHORIZATION, sent);
                let first = service.clone().oneshot(request).await;
                assert_eq!(
                    first.expect("the upstream is infallible").status(),
                    StatusCode::UNAUTHORIZED
                );
                if !renewing.swap(true, Ordering::Relaxed) {
                    tokio::spawn(async move {
                        timed.run().await;
                        credential.send_replace(authorization(NEW));
                    });
                }
                changes.changed().await.expect("the refresh succeeds");
                let renewed = changes.borrow().clone();
                replay.headers_mut().insert(header::AUTHORIZATION, renewed);
                service.oneshot(replay).await.expect("the upstream is infallible").status()
            }) as _
        };
        (0..n).map(|_| answer()).collect()
    }

    fn run(self, runtime: &Runtime, driver: Driver) {
        let Self { answers } = self;
        runtime.block_on(async {
            match driver {
                // Without tokio's budget, which would end in the middle of so many futures.
                Driver::Polled => unconstrained(poll_in_turns(answers)).await,
                Driver::Tasks => {
                    let mut tasks: JoinSet<_> = answers.into_iter().collect();
                    while let Some(status) = tasks.join_next().await {
                        assert_eq!(status.expect("no task panics"), StatusCode::OK);
                    }
                }
            }
        });
    }
}

/// Polls all futures in each turn, until none is left.
async fn poll_in_turns(mut answers: Vec<Answer>) {
    let unanswered = |cx: &mut Context<'_>, answer: &mut Answer| match answer.as_mut().poll(cx) {
        Poll::Ready(status) => {
            assert_eq!(status, StatusCode::OK);
            false
        }
        Poll::Pending => true,
    };
    while !answers.is_empty() {
        poll_fn(|cx| {
            answers.retain_mut(|answer| unanswered(cx, answer));
            Poll::Ready(())
        })
        .await;
        // Lets the task of the flight run.
        yield_now().await;
    }
}

// === impl Upstream ===

impl Upstream {
    fn answer<B>(&self, request: Request<B>) -> Reply {
        let mut response = Response::new(Empty::new());
        if request.headers().get(header::AUTHORIZATION) != self.accepted.as_ref() {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        drop(black_box(request));
        response
    }
}

impl<B> Service<Request<B>> for Upstream {
    type Response = Reply;
    type Error = Infallible;
    type Future = SecondPoll;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> SecondPoll {
        SecondPoll { response: Some(self.answer(request)), polled: false }
    }
}

// === impl SecondPoll ===

impl Future for SecondPoll {
    type Output = Result<Reply, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.polled {
            self.polled = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(self.response.take().expect("polled after its end")))
    }
}
