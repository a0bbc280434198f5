use std::{
    cell::OnceCell,
    fmt, mem,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use http::{Request, Response, header::EXPECT, request::Parts};
use http_body::Body;
use tower_service::Service;

use crate::{
    credential::{contract::Credential, token::Token},
    error::{BoxError, Error},
    middleware::{
        detour::{Call, Detour},
        extension::NoReplay,
        future::{ResponseFuture, Underway},
        policy::{Policy, Route},
        snapshot::{Snapshot, View},
    },
    replay::{Replay, ReplayBody, head::HeadCopy},
    session::{Phase, handle::Session},
};

/// The service of a [`RefreshLayer`](crate::RefreshLayer).
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response, header::AUTHORIZATION};
/// use http_body_util::Full;
/// use std::convert::Infallible;
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_refresh::{refresher_fn, RefreshContext, RefreshLayer, ReplayBody, Session, Token};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower::BoxError> {
/// let upstream = service_fn(|request: Request<ReplayBody<Full<Bytes>>>| async move {
///     let fresh = request.headers()[AUTHORIZATION] == "Bearer at-2";
///     let response = Response::builder().status(if fresh { 200 } else { 401 });
///     Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
/// });
/// let refresher = refresher_fn(|_: RefreshContext| async { Ok(Token::bearer("at-2")?) });
/// let session = Session::new(Token::bearer("at-1")?, refresher);
///
/// let client = RefreshLayer::new(session).layer(upstream);
/// let request = Request::get("https://api.example.com/user").body(Full::default())?;
/// assert_eq!(client.oneshot(request).await?.status(), 200);
/// # Ok(()) }
/// ```
///
/// # Clones
///
/// Clones share the session. Each keeps a snapshot: the session's state, a copy of the credential
/// where it can be had ([`Credential::unshared`]), and an instance of the inner service that is
/// never called, only cloned for a replay. So a request with a fresh credential takes no lock,
/// clones no inner service, and shares no counter with those of other clones. A clone borrows the
/// snapshot of its original for its first call and has one of its own from the second on: a task
/// that sends many requests should keep its clone.
///
/// An idle clone keeps the credential that it saw last alive until it is used again or dropped.
///
/// The inner service is cloned for a replay under a lock that belongs to the snapshot. So its
/// `Clone` must not poll, or wait for, another request of this service or of its clones.
///
/// # Bodies
///
/// `call` polls the body of the request, to keep what is there already, until it has to wait or
/// gets too long for a replay (see [`ReplayBody`]). Where a body needs a runtime, `call` does too,
/// and belongs inside of `runtime.block_on(async { … })`. A body that panics does so in `call`,
/// which ends the worker of a `Buffer` above. With `Expect: 100-continue`, or marked
/// [`NoReplay`](crate::extension::NoReplay), it is not polled before the inner service does.
///
/// # Readiness
///
/// `poll_ready` asks the inner service only while a request could be sent at once. Otherwise it is
/// ready: a request may come and wait, and holds no readiness of the inner service meanwhile. It
/// fails only if the inner service does.
///
/// Whether the credential has expired is asked with the readiness, by the clock of that moment.
/// Whether it has changed is asked again by `call`.
///
/// While a task waits for the readiness of the inner service, here or in the future of a request,
/// it is woken by that alone: a logout or a refresh that begins meanwhile is noticed then, before
/// anything is sent.
///
/// # Errors
///
/// An inner service that fails to become ready fails `poll_ready`, with its error as it is. For the
/// rest see [`ResponseFuture`].
///
/// # Cancel safety
///
/// See [`ResponseFuture`]: it may be dropped at any time.
pub struct Refresh<S, C = Token> {
    inner: S,
    readiness: Readiness,
    view: View<S, C>,
}

/// What the inner service was asked for, and not used for yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Readiness {
    #[default]
    Unasked,
    /// It may hold something, and is not ready, or is not known to be.
    Asked,
    /// With what the clock said when it was asked, if the credential is known to expire.
    Ready(Option<SystemTime>),
}

// === impl Refresh ===

