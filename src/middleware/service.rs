use std::{
    cell::OnceCell,
    fmt,
    future::poll_fn,
    mem,
    sync::Arc,
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
        detour::{CallContext, Detour, ReplayCopy},
        extension::NoReplay,
        future::{FirstAttempt, ResponseFuture},
        policy::{Policy, Route},
        snapshot::{LatestSnapshot, Snapshot},
    },
    replay::{Replay, ReplayBody, head::HeadCopy},
    session::{Login, Phase, handle::Session},
};

/// The service of a [`RefreshLayer`](crate::RefreshLayer).
///
/// ```
/// use std::convert::Infallible;
///
/// use bytes::Bytes;
/// use http::{Request, Response, header::AUTHORIZATION};
/// use http_body_util::Full;
/// use tower::{Layer, service_fn};
/// use tower_refresh::{
///     Origin, RefreshContext, RefreshLayer, ReplayBody, Session, Token, refresher_fn,
/// };
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
/// let api = Origin::from_static("https://api.example.com");
/// let client = RefreshLayer::new(session, api).layer(upstream);
/// let request = Request::get("https://api.example.com/user").body(Full::default())?;
/// assert_eq!(client.request(request).await?.status(), 200);
/// # Ok(()) }
/// ```
///
/// # If it does not compile
///
/// A call of [`request`](Self::request) names the bound that is not satisfied, and so does a call
/// with the request's type: `ServiceExt::<Request<B>>::oneshot(client, request)`. The method call
/// `client.oneshot(request)` does not: "its trait bounds were not satisfied". There are three
/// causes:
///
/// - The inner service takes the caller's body type. It receives a [`ReplayBody`] around that type:
///   `Service<Request<ReplayBody<B>>>`. For a client with one fixed body type, convert the body
///   below the layer, for example with tower-http's `MapRequestBodyLayer`.
/// - The inner service is not [`Clone`]: every replay goes to a clone. `tower::util::BoxService` is
///   not; use `BoxCloneService`, or put a `Buffer` below the layer.
/// - The error of the body or of the inner service does not convert into a
///   [`BoxError`](crate::BoxError), or the body is not `Unpin`. Box the body:
///   `http_body_util::BodyExt::boxed_unsync`.
///
/// # Clones
///
/// Clones share the session. Each clone has a snapshot: the state of the session, a copy of the
/// credential ([`Credential::unshared`]), and an instance of the inner service that is cloned for
/// replays and never called. A request with a fresh credential therefore takes no lock, clones no
/// inner service, and shares no counter with the requests of other clones. A clone borrows the
/// snapshot of its original for its first call, and takes one of its own at the second call. A task
/// that sends many requests should keep its clone.
///
/// An idle clone keeps its credential alive until the clone is used or dropped.
///
/// The snapshot's lock is held while the inner service is cloned for a replay. The `Clone` of the
/// inner service must not poll a request of this service or of its clones.
///
/// # Bodies
///
/// `call` polls the body of the request to keep the frames that are there already. Polling stops
/// when the body is pending or too long for a replay (see [`ReplayBody`]). A body that needs a
/// runtime needs one in `call`. A body that panics does so in `call`, which ends the worker of a
/// `Buffer` above the layer. A body with `Expect: 100-continue`, or of a request marked
/// [`NoReplay`], is first polled by the inner service.
///
/// # Readiness
///
/// `poll_ready` polls the inner service only while a request could be sent at once. Otherwise it is
/// ready: a request may come and wait for a refresh, and holds no readiness of the inner service
/// meanwhile. `poll_ready` fails only if the inner service does.
///
/// `poll_ready` reads the clock to decide whether the credential has expired. `call` checks again
/// whether the credential has changed.
///
/// While a task waits for the readiness of the inner service, here or in a response future, only
/// the inner service wakes it. A logout or a refresh in the meantime is noticed then, before
/// anything is sent.
///
/// # Errors
///
/// `poll_ready` returns the error of the inner service unchanged. See [`ResponseFuture`] for the
/// errors of a request.
///
/// # Cancel safety
///
/// A [`ResponseFuture`] may be dropped at any time.
pub struct Refresh<S, C = Token> {
    inner: S,
    readiness: Readiness,
    latest: LatestSnapshot<S, C>,
}

/// The readiness of the inner service, which no call has used yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Readiness {
    #[default]
    NotPolled,
    /// The inner service was polled and is not known to be ready. It may hold a place in a queue.
    Polled,
    /// Ready. The time is what the clock said at that poll, if the credential has an expiry.
    Ready(Option<SystemTime>),
}

// === impl Refresh ===

