//! What does a herd cost: N requests rejected together, one refresh, N replays?
//!
//! In memory, with an upstream whose answers come at their second poll, so that all N are on their
//! way before the first is rejected. Four subjects, each a boxed future for every request, polled
//! four times:
//!
//! - `layer`: through clones of one service;
//! - `bare`: sent twice, the second time with a clone that was made before the first, as for a
//!   replay, and nothing in between: what the two waves cost by themselves. It has no credential;
//!   its first answers are 401, and its second 200;
//! - `by_hand`: `bare` with what no layer can do without: a credential on both, and a wait for one
//!   refresh that the first rejection starts;
//! - `as_text`: the same, but with heads that are copied as text, as this crate copies them, and
//!   restored for the replay: what a layer can't do without whose fresh requests are to cost
//!   little.
//!
//! They are driven in the same two ways:
//!
//! - `polled`: all futures by one task in turns, so that nearly nothing but the subject's own cost
//!   is added;
//! - `tasks`: each by a task of its own, as in a client.
//!
//! divan prints time and allocations of whole herds, and of what `waiting` requests take; then this
//! bench the ratios, from samples taken in turns.

/// The crate's own, which is not public.
#[allow(dead_code, unused_imports, reason = "its tests don't run here")]
#[path = "../src/replay/head.rs"]
#[allow(dead_code, reason = "the bench copies and restores")]
mod head;
mod support;

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use divan::{AllocProfiler, Bencher, black_box};
use head::HeadCopy;
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

/// N, and how many samples its figures are made of.
const SIZES: [(usize, usize); 4] = [(100, 200), (FEW, 60), (10_000, 15), (MANY, 3)];
/// Between these two the cost of a request must not grow.
const FEW: usize = 1_000;
const MANY: usize = 100_000;

const HEAD: Head = Head::Own(4);
const NEW: &str = "the-new-token";
const INSTANT: Duration = Duration::ZERO;
const SLOW: Duration = Duration::from_millis(50);

/// 200 for what it accepts, 401 for everything else, at the second poll.
#[derive(Clone)]
struct Upstream {
    /// `None` for requests without a credential.
    accepted: Option<HeaderValue>,
}

struct Later {
    response: Option<Reply>,
    polled: bool,
}

type Inbound = Request<Full<Bytes>>;
type Reply = Response<Empty<Bytes>>;
type Sending = <Refresh<Upstream> as Service<Inbound>>::Future;
type Answer = Pin<Box<dyn Future<Output = StatusCode> + Send>>;

/// How the futures of a herd are driven to their ends.
#[derive(Clone, Copy)]
enum Driver {
    Polled,
    Tasks,
}

/// What a request of a herd goes through.
#[derive(Clone, Copy)]
enum Subject {
    Layer,
    Bare,
    ByHand,
    AsText,
}

/// N requests that are ready to be sent.
struct Herd {
    answers: Vec<Answer>,
}

/// A refresh that takes some time, and how long it took this time.
#[derive(Clone)]
struct Refreshing {
    time: Duration,
    took: Arc<OnceLock<Duration>>,
}

fn main() {
    divan::main();
    let effort = Effort::from_args();
    if effort != Effort::List {
        println!();
        println!("Of a herd of N requests, per request ({})", effort.caption());
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
fn polled_as_text(bencher: Bencher, n: usize) {
    measure(bencher, Driver::Polled, Subject::AsText, n);
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
fn tasks_as_text(bencher: Bencher, n: usize) {
    measure(bencher, Driver::Tasks, Subject::AsText, n);
}

#[divan::bench(args = [100, 1_000, 10_000], sample_count = 10, sample_size = 1)]
fn tasks_layer(bencher: Bencher, n: usize) {
    measure(bencher, Driver::Tasks, Subject::Layer, n);
}

fn measure(bencher: Bencher, driver: Driver, subject: Subject, n: usize) {
    let runtime = runtime();
    bencher
        .with_inputs(|| Herd::of(subject, n, Refreshing::new(INSTANT)))
        .bench_local_values(|herd| herd.run(&runtime, driver));
}

// === Memory of a herd that waits ===

/// From the calls until all wait for the refresh, each in a box of its own. What is freed meanwhile
/// is what the requests came with on the heap. So a waiting request takes, beyond itself, what is
/// allocated, less what is freed, over N, less its own inline size.
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
                "the upstream takes its time"
            );
            assert!(
                herd.iter_mut().all(|(_, answer)| waits(answer)),
                "the refresher never answers"
            );
        });
}

// === Ratios ===

/// With a refresh that takes no time.
fn print_instant(effort: Effort) {
    const SUBJECTS: [Subject; 4] =
        [Subject::Layer, Subject::Bare, Subject::ByHand, Subject::AsText];
    let runtime = runtime();
    for (driver, name, drive) in [
        (Driver::Polled, "herd, polled", "one task polls all"),
        (Driver::Tasks, "herd, tasks", "a task for each"),
    ] {
        println!();
        let times = ["layer", "bare", "by hand", "as text"];
        let ratios = ["layer / bare", "by hand / bare", "as text / bare"];
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
            let [layer, bare, by_hand, as_text] = growth;
            let ratios = [layer / bare, by_hand / bare, as_text / bare];
            let growth = growth.iter().chain(&ratios).map(|growth| format!("{growth:.2}"));
            table.row([format!("growth from {FEW}")].into_iter().chain(growth));
        }
        table.publish(PAGE, effort.is_measured());
    }
}

