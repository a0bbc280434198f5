//! Guarantees 4 and 9 when a callback of the user (a clock, a clone, a drop, …) ends the login or
//! begins another while a request is being sent. A slow callback has the same effect, because
//! another thread may change the session meanwhile.

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

use Callback::*;
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

/// The callbacks that run before a request is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Callback {
    Body,
    Clock,
    CloneOfInner,
    ReadinessOfInner,
    CloneOfExtension,
    Unshared,
    DropOfCredential,
}

/// Runs an action once, in the callback that it is set for.
#[derive(Clone, Default)]
struct CallbackSlot(Arc<Mutex<Option<(Callback, Action)>>>);

type Action = Box<dyn FnOnce() + Send>;

/// An inner service that records the key of every request.
struct Inner {
    sent: Arc<Mutex<Vec<&'static str>>>,
    slot: CallbackSlot,
}

struct Key {
    name: &'static str,
    expires_at: Option<SystemTime>,
    is_copy: bool,
    slot: CallbackSlot,
}

/// A body of one frame that runs an action when it is polled.
struct CallbackBody(Option<Action>);

struct Extension(CallbackSlot);

struct Fixture {
    session: Session<Key>,
    service: Refresh<Inner, Key>,
    sent: Arc<Mutex<Vec<&'static str>>>,
    slot: CallbackSlot,
}

/// When the credential is replaced. The request then has to apply the replacement before it is
/// sent.
#[derive(Clone, Copy, Debug)]
enum Replacement {
    BeforeCall,
    FromBody,
}

/// The callbacks that run after the replacement.
const CASES: [(Replacement, &[Callback]); 2] = [
    (Replacement::BeforeCall, &[Clock, CloneOfInner, CloneOfExtension, Unshared, DropOfCredential]),
    (Replacement::FromBody, &[Body, Clock, CloneOfInner, CloneOfExtension]),
];

fn cases() -> impl Iterator<Item = (Replacement, Callback)> {
    CASES.into_iter().flat_map(|(replacement, callbacks)| {
        callbacks.iter().map(move |callback| (replacement, *callback))
    })
}

