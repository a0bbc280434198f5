//! What does a herd cost: N requests rejected together, one refresh, N replays?
//!
//! In memory, with an upstream whose answers come at their second poll, so that all N are on their way before the first
//! is rejected, and with a refresher that answers at once. Against N bare requests that are sent twice, the second time
//! with a clone of the head: what the two waves cost by themselves. Both are driven in the same two ways:
//!
//! - `polled`: all futures by one task in turns, so that nearly nothing but the layer's own cost is added;
//! - `tasks`: each by a task of its own, as in a client.
//!
//! divan prints time and allocations of whole herds, and of single requests what they hold while they are `in_flight`
//! and what more once they are `waiting`; then this bench the ratios, from samples taken in turns.

mod support;

use bytes::Bytes;
use divan::{AllocProfiler, Bencher, black_box};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use support::{
    poll::yield_once,
    race::{Effort, Race},
    request::{Head, full, token},
};
use tokio::{runtime::Runtime, task::JoinSet};
use tower::{Layer, Service, ServiceExt};
use tower_refresh::{Refresh, RefreshContext, RefreshLayer, Refresher, Session, Token, refresher_fn};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

/// N, and how many samples a ratio is made of.
const SIZES: [(usize, usize); 3] = [(100, 200), (1_000, 50), (10_000, 15)];
const HEAD: Head = Head::Own(4);
const NEW: &str = "the-new-token";

/// 200 for the new token, 401 for everything else, at the second poll.
#[derive(Clone)]
struct Upstream {
    accepted: HeaderValue,
}

struct Later {
    response: Option<Reply>,
    polled: bool,
}

type Inbound = Request<Full<Bytes>>;
type Reply = Response<Empty<Bytes>>;
type Answer = Pin<Box<dyn Future<Output = StatusCode> + Send>>;

/// How the futures of a herd are driven to their ends.
#[derive(Clone, Copy)]
enum Driver {
    Polled,
    Tasks,
}

/// N requests that are ready to be sent.
struct Herd {
    answers: Vec<Answer>,
    expected: StatusCode,
}

fn main() {
    divan::main();
    let effort = Effort::from_args();
    if effort != Effort::List {
        print_ratios(effort);
    }
}

// === Time and allocations of a herd ===

#[divan::bench(args = [100, 1_000, 10_000], sample_count = 10, sample_size = 1)]
fn polled_bare(bencher: Bencher, n: usize) {
    measure(bencher, Driver::Polled, || Herd::bare(n));
}

#[divan::bench(args = [100, 1_000, 10_000], sample_count = 10, sample_size = 1)]
fn polled_layer(bencher: Bencher, n: usize) {
    measure(bencher, Driver::Polled, || Herd::layer(n));
}

#[divan::bench(args = [100, 1_000, 10_000], sample_count = 10, sample_size = 1)]
fn tasks_bare(bencher: Bencher, n: usize) {
    measure(bencher, Driver::Tasks, || Herd::bare(n));
}

#[divan::bench(args = [100, 1_000, 10_000], sample_count = 10, sample_size = 1)]
fn tasks_layer(bencher: Bencher, n: usize) {
    measure(bencher, Driver::Tasks, || Herd::layer(n));
}

fn measure(bencher: Bencher, driver: Driver, herd: impl Fn() -> Herd) {
    let runtime = runtime();
    bencher.with_inputs(herd).bench_local_values(|herd| herd.run(&runtime, driver));
}

// === Allocations of one request of a herd of N ===

/// From the call until the request is on its way. What is freed here is what the request came with.
mod in_flight {
    use super::*;

    #[divan::bench(name = "100", sample_count = 1, sample_size = 100)]
    fn n_100(bencher: Bencher) {
        send(bencher);
    }

    #[divan::bench(name = "1000", sample_count = 1, sample_size = 1_000)]
    fn n_1_000(bencher: Bencher) {
        send(bencher);
    }

    #[divan::bench(name = "10000", sample_count = 1, sample_size = 10_000)]
    fn n_10_000(bencher: Bencher) {
        send(bencher);
    }

    fn send(bencher: Bencher) {
        let mut service = unanswered();
        bencher.with_inputs(request).bench_local_values(|request| call(&mut service, request));
    }
}

/// From the rejection until the request waits for the refresh.
mod waiting {
    use super::*;

    #[divan::bench(name = "100", sample_count = 1, sample_size = 100)]
    fn n_100(bencher: Bencher) {
        reject(bencher);
    }

    #[divan::bench(name = "1000", sample_count = 1, sample_size = 1_000)]
    fn n_1_000(bencher: Bencher) {
        reject(bencher);
    }

    #[divan::bench(name = "10000", sample_count = 1, sample_size = 10_000)]
    fn n_10_000(bencher: Bencher) {
        reject(bencher);
    }