impl<S, C> Refresh<S, C> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service. Replays of later calls go to clones of what is left here.
    ///
    /// What it was polled ready for counts no more, since another service may be put in its place:
    /// without `poll_ready`, the next call goes to a clone.
    pub fn get_mut(&mut self) -> &mut S {
        self.view.invalidate();
        if let Readiness::Ready(_) = self.readiness {
            self.readiness = Readiness::Asked;
        }
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, C: Credential> Refresh<S, C> {
    pub(crate) fn new(inner: S, session: Session<C>, policy: Policy) -> Self {
        Self { inner, readiness: Readiness::Unasked, view: View::new(session, policy) }
    }
}

impl<S: Clone, C> Refresh<S, C> {
    /// Gives up what the inner service may have reserved for this instance: a permit, a place in
    /// its queue.
    fn give_up_readiness(&mut self) {
        if mem::take(&mut self.readiness) != Readiness::Unasked {
            self.inner = self.inner.clone();
        }
    }
}

impl<S, C, B, ResBody> Service<Request<B>> for Refresh<S, C>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    C: Credential,
    B: Body + Unpin,
    B::Error: Into<BoxError>,
    ResBody: Body,
{
    type Response = Response<ResBody>;
    type Error = BoxError;
    type Future = ResponseFuture<S, C, B, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let wall = OnceCell::new();
        let Snapshot { shared, state, .. } = &**self.view.latest(&self.inner);
        if state.sendable(|| *wall.get_or_init(|| shared.session.wall())).is_none() {
            self.give_up_readiness();
            return Poll::Ready(Ok(()));
        }
        self.readiness = Readiness::Asked;
        ready!(self.inner.poll_ready(cx)).map_err(Into::into)?;
        self.readiness = Readiness::Ready(wall.into_inner());
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let Snapshot { shared, state, .. } = &**self.view.latest(&self.inner);
        match shared.route(&head) {
            Route::Carry => {}
            Route::Pass => {
                return self.pass(Request::from_parts(head, ReplayBody::passthrough(body)));
            }
            Route::Refuse(error) => return self.refuse(error),
        }
        if let Phase::LoggedOut(reason) = state.phase() {
            // Where nothing is sent, the body is not even looked at.
            let error = reason.to_error();
            return self.refuse(error);
        }
        // Read with the readiness, if the credential is known to expire.
        let wall = match self.readiness {
            Readiness::Ready(read) => read,
            Readiness::Unasked | Readiness::Asked => None,
        };
        // From here on it is a request of this state's login.
        let snapshot = self.view.for_call(&self.inner, wall);
        let Snapshot { shared, state, .. } = &*snapshot;
        let (body, replay) = recorded(&head, body, shared.policy.replay_limit);
        let is_ready = matches!(self.readiness, Readiness::Ready(_));
        if is_ready && state.sendable(|| wall.unwrap_or_else(|| shared.session.wall())).is_some() {
            // ## The fresh path: no lock of the session, and no future boxed
            let copy = replay.is_possible().then(|| HeadCopy::of(&head));
            // Looked at last: bodies, clones and clocks may be anybody's code, and take their time.
            if snapshot.is_current() {
                self.readiness = Readiness::Unasked;
                snapshot.apply(&mut head);
                let future = self.inner.call(Request::from_parts(head, body));
                return ResponseFuture::fresh(future, Underway { snapshot, copy, replay });
            }
        }
        self.give_up_readiness();
        ResponseFuture::detour(Detour::admitting(Call::new(snapshot), head, body, replay))
    }
}

impl<S, C> Refresh<S, C>
where
    S: Clone,
    C: Credential,
{
    fn pass<B, ResBody>(
        &mut self,
        request: Request<ReplayBody<B>>,
    ) -> ResponseFuture<S, C, B, ResBody>
    where
        S: Service<Request<ReplayBody<B>>>,
    {
        if let Readiness::Ready(_) = self.readiness {
            self.readiness = Readiness::Unasked;
            ResponseFuture::passing(self.inner.call(request))
        } else {
            self.give_up_readiness();
            ResponseFuture::readying_to_pass(self.inner.clone(), request)
        }
    }

    fn refuse<B, ResBody>(&mut self, error: Error) -> ResponseFuture<S, C, B, ResBody>
    where
        S: Service<Request<ReplayBody<B>>>,
    {
        self.give_up_readiness();
        ResponseFuture::failed(error)
    }
}

impl<S: Clone, C: Credential> Clone for Refresh<S, C> {
    /// The clone has asked for no readiness yet.
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            readiness: Readiness::Unasked,
            view: self.view.borrow(&self.inner),
        }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Refresh<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh")
            .field("inner", &self.inner)
            .field("shared", &self.view.shared())
            .finish_non_exhaustive()
    }
}

/// The body of a request, for now and for its replay.
///
/// It may be polled here, except where polling it promises that the upstream has agreed (RFC 9110
/// §10.1.1).
#[inline]
fn recorded<B>(head: &Parts, body: B, replay_limit: usize) -> (ReplayBody<B>, Replay<B>)
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    if head.extensions.get::<NoReplay>().is_some() {
        return ReplayBody::once(body);
    }
    ReplayBody::recording(body, replay_limit, || !head.headers.contains_key(EXPECT))
}
