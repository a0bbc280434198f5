//! Does a service get slower when several tasks use clones of it at once?
//!
//! Requests with four headers and an empty body, one after the other in each of 1, 2, 4 and 8 tasks
//! on a runtime of two threads, clone_use
//!
//! - the bare service, whose clones share nothing;
//! - tower-http's `AddAuthorization`, whose clones share the header value;
//! - tower's `Retry` with a policy that clones the request, over `AddAuthorization`;
//! - this crate's layer.
//!
//! Each task has its own clone of one service. It sends clone_use that clone, or clone_use a new
//! clone per request. The tables show the throughput of several tasks relative to that of one. With
//! two threads the ideal is 2; contention lowers it. Only the time in which both threads have a
//! core counts, so other load on the machine does not look like contention.
//!
//! Only the service is measured. The threads would also contend for the allocator, so no request is
//! allocated or freed during a measurement: the inner service returns the head that it gets, and
//! the task sends it again.

mod support;

use std::{
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use divan::black_box;
use http::{Request, Response, header, request::Parts};
use http_body::{Body, Frame};
use http_body_util::Full;
use support::{
    overlap::{Span, alone, together},
    page::Table,
    poll::{finish, run},
    race::{Effort, Race, median},
    request::{Head, full, token},
    stack::{authorize, refresh, retry},
};
use tokio::{
    runtime::Runtime,
    task::{JoinSet, yield_now},
};
use tower::{Service, ServiceExt};

const THREADS: usize = 2;
/// The numbers of tasks. The first one is the baseline.
const TASKS: [usize; 4] = [1, 2, 4, 8];
/// The number of requests that a task sends before it yields.
const CHUNK: usize = 32;
/// The duration of a sample. It is long enough for the second thread to get a core.
const SAMPLE: Duration = Duration::from_millis(10);
const TURNS: usize = 60;
const HEAD: Head = Head::Own(4);

/// The page with the tables of all benches of this package.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/README.md");

const SUBJECTS: [&str; 4] = ["bare", "`AddAuthorization`", "`Retry` + it", "layer"];
const BARE: usize = 0;
const LAYER: usize = 3;

type Inbound = Request<Full<Bytes>>;
type Reply = Response<HeadBody>;
/// The mean duration of a chunk. `None` if the threads did not overlap.
type Sample = Option<Duration>;

/// A service that returns the head of the request.
#[derive(Clone)]
struct EchoHead;

/// An empty body that carries the head of a request.
struct HeadBody(Parts);

/// The instance of a service that a request goes clone_use.
#[derive(Clone, Copy)]
enum CloneUse {
    /// The clone of the task.
    PerTask,
    /// A new clone for each request.
    PerRequest,
}

/// A service that tasks share by cloning it.
trait Shared:
    Service<Inbound, Response = Reply, Error: fmt::Debug, Future: Send> + Clone + Send + 'static
{
}

fn main() {
    let effort = Effort::from_args();
    if effort == Effort::List {
        return;
    }
    println!();
    println!(
        "Throughput of n tasks over that of one, while both of {THREADS} threads run: how a service scales"
    );
    println!("({})", effort.caption());
    for clone_use in [CloneUse::PerTask, CloneUse::PerRequest] {
        print_table(clone_use, effort);
    }
}

fn print_table(clone_use: CloneUse, effort: Effort) {
    let times = race(clone_use, effort.choose(SAMPLE, Duration::ZERO)).samples(effort.turns(TURNS));
    let times = |subject: usize, tasks: usize| times[subject * TASKS.len() + tasks].iter().copied();
    let scaling = |subject, tasks| {
        times(subject, 0).zip(times(subject, tasks)).map(|(one, many)| {
            let speedup = one?.as_secs_f64() / many?.as_secs_f64();
            Some(THREADS as f64 * speedup)
        })
    };

    println!();
    let columns = [&[clone_use.caption()][..], &SUBJECTS, &["layer / bare"]].concat();
    let mut table = Table::new(clone_use.table(), &columns);
    let nanos = (0..SUBJECTS.len()).map(|subject| {
        let nanos = times(subject, 0).map(|time| Some(time?.as_secs_f64() * 1e9 / CHUNK as f64));
        format!("{} ns", median_or_dash(nanos, 0))
    });
    let first = ["1 task, per request".to_owned()].into_iter();
    table.row(first.chain(nanos).chain([String::new()]));
    for (tasks, count) in TASKS.iter().enumerate().skip(1) {
        let scalings =
            (0..SUBJECTS.len()).map(|subject| median_or_dash(scaling(subject, tasks), 2));
        let relative = scaling(LAYER, tasks)
            .zip(scaling(BARE, tasks))
            .map(|(layer, bare)| Some(layer? / bare?));
        let first = [format!("{count} tasks")].into_iter();
        table.row(first.chain(scalings).chain([median_or_dash(relative, 2)]));
    }
    table.publish(PAGE, effort.is_measured());
}

/// The median of the turns with a sample, or a dash if there are none.
fn median_or_dash(values: impl Iterator<Item = Option<f64>>, digits: usize) -> String {
    let values: Vec<_> = values.flatten().collect();
    if values.is_empty() {
        "–".to_owned()
    } else {
        format!("{:.digits$}", median(values.into_iter()))
    }
}

/// A race of all subjects with all numbers of tasks.
fn race(clone_use: CloneUse, length: Duration) -> Race<'static, Sample> {
    let race = add_runners(Race::new(), EchoHead, clone_use, length);
    let race = add_runners(race, authorize(EchoHead), clone_use, length);
    let race = add_runners(race, retry(EchoHead), clone_use, length);
    add_runners(race, refresh(EchoHead, token()), clone_use, length)
}

