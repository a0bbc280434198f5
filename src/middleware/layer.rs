use std::{fmt, sync::Arc};

use tower_layer::Layer;

use crate::{
    credential::{contract::Credential, origins::Origins, token::Token},
    detect::Detect,
    middleware::{
        policy::{FailureMode, Policy},
        service::Refresh,
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
#[must_use]
pub struct RefreshLayer<C = Token> {
    session: Session<C>,
    policy: Policy,
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
        Self { session, policy: Policy::new(origins.into()) }
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
        Refresh::new(inner, self.session.clone(), self.policy.clone())
    }
}

impl<C> Clone for RefreshLayer<C> {
    fn clone(&self) -> Self {
        Self { session: self.session.clone(), policy: self.policy.clone() }
    }
}

impl<C> fmt::Debug for RefreshLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshLayer")
            .field("session", &self.session)
            .field("policy", &self.policy)
            .finish()
    }
}
