//! Bounds on the allocations and the type sizes of a fresh request and of a waiting one. The bench
//! `instructions` counts instructions.

// The bounds hold for pointers of 64 bits.
#![cfg(target_pointer_width = "64")]
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

// The benches measure the time of the same requests.
#[path = "../benches/support/mod.rs"]
mod support;

use std::{
    convert::Infallible,
    fmt::Debug,
    future::pending,
    ops::Add,
    task::{Context, Waker},
};

use allocation_counter::AllocationInfo;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{Empty, Full, StreamBody};
use support::{
    poll::{run, yield_once},
    request::{Head, boxed, full, token},
    stack::{observed, per_request, refresh, session},
    upstream::{Noop, Reader, Reply},
};
use tower::{Layer, Service, service_fn};
use tower_refresh::{
    Origins, Refresh, RefreshContext, RefreshLayer, ReplayBody, Session, refresher_fn,
};

/// The allocations of a request beyond those without the layer. Growing a buffer counts as an
/// allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    allocations: u64,
    bytes: u64,
}

type Inbound = Request<Full<Bytes>>;

// === Bounds ===
//
// Measured values. A change that improves a value, or worsens it for a good reason, updates it
// here.

/// A request without a body, by its number of headers.
const WITHOUT_BODY: [(usize, Cost); 4] = [
    // The copy of the head, and the indices and entries of the `HeaderMap`, whose first header is
    // the credential.
    (0, Cost { allocations: 3, bytes: 727 }),
    (4, HEAD_COPY),
    // The copy, and larger indices and entries, because twelve headers fill the original ones.
    (12, Cost { allocations: 3, bytes: 3559 }),
    // The copy in two blocks, and the list of full blocks.
    (30, Cost { allocations: 3, bytes: 2023 }),
];

/// The copy of a head with four headers, the number in all requests below.
const HEAD_COPY: Cost = Cost { allocations: 1, bytes: 359 };

/// A body that is in memory: the reference count of its buffer, and the box with the handle of the
/// first attempt.
const BODY_IN_MEMORY: Cost = Cost { allocations: 2, bytes: 64 };

/// A body that arrives over time: the shared upload, and a handle for each of the first attempt and
/// the replay.
const BODY_OVER_TIME: Cost = Cost { allocations: 3, bytes: 312 };

/// The second request through a clone: the snapshot, and the value and the counter of its copy of
/// the credential. The first request borrows the snapshot of the original.
const SNAPSHOT: Cost = Cost { allocations: 3, bytes: 361 };

/// The size of the response future, less that of the inner future.
const FUTURE: usize = 128;
/// The size of a `ReplayBody`.
const REPLAY_BODY: usize = 16;

/// The bytes of a request that waits for a refresh: its response future, which contains the copy of
/// the request. The unsent request has 1163 bytes. The goal is at most 1024 more.
const WAITING: u64 = 1111;

/// A signed-in session of a template, beside its token. The goal is at most 1024 bytes in at most
/// 10 allocations. Most of the bytes are the channel of the session.
const SESSION: Cost = Cost { allocations: 5, bytes: 776 };

/// The percentage by which bytes may exceed their bound, because dependencies define some of the
/// types. The number of allocations is exact.
const HEADROOM: u64 = 10;

const HEAD: Head = Head::Own(4);

// === A fresh request ===

#[test]
fn a_request_without_a_body_allocates_the_copy_of_its_head() {
    for (headers, bound) in WITHOUT_BODY {
        let of = format!("a request with {headers} headers");
        assert_within(fresh(|| Head::Own(headers).request(full(0))), bound, &of);
        assert_within(fresh(|| Head::Parsed(headers).request(full(0))), bound, &of);
    }
}