fn add_runners(
    race: Race<'static, Sample>,
    service: impl Shared,
    clone_use: CloneUse,
    length: Duration,
) -> Race<'static, Sample> {
    let sampler = |tasks| {
        let service = service.clone();
        move || sample(&service, clone_use, tasks, length)
    };
    TASKS.into_iter().fold(race, |race, tasks| race.against(sampler(tasks)))
}

fn sample(service: &impl Shared, clone_use: CloneUse, tasks: usize, length: Duration) -> Sample {
    // A new runtime, because new threads start on idle cores. Threads of an old one may share a
    // core and never contend.
    let spans: Vec<_> = runtime().block_on(async {
        let until = Instant::now() + length;
        let tasks: JoinSet<_> =
            (0..tasks).map(|_| send_all(service.clone(), clone_use, until)).collect();
        tasks.join_all().await.into_iter().flatten().collect()
    });
    if tasks == 1 { alone(&spans) } else { together(spans) }
}

/// Sends requests one after another, in chunks between which the task yields.
async fn send_all<S: Shared>(mut service: S, clone_use: CloneUse, until: Instant) -> Vec<Span> {
    let mut spans = Vec::new();
    loop {
        // The sending thread allocates the request, so that requests of two threads share no cache
        // line.
        let mut request = HEAD.request(full(0));
        let start = Instant::now();
        for _ in 0..CHUNK {
            request = send(&mut service, request, clone_use);
        }
        let end = Instant::now();
        spans.push(Span { start, end });
        if end >= until {
            return spans;
        }
        yield_now().await;
    }
}

/// Sends a request clone_use a service that is never pending, and returns the request.
fn send<S: Shared>(service: &mut S, request: Inbound, clone_use: CloneUse) -> Inbound {
    let response = match clone_use {
        CloneUse::PerTask => run(service, request),
        CloneUse::PerRequest => finish(service.clone().oneshot(request)),
    };
    let HeadBody(mut head) = black_box(response).expect("the service is infallible").into_body();
    head.headers.remove(header::AUTHORIZATION);
    Request::from_parts(head, full(0))
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .build()
        .expect("a runtime without I/O")
}

// === impl EchoHead ===

impl<B> Service<Request<B>> for EchoHead {
    type Response = Reply;
    type Error = Infallible;
    type Future = Ready<Result<Reply, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = black_box(request).into_parts();
        drop(body);
        ready(Ok(Response::new(HeadBody(head))))
    }
}

// === impl HeadBody ===

impl Body for HeadBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

// === impl CloneUse ===

impl CloneUse {
    fn caption(self) -> &'static str {
        match self {
            Self::PerTask => "a clone for each task",
            Self::PerRequest => "a clone for each request",
        }
    }

    fn table(self) -> &'static str {
        match self {
            Self::PerTask => "contention, task",
            Self::PerRequest => "contention, request",
        }
    }
}

// === impl Shared ===

impl<S> Shared for S where
    S: Service<Inbound, Response = Reply, Error: fmt::Debug, Future: Send> + Clone + Send + 'static
{
}