#[tokio::test(start_paused = true)]
async fn g09_a_logout_from_a_callback_before_the_send_stops_the_request() {
    for (replacement, callback) in cases() {
        let mut fixture = Fixture::new();
        let answer =
            fixture.send(replacement, callback, |fixture| drop(fixture.session.logout())).await;
        assert_eq!(kind(answer), ErrorKind::LoggedOut, "{replacement:?}, {callback:?}");
        assert_eq!(fixture.sent(), [""; 0], "{replacement:?}, {callback:?}");
    }
    for callback in [Clock, CloneOfInner, ReadinessOfInner, CloneOfExtension] {
        let mut fixture = Fixture::new();
        fixture.replace("b");
        let request = fixture.request(|_| ());
        // Without `poll_ready`, the response future runs all callbacks.
        let answer = fixture.service.call(request);
        fixture.run_once_at(callback, |fixture| drop(fixture.session.logout()));
        assert_eq!(kind(answer.await), ErrorKind::LoggedOut, "{callback:?}");
        assert_eq!(fixture.sent(), [""; 0], "{callback:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn g04_and_g09_hold_when_the_clock_ends_the_login_at_the_last_check() {
    let ends: [(fn(&Fixture), _); 2] = [
        (|fixture| drop(fixture.session.logout()), ErrorKind::LoggedOut),
        (|fixture| fixture.log_in("c"), ErrorKind::LoginChanged),
    ];
    for (end, error) in ends {
        let mut fixture = Fixture::new();
        fixture.replace("b");
        let request = fixture.request(|_| ());
        let answer = fixture.service.call(request);
        // `CloneOfExtension` is the last callback before the last check.
        fixture.run_once_at(CloneOfExtension, move |fixture| fixture.run_once_at(Clock, end));
        assert_eq!(kind(answer.await), error);
        assert_eq!(fixture.sent(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn g04_a_login_from_a_callback_before_the_send_stops_the_request() {
    for (replacement, callback) in cases() {
        let mut fixture = Fixture::new();
        let answer = fixture.send(replacement, callback, |fixture| fixture.log_in("c")).await;
        // The request belongs to a login only once `call` has stored the new snapshot.
        if matches!(
            (replacement, callback),
            (Replacement::BeforeCall, CloneOfInner | Unshared | DropOfCredential)
        ) {
            assert_eq!(answer.unwrap().status(), 200, "{replacement:?}, {callback:?}");
            assert_eq!(fixture.sent(), ["c"], "{replacement:?}, {callback:?}");
        } else {
            assert_eq!(kind(answer), ErrorKind::LoginChanged, "{replacement:?}, {callback:?}");
            assert_eq!(fixture.sent(), [""; 0], "{replacement:?}, {callback:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_replacement_from_a_callback_before_the_send_is_sent() {
    for (replacement, callback) in cases() {
        let mut fixture = Fixture::new();
        let answer = fixture.send(replacement, callback, |fixture| fixture.replace("c")).await;
        assert_eq!(answer.unwrap().status(), 200, "{replacement:?}, {callback:?}");
        assert_eq!(fixture.sent(), ["c"], "{replacement:?}, {callback:?}");
    }
}

// === impl CallbackSlot ===

impl CallbackSlot {
    fn run_at(&self, current: Callback) {
        let run = self.0.lock().unwrap().take_if(|(callback, _)| *callback == current);
        if let Some((_, run)) = run {
            run();
        }
    }
}

// === impl Fixture ===

impl Fixture {
    fn new() -> Self {
        let slot = CallbackSlot::default();
        let (sent, clock) = (Arc::<Mutex<_>>::default(), slot.clone());
        let refresher =
            refresher_fn(|_: RefreshContext<Key>| async { unreachable!("nothing is rejected") });
        let session = Session::builder(refresher)
            .credential(Key::new("a", &slot))
            .clock(move || {
                clock.run_at(Clock);
                SystemTime::UNIX_EPOCH
            })
            .build();
        let inner = Inner { sent: sent.clone(), slot: slot.clone() };
        let service = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);
        Self { session, service, sent, slot }
    }

    /// Sends a request whose credential is replaced meanwhile, and runs `then` in the first
    /// `callback` after the replacement.
    async fn send(
        &mut self,
        replacement: Replacement,
        callback: Callback,
        then: impl FnOnce(&Self) + Send + 'static,
    ) -> Result<Response<Full<Bytes>>, BoxError> {
        let replace = move |fixture: &Self| {
            fixture.replace("b");
            fixture.run_once_at(callback, then);
            fixture.slot.run_at(Body);
        };
        self.service.ready().await?;
        let request = match replacement {
            Replacement::BeforeCall => {
                replace(self);
                self.request(|_| ())
            }
            Replacement::FromBody => self.request(replace),
        };
        self.service.call(request).await
    }

    fn request(&self, on_poll: impl FnOnce(&Self) + Send + 'static) -> Request<CallbackBody> {
        let fixture = self.handle();
        let body = CallbackBody(Some(Box::new(move || on_poll(&fixture))));
        let mut request = Request::post("https://example.com/").body(body).unwrap();
        request.extensions_mut().insert(Extension(self.slot.clone()));
        request
    }

    fn run_once_at(&self, callback: Callback, run: impl FnOnce(&Self) + Send + 'static) {
        let fixture = self.handle();
        *self.slot.0.lock().unwrap() = Some((callback, Box::new(move || run(&fixture))));
    }

    /// A fixture with the same session and a service of its own.
    fn handle(&self) -> Self {
        let inner = Inner { sent: self.sent.clone(), slot: CallbackSlot::default() };
        let service = RefreshLayer::new(self.session.clone(), Origins::any()).layer(inner);
        Self {
            session: self.session.clone(),
            service,
            sent: self.sent.clone(),
            slot: self.slot.clone(),
        }
    }

    fn replace(&self, name: &'static str) {
        let replaced =
            self.session.replace(self.session.state().login(), Key::new(name, &self.slot));
        assert!(replaced.is_ok());
    }

    fn log_in(&self, name: &'static str) {
        self.session.login(Key::new(name, &self.slot));
    }

    fn sent(&self) -> Vec<&'static str> {
        self.sent.lock().unwrap().clone()
    }
}

// === impl Key ===

impl Key {
    /// A key that expires, unless it is the first one. The clock is therefore read only after the
    /// replacement.
    fn new(name: &'static str, slot: &CallbackSlot) -> Self {
        let expires_at = (name != "a").then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(3600));
        Self { name, expires_at, is_copy: false, slot: slot.clone() }
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
        self.slot.run_at(Unshared);
        Some(Self { is_copy: true, slot: self.slot.clone(), ..*self })
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        if !self.is_copy {
            self.slot.run_at(DropOfCredential);
        }
    }
}

// === impl Inner ===

impl Clone for Inner {
    fn clone(&self) -> Self {
        self.slot.run_at(CloneOfInner);
        Self { sent: self.sent.clone(), slot: self.slot.clone() }
    }
}

impl Service<Request<ReplayBody<CallbackBody>>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.slot.run_at(ReadinessOfInner);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<CallbackBody>>) -> Self::Future {
        self.sent.lock().unwrap().push(request.extensions().get::<&str>().unwrap());
        ready(Ok(Response::default()))
    }
}

// === impl CallbackBody ===

impl Body for CallbackBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.take().map(|on_poll| {
            on_poll();
            Ok(Frame::data(Bytes::from_static(b"body")))
        }))
    }
}

// === impl Extension ===

impl Clone for Extension {
    fn clone(&self) -> Self {
        self.0.run_at(CloneOfExtension);
        Self(self.0.clone())
    }
}
