use std::{fmt, marker::PhantomData, sync::Arc};

use tower_layer::Layer;

use crate::{
    credential::{contract::Credential, origins::Origins, token::Token},
    detect::Detect,
    middleware::{
        per_request::RefreshPerRequest,
        policy::{FailureMode, Policy},
        service::Refresh,
        source::PerRequest,
    },
    session::handle::Session,
};

/// Applies a session's credential to requests, and replays those that are rejected after one
/// refresh.
///
/// A layer has a session and the origins that may receive the credential. Every other setting has a
/// safe default. The [crate docs](crate) have a complete example.
///
/// ```
/// use tower_refresh::{FailureMode, Origin, RefreshLayer, Session};
///
/// # fn build(session: Session) -> RefreshLayer {
/// let api = Origin::from_static("https://api.example.com");
/// let layer = RefreshLayer::new(session, api)
///     .replay_limit(1024 * 1024)
///     .failure_mode(FailureMode::Response);
/// # layer }
/// ```
///
/// # The session of a request
///
/// `M` says where the session of a request comes from. A layer of [`new`](Self::new) has one
/// session for all requests. A proxy, a gateway or a back-end for front-ends has one for each user:
/// with [`per_request`](Self::per_request) each request brings its own in its extensions.
#[must_use]
pub struct RefreshLayer<C = Token, M = Session<C>> {
    sessions: M,
    policy: Policy,
    credential: PhantomData<fn() -> C>,
}

// === impl RefreshLayer ===

impl<C: Credential> RefreshLayer<C> {
    /// Creates a layer that sends the credential of `session` to these origins, and nowhere else.
    ///
    /// Layers that share a session share its refresh:
    ///
    /// ```
    /// use tower_layer::Layer;
    /// use tower_refresh::{Origin, Refresh, RefreshLayer, Session};
    ///
    /// fn wrap<S: Clone>(session: &Session, users: S, orders: S) -> (Refresh<S>, Refresh<S>) {
    ///     let users_api = Origin::from_static("https://users.example.com");
    ///     let orders_api = Origin::from_static("https://orders.example.com");
    ///     (
    ///         RefreshLayer::new(session.clone(), users_api).layer(users),
    ///         RefreshLayer::new(session.clone(), orders_api).layer(orders),
    ///     )
    /// }
    /// ```
    ///
    /// A request to another origin passes untouched, and so does its response. `FollowRedirect`
    /// *around* this layer sends every hop through it, so that a redirect to another origin carries
    /// no credential. A client that follows redirects *below* this layer decides by itself what the
    /// hops carry; see [`TargetUri`](crate::extension::TargetUri) for the response of such a
    /// client.
    ///
    /// A `TRACE` request never carries the credential (RFC 9110 §9.3.8).
    pub fn new(session: Session<C>, origins: impl Into<Origins>) -> Self {
        Self::from_source(session, Policy::new(origins.into()))
    }
}

impl RefreshLayer {
    /// Creates a layer that takes the [`Session`] of each request from the request's extensions,
    /// and sends its credential to these origins, and nowhere else.
    ///
    /// The layer removes the session before the request is sent, so that no inner service sees it.
    /// A request without a session fails with [`ErrorKind::NoSession`](crate::ErrorKind::NoSession)
    /// and is not sent, unless it passes untouched anyway: it is marked
    /// [`Anonymous`](crate::extension::Anonymous), has a credential of its own, or goes elsewhere.
    /// All guarantees of a session hold for each session by itself.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::Full;
    /// use tower::{BoxError, Layer, ServiceExt, service_fn};
    /// use tower_refresh::{ErrorKind, Origin, RefreshLayer, ReplayBody, Session, Token};
    /// # use tower_refresh::{Error, RefreshContext, RefreshError, refresher_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// # let upstream = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
    /// #     Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
    /// # });
    /// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
    /// let api = Origin::from_static("https://api.example.com");
    /// let client = RefreshLayer::per_request(api).layer(upstream);
    ///
    /// let anns = Session::new(Token::bearer("anns")?, refresher);
    /// let user = || Request::get("https://api.example.com/user");
    /// let request = user().extension(anns).body(Full::default())?;
    /// assert_eq!(client.clone().oneshot(request).await?.status(), 200);
    ///
    /// let error = client.oneshot(user().body(Full::default())?).await.unwrap_err();
    /// assert_eq!(error.downcast_ref::<Error>().unwrap().kind(), ErrorKind::NoSession);
    /// # Ok(()) }
    /// ```
    ///
    /// [`credential`](RefreshLayer::credential) chooses another type of credential.
    pub fn per_request(origins: impl Into<Origins>) -> RefreshLayer<Token, PerRequest> {
        let sessions = PerRequest { pass_without_session: false };
        RefreshLayer::from_source(sessions, Policy::new(origins.into()))
    }
}

