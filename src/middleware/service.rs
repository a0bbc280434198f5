use std::{
    cell::OnceCell,
    fmt,
    future::poll_fn,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    credential::{contract::Credential, token::Token},
    error::BoxError,
    middleware::{
        future::ResponseFuture,
        instance::Instance,
        policy::{Policy, Route},
        snapshot::LatestSnapshot,
    },
    replay::ReplayBody,
    session::{Phase, handle::Session},
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
/// [`NoReplay`](crate::extension::NoReplay), is first polled by the inner service.
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
    instance: Instance<S>,
    latest: LatestSnapshot<S, C>,
}

// === impl Refresh ===

impl<S, C> Refresh<S, C> {
    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.instance.inner
    }

    /// Returns a mutable reference to the inner service.
    ///
    /// The caller may put another service in its place, so that the readiness of the present one no
    /// longer counts: without another `poll_ready`, the next call goes to a clone. Replays of later
    /// calls go to clones of the service that the caller leaves here.
    pub fn get_mut(&mut self) -> &mut S {
        self.latest.invalidate();
        self.instance.get_mut()
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.instance.inner
    }
}

impl<S, C: Credential> Refresh<S, C> {
    pub(super) fn new(inner: S, session: Session<C>, policy: Policy) -> Self {
        let latest = LatestSnapshot::new(session, policy);
        Self { instance: Instance::new(inner), latest }
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
        let snapshot = self.latest.update(&self.instance.inner);
        let session = snapshot.binding().session;
        if snapshot.state().sendable(|| *wall.get_or_init(|| session.wall())).is_none() {
            self.instance.release_readiness();
            return Poll::Ready(Ok(()));
        }
        self.instance.poll_ready(cx, wall.into_inner())
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { instance, latest } = self;
        let (head, body) = request.into_parts();
        let snapshot = latest.update(&instance.inner);
        let (binding, state) = (snapshot.binding(), snapshot.state());
        match binding.route(&head) {
            Route::Carry => {}
            Route::Pass => return instance.pass(head, body),
            Route::PassWithOwnCredential => return instance.pass_with_own_credential(head, body),
            Route::Refuse(error) => return instance.refuse(binding, state.login(), error),
        }
        if let Phase::LoggedOut(reason) = state.phase() {
            // The body is not polled if nothing is sent.
            let error = reason.to_error();
            return instance.refuse(binding, state.login(), error);
        }
        // The login of this snapshot is the login of the request, for all of its attempts.
        let snapshot = latest.for_call(&instance.inner, instance.polled_at());
        instance.send(snapshot, head, body)
    }
}

impl<S: Clone, C: Credential> Clone for Refresh<S, C> {
    /// Clones the service. The clone has not polled its inner service.
    fn clone(&self) -> Self {
        let inner = &self.instance.inner;
        Self { latest: self.latest.borrow(inner), instance: Instance::new(inner.clone()) }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Refresh<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh")
            .field("inner", &self.instance.inner)
            .field("binding", &self.latest.peek().binding())
            .finish_non_exhaustive()
    }
}
