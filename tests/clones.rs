//! State that an instance of the service shares with its clones, and state of its own.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod support;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, request};
use http_body_util::Full;
use support::{stack::Probe, *};
use tower::{Layer, Service, ServiceExt};
use tower_refresh::{
    Credential, Origins, RefreshContext, RefreshError, RefreshLayer, ReplayBody, Session,
    refresher_fn,
};

/// A service that counts its clones, accepts only the key `good`, and records its name at every
/// call.
struct Inner {
    name: &'static str,
    clones: Arc<AtomicUsize>,
    served: Arc<Mutex<Vec<&'static str>>>,
}

/// A credential that counts its copies, the calls of `apply` on a copy, and the calls of `observe`
/// on the original.
struct Key {
    value: &'static str,
    is_copy: bool,
    copies: Arc<AtomicUsize>,
    applied: Arc<AtomicUsize>,
    observed: Arc<AtomicUsize>,
}

type Call = Request<Full<Bytes>>;

#[tokio::test]
async fn a_request_with_a_usable_credential_clones_no_service() {
    let (inner, clones, _) = Inner::new("inner");
    let mut service = RefreshLayer::new(Key::session("good"), Origins::any()).layer(inner);
    for _ in 0..10 {
        assert_eq!(service.ready().await.unwrap().call(get("/")).await.unwrap().status(), 200);
    }
    assert_eq!(clones.load(SeqCst), 1, "one clone, which is kept for replays");
}

#[tokio::test]
async fn a_request_and_its_replay_go_to_clones_that_were_polled_ready() {
    let upstream = Upstream::accepting(&["at-2"]);
    let (inner, counts) = Probe::hesitating(upstream.clone());
    let session = Session::new(token("at-1"), CountingRefresher::for_upstream(&upstream));
    let client = RefreshLayer::new(session, Origins::any()).layer(inner);
    let responses = (client.request(get("/a")), client.request(get("/b")));
    let (one, other) = tokio::join!(responses.0, responses.1);
    assert_eq!((one.unwrap().status(), other.unwrap().status()), (StatusCode::OK, StatusCode::OK));
    assert_eq!((counts.calls(), counts.violations(), counts.held()), (4, 0, 0));
}

#[tokio::test]
async fn an_instance_that_is_only_cloned_follows_the_session() {
    let (inner, clones, _) = Inner::new("inner");
    let session = Key::session("good");
    let service = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);
    for login in 1..=3 {
        for _ in 0..5 {
            assert_eq!(service.clone().oneshot(get("/")).await.unwrap().status(), 200);
        }
        assert_eq!(
            clones.load(SeqCst),
            login * (5 + 1),
            "one clone for each request, and one for each snapshot"
        );
        session.login(Key::new("good"));
    }
}

#[tokio::test]
async fn a_clone_copies_the_credential_at_its_second_request_and_observes_with_the_original() {
    let (inner, _, _) = Inner::new("inner");
    let key = Key::new("good");
    let (copies, applied, observed) =
        (key.copies.clone(), key.applied.clone(), key.observed.clone());
    let mut service =
        RefreshLayer::new(Session::new(key, never_refresh()), Origins::any()).layer(inner);
    assert_eq!(service.ready().await.unwrap().call(get("/")).await.unwrap().status(), 200);
    assert_eq!(copies.load(SeqCst), 1);

    let mut clone = service.clone();
    for expected in [1, 2, 2, 2] {
        assert_eq!(clone.ready().await.unwrap().call(get("/")).await.unwrap().status(), 200);
        assert_eq!(copies.load(SeqCst), expected, "the first request borrows the snapshot");
    }
    assert_eq!((applied.load(SeqCst), observed.load(SeqCst)), (5, 5));
}

#[tokio::test]
async fn a_replay_uses_a_clone_of_the_inner_service_that_get_mut_changed() {
    let (inner, _, served) = Inner::new("old");
    let refresher = refresher_fn(|_: RefreshContext<Key>| async { Ok(Key::new("good")) });
    let session = Session::new(Key::new("bad"), refresher);
    let mut service = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);
    assert_eq!(service.ready().await.unwrap().call(get("/")).await.unwrap().status(), 200);
    assert_eq!(*served.lock().unwrap(), ["old"; 2]);

    session.login(Key::new("bad"));
    assert_eq!(service.ready().await.unwrap().call(get("/")).await.unwrap().status(), 200);
    session.login(Key::new("bad"));
    poll_ready_once(&mut service);
    service.get_mut().name = "new";
    assert_eq!(service.ready().await.unwrap().call(get("/")).await.unwrap().status(), 200);
    assert_eq!(*served.lock().unwrap(), ["old", "old", "old", "old", "new", "new"]);
}

/// Polls readiness once, so that the service has a snapshot of the current state.
fn poll_ready_once<S: Service<Call>>(service: &mut S) {
    let ready = service.poll_ready(&mut Context::from_waker(std::task::Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Ok(()))));
}

fn never_refresh() -> impl tower_refresh::Refresher<Key> {
    refresher_fn(|_: RefreshContext<Key>| async { Err(RefreshError::terminal("not expected")) })
}

// === impl Inner ===

impl Inner {
    fn new(name: &'static str) -> (Self, Arc<AtomicUsize>, Arc<Mutex<Vec<&'static str>>>) {
        let (clones, served) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<_>>::default());
        (Self { name, clones: clones.clone(), served: served.clone() }, clones, served)
    }
}

impl Clone for Inner {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, SeqCst);
        Self { name: self.name, clones: self.clones.clone(), served: self.served.clone() }
    }
}

impl Service<Request<ReplayBody<Full<Bytes>>>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<Full<Bytes>>>) -> Self::Future {
        self.served.lock().unwrap().push(self.name);
        let is_good = request.headers()["x-key"] == "good";
        ready(Ok(response(if is_good { StatusCode::OK } else { StatusCode::UNAUTHORIZED })))
    }
}

// === impl Key ===

impl Key {
    fn new(value: &'static str) -> Self {
        Self {
            value,
            is_copy: false,
            copies: Arc::default(),
            applied: Arc::default(),
            observed: Arc::default(),
        }
    }

    fn session(value: &'static str) -> Session<Self> {
        Session::new(Self::new(value), never_refresh())
    }
}

impl Credential for Key {
    fn apply(&self, request: &mut request::Parts) {
        self.applied.fetch_add(usize::from(self.is_copy), SeqCst);
        request.headers.insert("x-key", self.value.parse().unwrap());
    }

    fn observe(&self, _: &tower_refresh::head::ResponseHead<'_>) {
        assert!(!self.is_copy, "`observe` is called on a copy");
        self.observed.fetch_add(1, SeqCst);
    }

    fn unshared(&self) -> Option<Self> {
        self.copies.fetch_add(1, SeqCst);
        let (copies, observed) = (self.copies.clone(), self.observed.clone());
        Some(Self {
            value: self.value,
            is_copy: true,
            copies,
            applied: self.applied.clone(),
            observed,
        })
    }
}
