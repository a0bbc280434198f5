//! Does a service get slower when several tasks use clones of it at once?
//!
//! Requests with four headers and an empty body, one after the other in each of 1, 2, 4 and 8 tasks
//! on a runtime of two threads, through
//!
//! - the bare service, whose clones share nothing;
//! - tower-http's `AddAuthorization`, whose clones share the header value;
//! - tower's `Retry` with a policy that clones the request, over `AddAuthorization`;
//! - this crate's layer.
//!
//! Each task has its own clone of one service, and sends through that, or through a fresh clone for
//! every request. What is printed is the throughput of several tasks over that of one: twice as
//! much, with two threads, unless these wait for one another. Only what happens while both threads
//! have a core is counted, so that other work on the machine does not pass for waiting.
//!
//! Only the service is measured. Its threads would meet in the allocator too, so no request is made
//! or freed meanwhile: the service inside answers with the head that it was given, and the task
//! sends that again.

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
/// The first is what the others are compared to.
const TASKS: [usize; 4] = [1, 2, 4, 8];
/// How many requests a task sends before another one has its turn.
const CHUNK: usize = 32;
/// How long a sample takes: until the second thread has a core too, if it has to wait for one.
const SAMPLE: Duration = Duration::from_millis(10);
const TURNS: usize = 60;
const HEAD: Head = Head::Own(4);

/// The page with the tables of all benches of this package.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/README.md");

const SUBJECTS: [&str; 4] = ["bare", "`AddAuthorization`", "`Retry` + it", "layer"];
const BARE: usize = 0;
const LAYER: usize = 3;

type Inbound = Request<Full<Bytes>>;
type Reply = Response<Returned>;
/// How long a chunk of requests takes, if that could be seen.
type Sample = Option<Duration>;

/// Answers with the head of the request.
#[derive(Clone)]
struct Boomerang;

/// The head of a request, which goes for a body without any bytes.
struct Returned(Parts);

/// Which instance of a service a request goes through.
#[derive(Clone, Copy)]
enum Through {
    /// The task's own.
    Own,
    /// One that is made for it.
    Fresh,
}

/// A service whose clones the tasks use.
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
    for through in [Through::Own, Through::Fresh] {
        print_table(through, effort);
    }
}

fn print_table(through: Through, effort: Effort) {
    let times = race(through, effort.choose(SAMPLE, Duration::ZERO)).samples(effort.turns(TURNS));
    let times = |subject: usize, tasks: usize| times[subject * TASKS.len() + tasks].iter().copied();
    let scaling = |subject, tasks| {
        times(subject, 0).zip(times(subject, tasks)).map(|(one, many)| {
            let speedup = one?.as_secs_f64() / many?.as_secs_f64();
            Some(THREADS as f64 * speedup)
        })
    };

    println!();
    let columns = [&[through.caption()][..], &SUBJECTS, &["layer / bare"]].concat();
    let mut table = Table::new(through.table(), &columns);
    let nanos = (0..SUBJECTS.len()).map(|subject| {
        let nanos = times(subject, 0).map(|time| Some(time?.as_secs_f64() * 1e9 / CHUNK as f64));
        format!("{} ns", seen(nanos, 0))
    });
    let first = ["1 task, per request".to_owned()].into_iter();
    table.row(first.chain(nanos).chain([String::new()]));
    for (tasks, count) in TASKS.iter().enumerate().skip(1) {
        let scalings = (0..SUBJECTS.len()).map(|subject| seen(scaling(subject, tasks), 2));
        let relative = scaling(LAYER, tasks)
            .zip(scaling(BARE, tasks))
            .map(|(layer, bare)| Some(layer? / bare?));
        let first = [format!("{count} tasks")].into_iter();
        table.row(first.chain(scalings).chain([seen(relative, 2)]));
    }
    table.publish(PAGE, effort.is_measured());
}

/// The median of those turns in which there was something to see.
fn seen(values: impl Iterator<Item = Option<f64>>, digits: usize) -> String {
    let values: Vec<_> = values.flatten().collect();
    if values.is_empty() {
        "–".to_owned()
    } else {
        format!("{:.digits$}", median(values.into_iter()))
    }
}

/// Each of the subjects, with each number of tasks.
fn race(through: Through, length: Duration) -> Race<'static, Sample> {
    let race = enter(Race::new(), Boomerang, through, length);
    let race = enter(race, authorize(Boomerang), through, length);
    let race = enter(race, retry(Boomerang), through, length);
    enter(race, refresh(Boomerang, token()), through, length)
}

fn enter(
    race: Race<'static, Sample>,
    service: impl Shared,
    through: Through,
    length: Duration,
) -> Race<'static, Sample> {
    let sampler = |tasks| {
        let service = service.clone();
        move || sample(&service, through, tasks, length)
    };
    TASKS.into_iter().fold(race, |race, tasks| race.against(sampler(tasks)))
}

fn sample(service: &impl Shared, through: Through, tasks: usize, length: Duration) -> Sample {
    // New threads start where there is room. Older ones may have been put on one core, where they
    // would never meet.
    let spans: Vec<_> = runtime().block_on(async {
        let until = Instant::now() + length;
        let tasks: JoinSet<_> =
            (0..tasks).map(|_| send_all(service.clone(), through, until)).collect();
        tasks.join_all().await.into_iter().flatten().collect()
    });
    if tasks == 1 { alone(&spans) } else { together(spans) }
}

/// Requests one after the other, in chunks between which other tasks have their turn.
async fn send_all<S: Shared>(mut service: S, through: Through, until: Instant) -> Vec<Span> {
    let mut spans = Vec::new();
    loop {
        // Made by the thread that sends it, or those of two threads might share a cache line.
        let mut request = HEAD.request(full(0));
        let start = Instant::now();
        for _ in 0..CHUNK {
            request = send(&mut service, request, through);
        }
        let end = Instant::now();
        spans.push(Span { start, end });
        if end >= until {
            return spans;
        }
        yield_now().await;
    }
}

/// It is never pending.
fn send<S: Shared>(service: &mut S, request: Inbound, through: Through) -> Inbound {
    let response = match through {
        Through::Own => run(service, request),
        Through::Fresh => finish(service.clone().oneshot(request)),
    };
    let Returned(mut head) = black_box(response).expect("nothing fails here").into_body();
    head.headers.remove(header::AUTHORIZATION);
    Request::from_parts(head, full(0))
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .build()
        .expect("a runtime without I/O")
}

// === impl Boomerang ===

impl<B> Service<Request<B>> for Boomerang {
    type Response = Reply;
    type Error = Infallible;
    type Future = Ready<Result<Reply, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = black_box(request).into_parts();
        drop(body);
        ready(Ok(Response::new(Returned(head))))
    }
}

// === impl Returned ===

impl Body for Returned {
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

// === impl Through ===

impl Through {
    fn caption(self) -> &'static str {
        match self {
            Self::Own => "a clone for each task",
            Self::Fresh => "a clone for each request",
        }
    }

    fn table(self) -> &'static str {
        match self {
            Self::Own => "contention, task",
            Self::Fresh => "contention, request",
        }
    }
}

// === impl Shared ===

impl<S> Shared for S where
    S: Service<Inbound, Response = Reply, Error: fmt::Debug, Future: Send> + Clone + Send + 'static
{
}
