//! What does a session for each user cost?
//!
//! - A request that brings its session, against one of a fixed session.
//! - The memory of a signed-in user, with a million of them, without a store and with one.
//! - A slice of a sweep over a million idle users: no lock is held for longer.
//! - The latency of quiet users next to a hot one, against a hot one of another registry.

mod support;

use std::{
    hint::black_box,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use support::{
    page::Table,
    poll::{finish, run},
    race::{Effort, Race},
    request::{Head, full, token},
    sink::Sink,
    stack::{per_request, refresh, session},
    upstream::{Noop, Reply},
};
use tower::Service;
use tower_refresh::{
    RefreshContext, RefreshError, Refresher, Session, refresher_fn,
    sessions::{Sessions, SessionsBuilder},
    store::Stored,
};

/// The page with the tables of all benches of this package.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/README.md");

const SAMPLE: usize = 32;
const TURNS: usize = 400;
const USERS: u64 = 1_000_000;
const QUIET: u64 = 10_000;
/// The sweeps, of which each slice counts with its least time.
const SWEEPS: usize = 3;
/// The rounds of the comparison of latencies. Each has a sample of both subjects.
const ROUNDS: usize = 20;

fn main() {
    let effort = Effort::from_args();
    if effort == Effort::List {
        return;
    }
    println!();
    println!("The costs of a session for each user ({})", effort.caption());
    println!();
    // First: after a million users, the allocator takes longer for the map of extensions.
    let ratios = [0, 4].map(|headers| (headers, per_request_ratio(headers, effort)));
    let users = effort.choose(USERS, 1000);
    let mut table = Table::new("sessions, memory", &["logins", "users", "bytes", "allocations"]);
    let mut row = |logins: &str, (bytes, allocations): (f64, f64)| {
        table.row([
            logins.to_owned(),
            users.to_string(),
            format!("{bytes:.0}"),
            format!("{allocations:.1}"),
        ]);
    };
    let in_store = memory_in_store(users);
    let (sessions, bytes, allocations) = fill(users);
    row("in the registry only", (bytes, allocations));
    row("in a store", in_store);
    table.publish(PAGE, effort.is_measured());

    let mut table = Table::new("sessions, time", &["subject", "figure"]);
    for (headers, ratio) in ratios {
        table.row([
            format!("a request with its own session, over a fixed one ({headers} headers)"),
            format!("{ratio:.2}"),
        ]);
    }
    let mut slices = sweep(&sessions, users);
    drop(sessions);
    for _ in 1..SWEEPS {
        // The system may suspend the thread in a slice, but hardly in the same one of each sweep.
        let (sessions, ..) = fill(users);
        for (least, time) in slices.iter_mut().zip(sweep(&sessions, users)) {
            *least = time.min(*least);
        }
    }
    slices.sort_unstable();
    let (median, longest) = (slices[slices.len() / 2], slices[slices.len() - 1]);
    table.row(["a slice of a sweep, median".to_owned(), format!("{median:.1?}")]);
    table.row(["a slice of a sweep, the longest".to_owned(), format!("{longest:.1?}")]);
    let ratio = latency_ratio(effort);
    table.row([
        format!("p99 of {QUIET} quiet users next to a hot one, over without it"),
        format!("{ratio:.2}"),
    ]);
    table.publish(PAGE, effort.is_measured());
}

fn refresher() -> impl Refresher {
    refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("not needed")) })
}

fn builder() -> SessionsBuilder<u64> {
    let template = Session::builder(refresher()).template();
    Sessions::builder(template).capacity(usize::MAX)
}

// === A request ===

fn per_request_ratio(headers: usize, effort: Effort) -> f64 {
    let own = session(token()).build();
    let with_session = || {
        let mut request = Head::Own(headers).request(full(0));
        request.extensions_mut().insert(own.clone());
        request
    };
    let without = || Head::Own(headers).request(full(0));
    let race = Race::of(sampler(per_request(Noop), &with_session))
        .against(sampler(refresh(Noop, token()), &without));
    race.run(effort.turns(TURNS))[1].ratio
}

fn sampler<'a, S>(
    mut service: S,
    request: &'a dyn Fn() -> Request<Full<Bytes>>,
) -> impl FnMut() -> Duration + use<'a, S>
where
    S: Service<Request<Full<Bytes>>, Response = Reply, Error: std::fmt::Debug>,
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

// === A million users ===