#[test]
fn a_body_in_memory_allocates_its_handle() {
    let frame = || {
        StreamBody::new(tokio_stream::once(Ok::<_, Infallible>(Frame::data(
            vec![b'x'; 1024].into(),
        ))))
    };
    assert_within(
        fresh(|| HEAD.request(full(1024))),
        HEAD_COPY + BODY_IN_MEMORY,
        "a body of known size",
    );
    assert_within(
        fresh(|| HEAD.request(frame())),
        HEAD_COPY + BODY_IN_MEMORY,
        "a body of one frame",
    );
}

#[test]
fn a_body_that_arrives_over_time_allocates_its_recording() {
    assert_within(
        fresh(|| HEAD.request(boxed(1, 1024))),
        HEAD_COPY + BODY_OVER_TIME,
        "a body that arrives over time",
    );
}

#[test]
fn a_clone_allocates_its_snapshot_at_its_second_request() {
    let mut service = refresh(Noop, token());
    warm_up(&mut service, request);
    let (mut clone, allocated) = measure(|| service.clone());
    assert_eq!(allocated.count_total, 0, "allocations of a clone");
    assert_within(beyond_bare(&mut clone, request), HEAD_COPY, "the first request of a clone");
    assert_within(
        beyond_bare(&mut clone, request),
        HEAD_COPY + SNAPSHOT,
        "the second request of a clone",
    );
    assert_within(beyond_bare(&mut clone, request), HEAD_COPY, "the third request of a clone");
}

#[test]
fn a_request_that_brings_its_session_allocates_as_much_as_one_of_a_fixed_session() {
    let session = session(token()).build();
    let request = || {
        let mut request = request();
        request.extensions_mut().insert(session.clone());
        request
    };
    let mut service = per_request(Reader);
    warm_up(&mut service, request);
    assert_within(
        beyond_bare(&mut service, request),
        HEAD_COPY,
        "a request that brings its session",
    );
}

#[test]
fn an_observer_costs_a_fresh_request_nothing() {
    for body in [0, 1024] {
        let request = || HEAD.request(full(body));
        let (mut plain, mut watched) = (refresh(Reader, token()), observed(Reader, token()));
        warm_up(&mut plain, request);
        warm_up(&mut watched, request);
        let (plain, watched) = (sending(&mut plain, request()), sending(&mut watched, request()));
        assert_eq!(watched.count_total, plain.count_total);
        assert_eq!(watched.bytes_total, plain.bytes_total);
    }
}

#[test]
fn the_response_future_and_the_replay_body_are_small() {
    let inner = size_of::<<Noop as Service<Inbound>>::Future>();
    let own = size_of::<<Refresh<Noop> as Service<Inbound>>::Future>() - inner;
    assert!(
        own <= FUTURE,
        "the response future takes {own} bytes more than the inner future, and not {FUTURE}"
    );
    let body = size_of::<ReplayBody<Full<Bytes>>>();
    assert!(body <= REPLAY_BODY, "a replay body takes {body} bytes, and not {REPLAY_BODY}");
}

// === A request that waits ===

#[test]
fn a_waiting_request_holds_little_more_than_itself() {
    // The runtime is never driven, so the refresh never ends.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    let session = Session::new(token(), refresher_fn(|_: RefreshContext| pending()));
    let mut service = RefreshLayer::new(session, Origins::any()).layer(service_fn(
        |request: Request<ReplayBody<_>>| {
            drop(request);
            reject_later()
        },
    ));
    let mut cx = Context::from_waker(Waker::noop());
    let mut send = || {
        let mut answer = Box::pin(call(&mut service, request()));
        assert!(answer.as_mut().poll(&mut cx).is_pending(), "the response comes later");
        answer
    };
    let mut sent: Vec<_> = (0..100).map(|_| measure(&mut send)).collect();
    let held = sent.iter_mut().map(|(answer, in_flight)| {
        let poll = || answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let (poll, waiting) = measure(poll);
        assert!(poll.is_pending(), "the request waits for the refresh");
        u64::try_from(in_flight.bytes_current + waiting.bytes_current).unwrap()
    });
    // The first request also allocates the flight.
    for held in held.skip(1) {
        assert_bytes_within(held, WAITING, "a request that waits");
    }
}