impl<C: Credential> RefreshLayer<C, PerRequest> {
    /// Chooses the type of credential: requests bring a `Session<D>`. A session of another type in
    /// their extensions is not seen.
    ///
    /// ```
    /// use tower_refresh::{Credential, Origin, PerRequest, RefreshLayer};
    ///
    /// fn of<C: Credential>(api: Origin) -> RefreshLayer<C, PerRequest> {
    ///     RefreshLayer::per_request(api).credential()
    /// }
    /// ```
    pub fn credential<D: Credential>(self) -> RefreshLayer<D, PerRequest> {
        RefreshLayer::from_source(self.sessions, self.policy)
    }

    /// Whether a request without a session passes untouched, without a credential. Default: false;
    /// it fails.
    ///
    /// For a proxy whose upstream also serves callers that are not logged in.
    pub fn pass_without_session(mut self, pass: bool) -> Self {
        self.sessions.pass_without_session = pass;
        self
    }
}

impl<C: Credential, M> RefreshLayer<C, M> {
    fn from_source(sessions: M, policy: Policy) -> Self {
        Self { sessions, policy, credential: PhantomData }
    }

    /// Decides which responses reject the credential. Default:
    /// [`Unauthorized`](crate::detect::Unauthorized).
    ///
    /// ```
    /// # use tower_refresh::RefreshLayer;
    /// use tower_refresh::detect::detect_fn;
    ///
    /// # fn f(layer: RefreshLayer) -> RefreshLayer {
    /// // Some frameworks answer 419 when a session has expired.
    /// let layer = layer.detect(detect_fn(|response| matches!(response.status().as_u16(), 401 | 419)));
    /// # layer }
    /// ```
    pub fn detect(mut self, detect: impl Detect) -> Self {
        self.policy.detect = Arc::new(detect);
        self
    }

    #[allow(dead_code, reason = "a leaf uses it")]
    pub(crate) fn detector(&self) -> &Arc<dyn Detect> {
        &self.policy.detect
    }

    /// Limits the memory in bytes that the copy of a request body may take. Default: 64 KiB. With
    /// 0, only requests without a body are replayed.
    ///
    /// A longer body is sent, but cannot be replayed: the caller gets its rejection.
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.policy.replay_limit = bytes;
        self
    }

    /// Decides what a rejected request gets if there is no newer credential. Default:
    /// [`FailureMode::Error`].
    pub fn failure_mode(mut self, mode: FailureMode) -> Self {
        self.policy.failure_mode = mode;
        self
    }

    /// Whether the credential replaces one that the caller put on the request. Default: false; such
    /// a request passes untouched ([`Credential::is_present`]).
    ///
    /// A gateway where the callers' own credentials end sets it.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.policy.overwrite = overwrite;
        self
    }

    /// Whether requests that carry the credential, and their responses, have a
    /// [`Stamp`](crate::extension::Stamp) in their extensions. Default: false.
    pub fn expose_stamp(mut self, expose: bool) -> Self {
        self.policy.expose_stamp = expose;
        self
    }
}

impl<S, C: Credential> Layer<S> for RefreshLayer<C> {
    type Service = Refresh<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Refresh::new(inner, self.sessions.clone(), self.policy.clone())
    }
}

impl<S, C: Credential> Layer<S> for RefreshLayer<C, PerRequest> {
    type Service = RefreshPerRequest<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        RefreshPerRequest::new(inner, self.sessions.clone(), self.policy.clone())
    }
}

impl<C, M: Clone> Clone for RefreshLayer<C, M> {
    fn clone(&self) -> Self {
        Self {
            sessions: self.sessions.clone(),
            policy: self.policy.clone(),
            credential: PhantomData,
        }
    }
}

impl<C, M: fmt::Debug> fmt::Debug for RefreshLayer<C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshLayer")
            .field("sessions", &self.sessions)
            .field("policy", &self.policy)
            .finish()
    }
}