/// With a refresh that takes long, by the real clock.
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

/// What a waiting request takes inline, wherever its caller keeps it.
fn print_sizes() {
    println!();
    println!(
        "A request takes {} B inline, its response future {} B, and that of the service below {} B.",
        size_of::<Inbound>(),
        size_of::<Sending>(),
        size_of::<Later>(),
    );
}

/// To see that it runs, a few will do.
fn sizes(effort: Effort) -> impl Iterator<Item = (usize, usize)> {
    let most = effort.choose(MANY, FEW);
    SIZES.into_iter().filter(move |(n, _)| *n <= most)
}

/// Nanoseconds per request, without the refresh.
fn sampler(
    runtime: &Runtime,
    driver: Driver,
    subject: Subject,
    n: usize,
    refresh: Duration,
) -> impl FnMut() -> f64 {
    move || {
        let refresh = Refreshing::new(refresh);
        let herd = Herd::of(subject, n, refresh.clone());
        let start = Instant::now();
        herd.run(runtime, driver);
        // Less than nothing where the rejections alone take longer than the refresh.
        let nanos = start.elapsed().as_nanos() as f64 - refresh.took().as_nanos() as f64;
        nanos / n as f64
    }
}

// === What is measured ===

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

fn as_clone(request: Inbound) -> (Inbound, Inbound) {
    let kept = request.clone();
    (request, kept)
}

fn as_text(request: Inbound) -> (Inbound, (HeadCopy, Full<Bytes>)) {
    let (head, body) = request.into_parts();
    let kept = (HeadCopy::of(&head), body.clone());
    (Request::from_parts(head, body), kept)
}

fn of_text((head, body): (HeadCopy, Full<Bytes>)) -> Inbound {
    Request::from_parts(head.restore().0, body)
}

/// A service whose refresh is never over.
fn unanswered() -> Refresh<Upstream> {
    refresh(refresher_fn(|_: RefreshContext| pending()))
}

fn call(service: &mut Refresh<Upstream>, request: Inbound) -> Sending {
    let ready = Service::<Inbound>::poll_ready(service, &mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Ok(()))), "the upstream is always ready");
    service.call(request)
}

// === impl Refreshing ===

impl Refreshing {
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
    fn of(subject: Subject, n: usize, refresh: Refreshing) -> Self {
        let answers = match subject {
            Subject::Layer => Self::layer(n, refresh),
            Subject::Bare => Self::bare(n),
            Subject::ByHand => Self::by_hand(n, refresh, as_clone, |kept| kept),
            Subject::AsText => Self::by_hand(n, refresh, as_text, of_text),
        };
        Self { answers }
    }

    fn layer(n: usize, refreshing: Refreshing) -> Vec<Answer> {
        let refresher = refresher_fn(move |_: RefreshContext| {
            let refreshing = refreshing.clone();
            async move {
                refreshing.run().await;
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
                assert_eq!(first.expect("nothing fails here").status(), StatusCode::UNAUTHORIZED);
                yield_once().await;
                accepting.oneshot(again).await.expect("nothing fails here").status()
            }) as _
        };
        (0..n).map(|_| answer()).collect()
    }

    fn by_hand<K: Send + 'static>(
        n: usize,
        refreshing: Refreshing,
        keep: impl Fn(Inbound) -> (Inbound, K) + Copy + Send + 'static,
        again: impl Fn(K) -> Inbound + Copy + Send + 'static,
    ) -> Vec<Answer> {
        let upstream = Upstream { accepted: Some(authorization(NEW)) };
        let credential = Arc::new(watch::Sender::new(authorization(TOKEN)));
        let renewing = Arc::new(AtomicBool::new(false));
        let answer = || {
            let (service, request) = (upstream.clone(), request());
            let (credential, renewing, refreshing) =
                (credential.clone(), renewing.clone(), refreshing.clone());
            Box::pin(async move {
                let (mut request, kept) = keep(request);
                let mut changes = credential.subscribe();
                let sent = changes.borrow_and_update().clone();
                request.headers_mut().insert(header::AUTHORIZATION, sent);
                let first = service.clone().oneshot(request).await;
                assert_eq!(first.expect("nothing fails here").status(), StatusCode::UNAUTHORIZED);
                if !renewing.swap(true, Ordering::Relaxed) {
                    tokio::spawn(async move {
                        refreshing.run().await;
                        credential.send_replace(authorization(NEW));
                    });
                }
                changes.changed().await.expect("the refresh succeeds");
                let renewed = changes.borrow().clone();
                let mut request = again(kept);
                request.headers_mut().insert(header::AUTHORIZATION, renewed);
                service.oneshot(request).await.expect("nothing fails here").status()
            }) as _
        };
        (0..n).map(|_| answer()).collect()
    }

    fn run(self, runtime: &Runtime, driver: Driver) {
        let Self { answers } = self;
        runtime.block_on(async {
            match driver {
                // Without a budget: a task that has many futures would get to the end of its own in
                // the middle of them.
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

/// All of them at each turn, until none is left.
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
        // For the flight.
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
    type Future = Later;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Later {
        Later { response: Some(self.answer(request)), polled: false }
    }
}

// === impl Later ===

impl Future for Later {
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
