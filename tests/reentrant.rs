//! Guarantees 4 and 9 where it is the caller's own code that ends the login or begins another,
//! while a request is on its way to be sent: all of it may take its time as well, and then the same
//! is done by another thread.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, its helpers too")]

mod support;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use Place::*;
use bytes::Bytes;
use http::{Request, Response, request};
use http_body::{Body, Frame};
use http_body_util::Full;
use support::*;
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_refresh::{
    Credential, ErrorKind, Origins, Refresh, RefreshContext, RefreshLayer, ReplayBody, Session,
    refresher_fn,
};

/// The places at which somebody else's code runs before a request is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Body,
    Clock,
    CloneOfInner,
    ReadinessOfInner,
    CloneOfExtension,
    Unshared,
    DropOfCredential,
}

/// Runs something once, at the place that it is set for.
#[derive(Clone, Default)]
struct Trap(Arc<Mutex<Option<(Place, Run)>>>);

type Run = Box<dyn FnOnce() + Send>;

/// Notes the keys that it is sent.
struct Inner {
    sent: Arc<Mutex<Vec<&'static str>>>,
    trap: Trap,
}

struct Key {
    name: &'static str,
    expires_at: Option<SystemTime>,
    is_copy: bool,
    trap: Trap,
}

/// One frame, and something that is done when it is polled.
struct Meddling(Option<Run>);

struct Extension(Trap);

struct World {
    session: Session<Key>,
    service: Refresh<Inner, Key>,
    sent: Arc<Mutex<Vec<&'static str>>>,
    trap: Trap,
}

/// When a newer credential comes, so that there is something to be done about it on the way.
#[derive(Clone, Copy, Debug)]
enum Newer {
    BeforeTheCall,
    FromTheBody,
}

/// Where somebody else's code is reached after that.
const REACHED: [(Newer, &[Place]); 2] = [
    (Newer::BeforeTheCall, &[Clock, CloneOfInner, CloneOfExtension, Unshared, DropOfCredential]),
    (Newer::FromTheBody, &[Body, Clock, CloneOfInner, CloneOfExtension]),
];

fn reached() -> impl Iterator<Item = (Newer, Place)> {
    REACHED.into_iter().flat_map(|(newer, places)| places.iter().map(move |place| (newer, *place)))
}