    fn reject(bencher: Bencher) {
        let runtime = runtime();
        let _entered = runtime.enter();
        let mut service = unanswered();
        let mut cx = Context::from_waker(Waker::noop());
        bencher
            .with_inputs(|| {
                let mut answer = Box::pin(call(&mut service, request()));
                assert!(answer.as_mut().poll(&mut cx).is_pending(), "the upstream takes its time");
                answer
            })
            .bench_local_refs(|answer| {
                let waits = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
                assert!(waits, "the refresher never answers");
            });
    }
}

// === Ratios ===

fn print_ratios(effort: Effort) {
    println!();
    println!("Time per request of a herd through the layer, and its ratio to two waves of bare requests");
    println!("({})", effort.caption());
    println!();
    println!("{:<10}{:>24}{:>24}", "N", "polled", "tasks");
    let runtime = runtime();
    for (n, turns) in SIZES {
        print!("{n:<10}");
        for driver in [Driver::Polled, Driver::Tasks] {
            let standings = Race::of(sampler(&runtime, driver, move || Herd::layer(n)))
                .against(sampler(&runtime, driver, move || Herd::bare(n)))
                .run(effort.turns(turns));
            let nanos = standings[0].time.as_secs_f64() * 1e9 / n as f64;
            print!("{nanos:>13.0} ns {:>8.2}", standings[1].ratio);
        }
        println!();
    }
    println!();
    let future = call(&mut unanswered(), request());
    println!("A response future takes {} B, and that of the service below {} B.", size_of_val(&future), {
        size_of_val(&Upstream::new().call(request()))
    });
}

fn sampler<'a>(
    runtime: &'a Runtime,
    driver: Driver,
    herd: impl Fn() -> Herd + 'a,
) -> impl FnMut() -> Duration + 'a {
    move || {
        let herd = herd();
        let start = Instant::now();
        herd.run(runtime, driver);
        start.elapsed()
    }
}

// === What is measured ===

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime without I/O")
}

fn request() -> Inbound {
    HEAD.request(full(0))
}

fn refresh(refresher: impl Refresher) -> Refresh<Upstream> {
    RefreshLayer::new(Session::new(token(), refresher)).layer(Upstream::new())
}

/// A service whose refresh is never over.
fn unanswered() -> Refresh<Upstream> {
    refresh(refresher_fn(|_: RefreshContext| pending()))
}

fn call(
    service: &mut Refresh<Upstream>,
    request: Inbound,
) -> <Refresh<Upstream> as Service<Inbound>>::Future {
    let ready = Service::<Inbound>::poll_ready(service, &mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Ok(()))), "the upstream is always ready");
    service.call(request)
}

// === impl Herd ===

impl Herd {
    /// Each request through a clone of one service.
    fn layer(n: usize) -> Self {
        let refresher =
            refresher_fn(|_: RefreshContext| async { Ok(Token::bearer(NEW).expect("visible ASCII")) });
        let service = refresh(refresher);
        let answer = || {
            let (service, request) = (service.clone(), request());
            Box::pin(async move { service.oneshot(request).await.expect("the refresh succeeds").status() })
                as _
        };
        Self { answers: (0..n).map(|_| answer()).collect(), expected: StatusCode::OK }
    }

    /// The same two waves, without anything in between but the wait for it.
    fn bare(n: usize) -> Self {
        let service = Upstream::new();
        let answer = || {
            let (service, request) = (service.clone(), request());
            Box::pin(async move {
                let again = request.clone();
                let first: Result<Reply, Infallible> = service.clone().oneshot(request).await;
                drop(black_box(first));
                yield_once().await;
                service.oneshot(again).await.expect("nothing fails here").status()
            }) as _
        };
        Self { answers: (0..n).map(|_| answer()).collect(), expected: StatusCode::UNAUTHORIZED }
    }

    fn run(self, runtime: &Runtime, driver: Driver) {
        let Self { mut answers, expected } = self;
        runtime.block_on(async move {
            match driver {
                Driver::Polled => {
                    while !answers.is_empty() {
                        let unanswered =
                            |cx: &mut Context<'_>, answer: &mut Answer| match answer.as_mut().poll(cx) {
                                Poll::Ready(status) => {
                                    assert_eq!(status, expected);
                                    false
                                }
                                Poll::Pending => true,
                            };
                        poll_fn(|cx| {
                            answers.retain_mut(|answer| unanswered(cx, answer));
                            Poll::Ready(())
                        })
                        .await;
                        // For the flight.
                        tokio::task::yield_now().await;
                    }
                }
                Driver::Tasks => {
                    let mut tasks: JoinSet<_> = answers.into_iter().collect();
                    while let Some(status) = tasks.join_next().await {
                        assert_eq!(status.expect("no task panics"), expected);
                    }
                }
            }
        });
    }
}

// === impl Upstream ===

impl Upstream {
    fn new() -> Self {
        Self { accepted: HeaderValue::try_from(format!("Bearer {NEW}")).expect("visible ASCII") }
    }

    fn answer<B>(&self, request: Request<B>) -> Reply {
        let mut response = Response::new(Empty::new());
        if request.headers().get(header::AUTHORIZATION) != Some(&self.accepted) {
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