/// A registry with this many users, and the bytes and allocations that each takes.
fn fill(users: u64) -> (Sessions<u64>, f64, f64) {
    let sessions = builder().idle_timeout(Duration::from_secs(3600)).build();
    let (bytes, allocations) = each(users, |user| {
        drop(finish(sessions.login(&user, token())).expect("there is room"));
    });
    // Used at random: a step that has no factor in common with the number visits all.
    for step in 0..users {
        assert!(sessions.peek(&(step * 7919 % users)).is_some());
    }
    (sessions, bytes, allocations)
}

/// The bytes and allocations that each user takes whose login is in a store, beside the store. The
/// name of its record has 16 bytes.
fn memory_in_store(users: u64) -> (f64, f64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime can be built");
    let driver = Stored::new(refresher(), Sink::default(), "");
    let sessions = builder()
        .idle_timeout(Duration::from_secs(3600))
        .stored(move |user| driver.with_name(format!("{user:016x}")))
        .build();
    each(users, |user| {
        let session = runtime.block_on(async { sessions.login(&user, token()).await });
        drop(session.expect("the store saves"));
    })
}

/// The bytes and allocations of each user after this login, beside its token.
fn each(users: u64, log_in: impl Fn(u64)) -> (f64, f64) {
    let allocated = allocation_counter::measure(|| (0..users).for_each(log_in));
    let mut own = None;
    let token = allocation_counter::measure(|| own = Some(token()));
    let each = |total: i64, of_token: i64| total as f64 / users as f64 - of_token as f64;
    let bytes = each(allocated.bytes_current, token.bytes_current);
    (bytes, each(allocated.count_current, token.count_current))
}

/// The times of the slices in which a sweep visits all users, ends their logins and forgets their
/// sessions.
fn sweep(sessions: &Sessions<u64>, users: u64) -> Vec<Duration> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime can be built");
    // All of them are idle now, by the paused clock.
    runtime.block_on(tokio::time::advance(Duration::from_secs(7200)));
    let _entered = runtime.enter();
    let mut maintenance = pin!(sessions.maintain());
    let mut context = Context::from_waker(Waker::noop());
    let times = (0..users / 64)
        .map(|_| {
            let start = Instant::now();
            let poll = maintenance.as_mut().poll(&mut context);
            assert_eq!(poll, Poll::Pending, "the registry is there");
            start.elapsed()
        })
        .collect();
    assert!(sessions.peek(&0).is_some_and(|session| session.credential().is_none()));
    times
}

// === Quiet users next to a hot one ===

/// The p99 of a call for quiet users while another thread calls for a hot one, over the p99 while
/// that thread calls for a hot user of another registry. The second is without the contention, and
/// has the same load on the machine.
fn latency_ratio(effort: Effort) -> f64 {
    let ours = registry();
    let other = registry();
    let mut ratios: Vec<_> = (0..effort.turns(ROUNDS))
        .map(|_| {
            let with = quiet_p99(&ours, &ours);
            let without = quiet_p99(&ours, &other);
            with.as_secs_f64() / without.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

fn registry() -> Sessions<u64> {
    let sessions = builder().build();
    for user in 0..=QUIET {
        drop(finish(sessions.login(&user, token())).expect("there is room"));
    }
    sessions
}

fn quiet_p99(quiet: &Sessions<u64>, hot: &Sessions<u64>) -> Duration {
    let done = Arc::new(AtomicBool::new(false));
    let hammer = {
        let (hot, done) = (hot.clone(), done.clone());
        thread::spawn(move || {
            let mut service = per_request(Noop);
            while !done.load(Ordering::Relaxed) {
                black_box(call(&mut service, &hot, QUIET));
            }
        })
    };
    let mut service = per_request(Noop);
    let mut times: Vec<_> = (0..QUIET)
        .map(|user| {
            let start = Instant::now();
            black_box(call(&mut service, quiet, user));
            start.elapsed()
        })
        .collect();
    done.store(true, Ordering::Relaxed);
    hammer.join().expect("the hot user's thread does not panic");
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

fn call<S>(service: &mut S, sessions: &Sessions<u64>, user: u64) -> Reply
where
    S: Service<Request<Full<Bytes>>, Response = Reply, Error: std::fmt::Debug>,
{
    let mut request = Head::Own(4).request(full(0));
    let session = finish(sessions.get(&user)).expect("the user is there");
    request.extensions_mut().insert(session);
    run(service, request).expect("the service is infallible")
}
