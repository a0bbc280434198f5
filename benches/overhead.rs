//! What does the layer add to a request while its credential is good?
//!
//! One thread sends one request at a time to an inner service in memory that does nothing, through
//!
//! - `Bare`: the inner service alone;
//! - `Authorized`: tower-http's `AddAuthorization`, which does not replay;
//! - `RetryAuthorized`: tower's `Retry` with a policy that clones the request, over
//!   `AddAuthorization`, which can replay and cannot refresh;
//! - `Floor`: the work that no layer can avoid if it keeps a copy for a replay;
//! - `Layer`: this crate's layer.
//!
//! divan prints the time and the allocations of each. This bench then prints ratios, from samples
//! taken in turns.

mod support;

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use bytes::Bytes;
use divan::{AllocProfiler, Bencher, black_box};
use http::Request;
use http_body_util::{Full, combinators::UnsyncBoxBody};
use support::{
    floor,
    page::Table,
    poll::run,
    race::{Effort, Race},
    request::{Head, TOKEN, boxed, full, token},
    stack::{authorize, refresh, retry},
    upstream::{Noop, Reader, Reply},
};
use tower::Service;
use tower_refresh::Token;

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const HEADS: [Head; 8] = [
    Head::Own(0),
    Head::Own(4),
    // Twelve headers fill the map, so the credential makes it grow. Thirteen do not.
    Head::Own(12),
    Head::Own(13),
    Head::Own(30),
    Head::Parsed(4),
    Head::Parsed(12),
    Head::Parsed(30),
];

/// The chunks of a streamed body.
const CHUNKS: usize = 4;
const CHUNK: usize = 256;

/// The number of requests in a sample, small enough for all of them to stay in the caches.
const SAMPLE: usize = 32;
const TURNS: usize = 400;

/// The page with the tables of all benches of this package.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/README.md");

struct Bare;
struct Authorized;
struct RetryAuthorized;
struct Floor;
struct Layer;

/// A stack over [`Noop`].
trait Subject {
    fn service() -> impl Service<Request<Full<Bytes>>, Response = Reply, Error: std::fmt::Debug>;
}

fn main() {
    divan::main();
    let effort = Effort::from_args();
    if effort != Effort::List {
        print_ratios(effort);
    }
}

// === Time and allocations ===

#[divan::bench(types = [Bare, Authorized, RetryAuthorized, Floor, Layer], args = HEADS)]
fn empty_body<S: Subject>(bencher: Bencher, head: Head) {
    measure(bencher, S::service(), || head.request(full(0)));
}

#[divan::bench(types = [Bare, Authorized, RetryAuthorized, Floor, Layer], args = HEADS)]
fn full_body_1024<S: Subject>(bencher: Bencher, head: Head) {
    measure(bencher, S::service(), || head.request(full(1024)));
}

/// `Retry` is missing here, because it cannot clone a request with a streamed body.
mod streamed_body_4x256 {
    use super::*;

    #[divan::bench(args = HEADS)]
    fn bare(bencher: Bencher, head: Head) {
        measure(bencher, Reader, || streamed(head));
    }

    #[divan::bench(args = HEADS)]
    fn authorized(bencher: Bencher, head: Head) {
        measure(bencher, authorize(Reader), || streamed(head));
    }

    #[divan::bench(args = HEADS)]
    fn layer(bencher: Bencher, head: Head) {
        measure(bencher, refresh(Reader, token()), || streamed(head));
    }
}

/// The layer reads the clock for a credential with an expiry.
#[divan::bench(args = HEADS)]
fn known_expiry(bencher: Bencher, head: Head) {
    measure(bencher, refresh(Noop, expiring()), || head.request(full(0)));
}

fn measure<S, B>(bencher: Bencher, mut service: S, request: impl Fn() -> Request<B>)
where
    S: Service<Request<B>, Response = Reply, Error: std::fmt::Debug>,
{
    bencher.with_inputs(request).bench_local_values(|request| run(&mut service, request));
}

// === Ratios ===