async fn reject_later() -> Result<Reply, Infallible> {
    yield_once().await;
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    Ok(response)
}

// === A session of a template ===

#[test]
fn a_signed_in_session_of_a_template_takes_little_more_than_its_token() {
    let refresher = refresher_fn(|_: RefreshContext| async { Ok(token()) });
    let template = Session::builder(refresher).on_login_end(|_| async {}).template();
    let sign_in = || {
        let token = token();
        measure(|| {
            let session = template.session();
            session.login(token);
            session
        })
    };
    let (first, _) = sign_in();
    let (session, allocated) = sign_in();
    let held = Cost {
        allocations: u64::try_from(allocated.count_current).unwrap(),
        bytes: u64::try_from(allocated.bytes_current).unwrap(),
    };
    assert_within(held, SESSION, "a signed-in session");
    assert!(allocated.count_total <= 10, "{} allocations", allocated.count_total);

    // After a refresh the session holds no more than before.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let refresh = |session: Session| runtime.block_on(async move { session.refresh().await });
    drop(refresh(first).unwrap());
    let (refreshed, allocated) = measure(|| refresh(session.clone()));
    refreshed.unwrap();
    assert!(allocated.bytes_current <= 64, "a refresh adds {} bytes", allocated.bytes_current);
}

// === Measurement ===

fn request() -> Inbound {
    HEAD.request(full(0))
}

fn call<S: Service<R>, R>(service: &mut S, request: R) -> S::Future {
    assert!(
        service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready(),
        "the service is always ready"
    );
    service.call(request)
}

/// The cost of a request through a service that has sent some before.
fn fresh<B>(request: impl Fn() -> Request<B>) -> Cost
where
    B: Body<Data = Bytes, Error = Infallible> + Unpin,
{
    let mut service = refresh(Reader, token());
    warm_up(&mut service, &request);
    beyond_bare(&mut service, &request)
}

/// Sends some requests, so that buffers that grow once have grown.
fn warm_up<S, B>(service: &mut S, request: impl Fn() -> Request<B>)
where
    S: Service<Request<B>, Response = Reply, Error: Debug>,
{
    for _ in 0..3 {
        run(service, request()).unwrap();
    }
}

fn beyond_bare<S, B>(service: &mut S, request: impl Fn() -> Request<B>) -> Cost
where
    S: Service<Request<B>, Response = Reply, Error: Debug>,
    B: Body<Error: Debug> + Unpin,
{
    let (layer, bare) = (sending(service, request()), sending(&mut Reader, request()));
    Cost {
        allocations: layer.count_total - bare.count_total,
        bytes: layer.bytes_total - bare.bytes_total,
    }
}

/// The allocations from readiness until the response is dropped.
fn sending<S, B>(service: &mut S, request: Request<B>) -> AllocationInfo
where
    S: Service<Request<B>, Response = Reply, Error: Debug>,
{
    measure(|| drop(run(service, request).unwrap())).1
}

/// The allocations of this thread.
fn measure<T>(f: impl FnOnce() -> T) -> (T, AllocationInfo) {
    let mut output = None;
    let allocated = allocation_counter::measure(|| output = Some(f()));
    (output.unwrap(), allocated)
}

#[track_caller]
fn assert_within(cost: Cost, bound: Cost, of: &str) {
    assert_eq!(cost.allocations, bound.allocations, "allocations of {of}");
    assert_bytes_within(cost.bytes, bound.bytes, of);
}

#[track_caller]
fn assert_bytes_within(bytes: u64, bound: u64, of: &str) {
    assert!(bytes <= bound + bound * HEADROOM / 100, "{of} takes {bytes} bytes, and not {bound}");
}

// === impl Cost ===

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { allocations: self.allocations + other.allocations, bytes: self.bytes + other.bytes }
    }
}
