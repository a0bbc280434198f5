//! What a request costs while its credential is good, and while it waits, as far as that can be
//! counted: allocations, and the sizes of types. Instructions are counted in the bench of that
//! name.

// The bounds were measured where a pointer has 64 bits.
#![cfg(target_pointer_width = "64")]
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

// The requests whose time is measured, too.
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
    stack::refresh,
    upstream::{Noop, Reader, Reply},
};
use tower::{Layer, Service, service_fn};
use tower_refresh::{
    Origins, Refresh, RefreshContext, RefreshLayer, ReplayBody, Session, refresher_fn,
};

/// What a request allocates beyond what it does without the layer; to grow a buffer is to allocate
/// another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    allocations: u64,
    bytes: u64,
}

type Inbound = Request<Full<Bytes>>;

// === The bounds ===
//
// As measured. Who has made the layer better, or worse for a good reason, writes the new ones here.

/// Without a body, by the number of headers.
const EMPTY: [(usize, Cost); 4] = [
    // The copy of the head; the indices and the entries of the `HeaderMap`, in which the credential
    // is the first.
    (0, Cost { allocations: 3, bytes: 727 }),
    (4, COPY),
    // The copy; larger indices and entries, since twelve headers fill theirs.
    (12, Cost { allocations: 3, bytes: 3559 }),
    // The copy in two blocks; the list of the full ones.
    (30, Cost { allocations: 3, bytes: 2023 }),
];

/// Of the head of a request with four headers, as all have that follow.
const COPY: Cost = Cost { allocations: 1, bytes: 359 };

/// For a body that is there: its buffer counts its handles from now on, and the first attempt's
/// handle is in a box.
const BODY_AT_HAND: Cost = Cost { allocations: 2, bytes: 64 };

/// For a body that arrives over time: the upload, and the ends of it that the first attempt and the
/// replay have.
const BODY_IN_TIME: Cost = Cost { allocations: 3, bytes: 312 };

/// For the second request through a clone, since the first one borrows the snapshot of the
/// original: the snapshot, and the value and the counter of its copy of the credential.
const SNAPSHOT: Cost = Cost { allocations: 3, bytes: 361 };

/// Of the response future, beyond that of the service below.
const FUTURE: usize = 112;
const REPLAY_BODY: usize = 16;

/// Of bytes, all that a request holds that waits for a refresh: its response future, and in it the
/// copy of the request. Before it was sent it held 1163. At most 1024 more are the aim.
const WAITING: u64 = 1111;

/// Bytes may be so many percent more: not all of the types are ours. How many allocations there are
/// is exact.
const HEADROOM: u64 = 10;

const HEAD: Head = Head::Own(4);

// === A fresh request ===

#[test]
fn a_request_without_a_body_allocates_the_copy_of_its_head() {
    for (headers, bound) in EMPTY {
        let of = format!("a request with {headers} headers");
        assert_within(fresh(|| Head::Own(headers).request(full(0))), bound, &of);
        assert_within(fresh(|| Head::Parsed(headers).request(full(0))), bound, &of);
    }
}

#[test]
fn a_body_that_is_there_takes_a_handle() {
    let frame = || {
        StreamBody::new(tokio_stream::once(Ok::<_, Infallible>(Frame::data(
            vec![b'x'; 1024].into(),
        ))))
    };
    assert_within(fresh(|| HEAD.request(full(1024))), COPY + BODY_AT_HAND, "a body of known size");
    assert_within(fresh(|| HEAD.request(frame())), COPY + BODY_AT_HAND, "a body of one frame");
}

#[test]
fn a_body_that_arrives_over_time_takes_what_it_is_shared_with() {
    assert_within(
        fresh(|| HEAD.request(boxed(1, 1024))),
        COPY + BODY_IN_TIME,
        "a body that comes late",
    );
}

#[test]
fn a_clone_takes_a_snapshot_at_its_second_request() {
    let mut service = refresh(Noop, token());
    warm_up(&mut service, request);
    let (mut clone, allocated) = measure(|| service.clone());
    assert_eq!(allocated.count_total, 0, "allocations of a clone");
    assert_within(beyond_bare(&mut clone, request), COPY, "the first request of a clone");
    assert_within(
        beyond_bare(&mut clone, request),
        COPY + SNAPSHOT,
        "the second request of a clone",
    );
    assert_within(beyond_bare(&mut clone, request), COPY, "the third request of a clone");
}

#[test]
fn a_response_future_is_small() {
    let inner = size_of::<<Noop as Service<Inbound>>::Future>();
    let own = size_of::<<Refresh<Noop> as Service<Inbound>>::Future>() - inner;
    assert!(
        own <= FUTURE,
        "a response future takes {own} bytes beyond the one below, and not {FUTURE}"
    );
    let body = size_of::<ReplayBody<Full<Bytes>>>();
    assert!(body <= REPLAY_BODY, "a body takes {body} bytes, and not {REPLAY_BODY}");
}

// === A request that waits ===

#[test]
fn whoever_waits_holds_little_more_than_the_request() {
    // Nothing runs on it, so that the refresh never ends.
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
        assert!(answer.as_mut().poll(&mut cx).is_pending(), "the upstream takes its time");
        answer
    };
    let mut sent: Vec<_> = (0..100).map(|_| measure(&mut send)).collect();
    let held = sent.iter_mut().map(|(answer, in_flight)| {
        let poll = || answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let (poll, waiting) = measure(poll);
        assert!(poll.is_pending(), "the refresh takes longer");
        u64::try_from(in_flight.bytes_current + waiting.bytes_current).unwrap()
    });
    // The first one has started the flight, and what that takes is nobody else's.
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

// === What is counted ===

fn request() -> Inbound {
    HEAD.request(full(0))
}

fn call<S: Service<R>, R>(service: &mut S, request: R) -> S::Future {
    assert!(
        service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready(),
        "it is always ready"
    );
    service.call(request)
}

/// Of a request through a service that has sent some.
fn fresh<B>(request: impl Fn() -> Request<B>) -> Cost
where
    B: Body<Data = Bytes, Error = Infallible> + Unpin,
{
    let mut service = refresh(Reader, token());
    warm_up(&mut service, &request);
    beyond_bare(&mut service, &request)
}

/// Whatever grows once has grown then.
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

/// From its readiness until the response is dropped, and the request before that.
fn sending<S, B>(service: &mut S, request: Request<B>) -> AllocationInfo
where
    S: Service<Request<B>, Response = Reply, Error: Debug>,
{
    measure(|| drop(run(service, request).unwrap())).1
}

/// On this thread, whatever others do meanwhile.
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