#[tokio::test(start_paused = true)]
async fn g09_a_logout_by_code_that_runs_before_the_send_stops_it() {
    for (newer, place) in reached() {
        let mut world = World::new();
        let answer = world.send(newer, place, |world| drop(world.session.logout())).await;
        assert_eq!(kind(answer), ErrorKind::LoggedOut, "{newer:?}, {place:?}");
        assert_eq!(world.sent(), [""; 0], "{newer:?}, {place:?}");
    }
    for place in [Clock, CloneOfInner, ReadinessOfInner, CloneOfExtension] {
        let mut world = World::new();
        world.replace("b");
        let request = world.request(|_| ());
        // Not polled ready, so that its future does all that is left.
        let answer = world.service.call(request);
        world.set_trap(place, |world| drop(world.session.logout()));
        assert_eq!(kind(answer.await), ErrorKind::LoggedOut, "{place:?}");
        assert_eq!(world.sent(), [""; 0], "{place:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn g04_and_g09_hold_where_the_clock_takes_its_time_at_the_last_look() {
    let ends: [(fn(&World), _); 2] = [
        (|world| drop(world.session.logout()), ErrorKind::LoggedOut),
        (|world| world.log_in("c"), ErrorKind::LoginChanged),
    ];
    for (end, error) in ends {
        let mut world = World::new();
        world.replace("b");
        let request = world.request(|_| ());
        let answer = world.service.call(request);
        // Which is the last that is done before.
        world.set_trap(CloneOfExtension, move |world| world.set_trap(Clock, end));
        assert_eq!(kind(answer.await), error);
        assert_eq!(world.sent(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn g04_a_login_by_code_that_runs_before_the_send_stops_it() {
    for (newer, place) in reached() {
        let mut world = World::new();
        let answer = world.send(newer, place, |world| world.log_in("c")).await;
        // While the call takes the newer credential up, it is of no login yet.
        if matches!(
            (newer, place),
            (Newer::BeforeTheCall, CloneOfInner | Unshared | DropOfCredential)
        ) {
            assert_eq!(answer.unwrap().status(), 200, "{newer:?}, {place:?}");
            assert_eq!(world.sent(), ["c"], "{newer:?}, {place:?}");
        } else {
            assert_eq!(kind(answer), ErrorKind::LoginChanged, "{newer:?}, {place:?}");
            assert_eq!(world.sent(), [""; 0], "{newer:?}, {place:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_replacement_by_code_that_runs_before_the_send_is_sent() {
    for (newer, place) in reached() {
        let mut world = World::new();
        let answer = world.send(newer, place, |world| world.replace("c")).await;
        assert_eq!(answer.unwrap().status(), 200, "{newer:?}, {place:?}");
        assert_eq!(world.sent(), ["c"], "{newer:?}, {place:?}");
    }
}

// === impl Trap ===

impl Trap {
    fn spring(&self, here: Place) {
        let run = self.0.lock().unwrap().take_if(|(place, _)| *place == here);
        if let Some((_, run)) = run {
            run();
        }
    }
}

// === impl World ===

impl World {
    fn new() -> Self {
        let trap = Trap::default();
        let (sent, clock) = (Arc::<Mutex<_>>::default(), trap.clone());
        let refresher =
            refresher_fn(|_: RefreshContext<Key>| async { unreachable!("nothing is rejected") });
        let session = Session::builder(refresher)
            .credential(Key::new("a", &trap))
            .clock(move || {
                clock.spring(Clock);
                SystemTime::UNIX_EPOCH
            })
            .build();
        let inner = Inner { sent: sent.clone(), trap: trap.clone() };
        let service = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);
        Self { session, service, sent, trap }
    }

    /// Sends a request while a newer credential comes, and does something as soon as a place is
    /// reached after that.
    async fn send(
        &mut self,
        newer: Newer,
        place: Place,
        then: impl FnOnce(&Self) + Send + 'static,
    ) -> Result<Response<Full<Bytes>>, BoxError> {
        let replace = move |world: &Self| {
            world.replace("b");
            world.set_trap(place, then);
            world.trap.spring(Body);
        };
        self.service.ready().await?;
        let request = match newer {
            Newer::BeforeTheCall => {
                replace(self);
                self.request(|_| ())
            }
            Newer::FromTheBody => self.request(replace),
        };
        self.service.call(request).await
    }

    fn request(&self, meddle: impl FnOnce(&Self) + Send + 'static) -> Request<Meddling> {
        let world = self.handle();
        let body = Meddling(Some(Box::new(move || meddle(&world))));
        let mut request = Request::post("https://example.com/").body(body).unwrap();
        request.extensions_mut().insert(Extension(self.trap.clone()));
        request
    }

    fn set_trap(&self, place: Place, run: impl FnOnce(&Self) + Send + 'static) {
        let world = self.handle();
        *self.trap.0.lock().unwrap() = Some((place, Box::new(move || run(&world))));
    }

    /// The same, with a service of its own.
    fn handle(&self) -> Self {
        let inner = Inner { sent: self.sent.clone(), trap: Trap::default() };
        let service = RefreshLayer::new(self.session.clone(), Origins::any()).layer(inner);
        Self {
            session: self.session.clone(),
            service,
            sent: self.sent.clone(),
            trap: self.trap.clone(),
        }
    }

    fn replace(&self, name: &'static str) {
        let replaced =
            self.session.replace(self.session.state().login(), Key::new(name, &self.trap));
        assert!(replaced.is_ok());
    }

    fn log_in(&self, name: &'static str) {
        self.session.login(Key::new(name, &self.trap));
    }

    fn sent(&self) -> Vec<&'static str> {
        self.sent.lock().unwrap().clone()
    }
}

// === impl Key ===

impl Key {
    /// Known to expire, but for the first one: so that the clock is asked after its replacement,
    /// and not before.
    fn new(name: &'static str, trap: &Trap) -> Self {
        let expires_at = (name != "a").then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(3600));
        Self { name, expires_at, is_copy: false, trap: trap.clone() }
    }
}

impl Credential for Key {
    fn apply(&self, request: &mut request::Parts) {
        request.extensions.insert(self.name);
    }

    fn expires_at(&self, _: SystemTime) -> Option<SystemTime> {
        self.expires_at
    }

    fn unshared(&self) -> Option<Self> {
        self.trap.spring(Unshared);
        Some(Self { is_copy: true, trap: self.trap.clone(), ..*self })
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        if !self.is_copy {
            self.trap.spring(DropOfCredential);
        }
    }
}

// === impl Inner ===

impl Clone for Inner {
    fn clone(&self) -> Self {
        self.trap.spring(CloneOfInner);
        Self { sent: self.sent.clone(), trap: self.trap.clone() }
    }
}

impl Service<Request<ReplayBody<Meddling>>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.trap.spring(ReadinessOfInner);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<Meddling>>) -> Self::Future {
        self.sent.lock().unwrap().push(request.extensions().get::<&str>().unwrap());
        ready(Ok(Response::default()))
    }
}

// === impl Meddling ===

impl Body for Meddling {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.take().map(|meddle| {
            meddle();
            Ok(Frame::data(Bytes::from_static(b"body")))
        }))
    }
}

// === impl Extension ===

impl Clone for Extension {
    fn clone(&self) -> Self {
        self.0.spring(CloneOfExtension);
        Self(self.0.clone())
    }
}