impl<S, C> Refresh<S, C> {
    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    ///
    /// The caller may put another service in its place, so that the readiness of the present one no
    /// longer counts: without another `poll_ready`, the next call goes to a clone. Replays of later
    /// calls go to clones of the service that the caller leaves here.
    pub fn get_mut(&mut self) -> &mut S {
        self.latest.invalidate();
        if let Readiness::Ready(_) = self.readiness {
            self.readiness = Readiness::Polled;
        }
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, C: Credential> Refresh<S, C> {
    pub(super) fn new(inner: S, session: Session<C>, policy: Policy) -> Self {
        let latest = LatestSnapshot::new(session, policy);
        Self { inner, readiness: Readiness::NotPolled, latest }
    }
}

impl<S, C: Credential> Refresh<S, C> {
    /// Sends a request through a clone of this service, once that clone is ready.
    ///
    /// The method has the bounds of the [`Service`] impl. If one is not satisfied, the compiler
    /// names it, unlike for a method of an extension trait.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::Request;
    /// use http_body_util::Full;
    /// use hyper_util::client::legacy::{Client, connect::HttpConnector};
    /// use tower_refresh::{BoxError, Refresh, ReplayBody};
    ///
    /// type Api = Refresh<Client<HttpConnector, ReplayBody<Full<Bytes>>>>;
    ///
    /// async fn user_exists(api: &Api) -> Result<bool, BoxError> {
    ///     let request = Request::head("https://api.example.com/user").body(Full::default())?;
    ///     Ok(api.request(request).await?.status().is_success())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`ResponseFuture`].
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time, like a [`ResponseFuture`].
    pub fn request<B, ResBody>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<ResBody>, BoxError>> + use<S, C, B, ResBody>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<ResBody>> + Clone,
        S::Error: Into<BoxError>,
        B: Body + Unpin,
        B::Error: Into<BoxError>,
        ResBody: Body,
    {
        let mut service = self.clone();
        async move {
            poll_fn(|cx| Service::<Request<B>>::poll_ready(&mut service, cx)).await?;
            service.call(request).await
        }
    }
}

impl<S: Clone, C> Refresh<S, C> {
    /// Releases what this instance of the inner service may have reserved: a permit, a place in a
    /// queue.
    fn release_readiness(&mut self) {
        if mem::take(&mut self.readiness) != Readiness::NotPolled {
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
        let Snapshot { binding, state, .. } = &**self.latest.update(&self.inner);
        if state.sendable(|| *wall.get_or_init(|| binding.session.wall())).is_none() {
            self.release_readiness();
            return Poll::Ready(Ok(()));
        }
        self.readiness = Readiness::Polled;
        ready!(self.inner.poll_ready(cx)).map_err(Into::into)?;
        self.readiness = Readiness::Ready(wall.into_inner());
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let Snapshot { binding, state, .. } = &**self.latest.update(&self.inner);
        match binding.route(&head) {
            Route::Carry => {}
            Route::Pass => {
                let request = Request::from_parts(head, ReplayBody::passthrough(body));
                return self.pass(request);
            }
            Route::Refuse(error) => {
                let login = state.login();
                return self.refuse(login, error);
            }
        }
        if let Phase::LoggedOut(reason) = state.phase() {
            // The body is not polled if nothing is sent.
            let (login, error) = (state.login(), reason.to_error());
            return self.refuse(login, error);
        }
        let wall = match self.readiness {
            Readiness::Ready(read) => read,
            Readiness::NotPolled | Readiness::Polled => None,
        };
        // The login of this snapshot is the login of the request, for all of its attempts.
        let snapshot = self.latest.for_call(&self.inner, wall);
        let Snapshot { binding, state, .. } = &*snapshot;
        let (body, replay) = recorded(&head, body, binding.policy.replay_limit);
        let is_ready = matches!(self.readiness, Readiness::Ready(_));
        let wall = || wall.unwrap_or_else(|| binding.session.wall());
        if !is_ready || state.sendable(wall).is_none() {
            return self.detour(snapshot, head, body, replay);
        }
        // The direct path: no lock of the session is taken, and no future is boxed.
        let copy = ReplayCopy { head: HeadCopy::of(&head), body: replay };
        // Checked last. Polls of bodies, clones and clocks may run user code, and a login or a
        // logout may complete meanwhile (guarantee 4).
        if !snapshot.is_current() {
            return self.detour(snapshot, head, body, copy.body);
        }
        self.readiness = Readiness::NotPolled;
        snapshot.apply(&mut head);
        let future = self.inner.call(Request::from_parts(head, body));
        ResponseFuture::direct(future, FirstAttempt { snapshot, copy })
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
            self.readiness = Readiness::NotPolled;
            ResponseFuture::untouched(self.inner.call(request))
        } else {
            self.release_readiness();
            ResponseFuture::readying_untouched(self.inner.clone(), request)
        }
    }

    fn detour<B, ResBody>(
        &mut self,
        snapshot: Arc<Snapshot<S, C>>,
        head: Parts,
        body: ReplayBody<B>,
        replay: Replay<B>,
    ) -> ResponseFuture<S, C, B, ResBody>
    where
        S: Service<Request<ReplayBody<B>>>,
        ResBody: Body,
    {
        self.release_readiness();
        let call = CallContext::new(snapshot);
        ResponseFuture::detour(Detour::admitting(call, head, body, replay))
    }

    #[cold]
    fn refuse<B, ResBody>(&mut self, login: Login, error: Error) -> ResponseFuture<S, C, B, ResBody>
    where
        S: Service<Request<ReplayBody<B>>>,
    {
        self.release_readiness();
        self.latest.binding().report_refused(login, &error);
        ResponseFuture::failed(error)
    }
}

impl<S: Clone, C: Credential> Clone for Refresh<S, C> {
    /// Clones the service. The clone has not polled its inner service.
    fn clone(&self) -> Self {
        let latest = self.latest.borrow(&self.inner);
        Self { inner: self.inner.clone(), readiness: Readiness::NotPolled, latest }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Refresh<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh")
            .field("inner", &self.inner)
            .field("binding", &self.latest.binding())
            .finish_non_exhaustive()
    }
}

/// The body of the first attempt, and the copy for a replay.
#[inline]
fn recorded<B>(head: &Parts, body: B, replay_limit: usize) -> (ReplayBody<B>, Replay<B>)
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    if head.extensions.get::<NoReplay>().is_some() {
        return ReplayBody::once(body);
    }
    // Polling a body that expects 100 (Continue) would tell its sender that the upstream has sent
    // it (RFC 9110 §10.1.1).
    ReplayBody::recording(body, replay_limit, || !head.headers.contains_key(EXPECT))
}