fn print_ratios(effort: Effort) {
    let turns = effort.turns(TURNS);
    println!();
    println!("Time of a request through the layer, and its ratio to the same request through");
    println!("({}; {SAMPLE} requests in a sample)", effort.caption());
    println!();
    let columns = ["request", "layer", "bare", "`AddAuthorization`", "`Retry` + it", "floor"];
    let mut table = Table::new("overhead", &columns);
    for (body, len) in [("empty body", 0), ("1024 B", 1024)] {
        for head in HEADS {
            let request = || head.request(full(len));
            table.row(row(format!("{body}, headers {head}"), turns, race(&request, token())));
        }
    }
    for head in HEADS {
        let request = || streamed(head);
        let race = Race::of(sampler(refresh(Reader, token()), &request))
            .against(sampler(Reader, &request))
            .against(sampler(authorize(Reader), &request));
        table.row(row(format!("streamed {CHUNKS}x{CHUNK} B, headers {head}"), turns, race));
    }
    for head in [Head::Own(0), Head::Own(12)] {
        let request = || head.request(full(0));
        table.row(row(format!("known expiry, headers {head}"), turns, race(&request, expiring())));
    }
    table.publish(PAGE, effort.is_measured());
}

/// A row with four ratios, or two for requests that `Retry` cannot clone.
fn row(request: String, turns: usize, race: Race<'_>) -> Vec<String> {
    let standings = race.run(turns);
    let nanos = standings[0].time.as_secs_f64() * 1e9 / SAMPLE as f64;
    let ratios = standings[1..].iter().map(|standing| format!("{:.2}", standing.ratio));
    let cells = [request, format!("{nanos:.0} ns")].into_iter().chain(ratios);
    cells.chain(std::iter::repeat("–".to_owned())).take(6).collect()
}

fn race<'a>(request: &'a dyn Fn() -> Request<Full<Bytes>>, token: Token) -> Race<'a> {
    Race::of(sampler(refresh(Noop, token), request))
        .against(sampler(Bare::service(), request))
        .against(sampler(Authorized::service(), request))
        .against(sampler(RetryAuthorized::service(), request))
        .against(sampler(Floor::service(), request))
}

fn sampler<'a, S, B: 'a>(
    mut service: S,
    request: &'a dyn Fn() -> Request<B>,
) -> impl FnMut() -> Duration + use<'a, S, B>
where
    S: Service<Request<B>, Response = Reply, Error: std::fmt::Debug>,
{
    let mut requests = Vec::with_capacity(SAMPLE);
    move || {
        requests.extend((0..SAMPLE).map(|_| request()));
        let start = Instant::now();
        for request in requests.drain(..) {
            black_box(run(&mut service, request).expect("the service is infallible"));
        }
        start.elapsed()
    }
}

// === Subjects ===

fn streamed(head: Head) -> Request<UnsyncBoxBody<Bytes, Infallible>> {
    head.request(boxed(CHUNKS, CHUNK))
}

fn expiring() -> Token {
    token().with_expires_in(Duration::from_secs(3600))
}

impl Subject for Bare {
    fn service() -> impl Service<Request<Full<Bytes>>, Response = Reply, Error: std::fmt::Debug> {
        Noop
    }
}

impl Subject for Authorized {
    fn service() -> impl Service<Request<Full<Bytes>>, Response = Reply, Error: std::fmt::Debug> {
        authorize(Noop)
    }
}

impl Subject for RetryAuthorized {
    fn service() -> impl Service<Request<Full<Bytes>>, Response = Reply, Error: std::fmt::Debug> {
        retry(Noop)
    }
}

impl Subject for Floor {
    fn service() -> impl Service<Request<Full<Bytes>>, Response = Reply, Error: std::fmt::Debug> {
        floor::Floor::new(Noop, TOKEN)
    }
}

impl Subject for Layer {
    fn service() -> impl Service<Request<Full<Bytes>>, Response = Reply, Error: std::fmt::Debug> {
        refresh(Noop, token())
    }
}
