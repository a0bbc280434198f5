use std::{fmt, sync::Arc};

use tower_layer::Layer;

use crate::{
    credential::{contract::Credential, origin::Origin, token::Token},
    detect::Detect,
    middleware::{
        policy::{FailureMode, Policy},
        service::Refresh,
    },
    session::handle::Session,
};

/// Keeps the credential of the requests that pass through it fresh.
///
/// See the [crate docs](crate) for an example. Every setting has a default that is safe for a
/// client of one upstream.
///
/// ```
/// use tower_refresh::{FailureMode, Origin, RefreshLayer, Session};
///
/// # fn build(session: Session) -> Result<RefreshLayer, tower_refresh::credential::InvalidOrigin> {
/// let layer = RefreshLayer::new(session)
///     .origins([Origin::try_from("https://api.example.com")?])
///     .replay_limit(1024 * 1024)
///     .failure_mode(FailureMode::Response);
/// # Ok(layer) }
/// ```
#[must_use]
pub struct RefreshLayer<C = Token> {
    session: Session<C>,
    policy: Policy,
}

// === impl RefreshLayer ===

impl<C: Credential> RefreshLayer<C> {
    /// A layer for this session, with all settings at their defaults.
    ///
    /// Layers may share a session: they share the refresh as well.
    ///
    /// ```
    /// use tower::Layer;
    /// use tower_refresh::{Refresh, RefreshLayer, Session};
    ///
    /// fn wrap<S: Clone>(session: &Session, users: S, orders: S) -> (Refresh<S>, Refresh<S>) {
    ///     let layer = RefreshLayer::new(session.clone());
    ///     (layer.layer(users), layer.layer(orders))
    /// }
    /// ```
    pub fn new(session: Session<C>) -> Self {
        Self { session, policy: Policy::default() }
    }

    /// Which responses reject the credential. Default:
    /// [`Unauthorized`](crate::detect::Unauthorized).
    ///
    /// ```
    /// # use tower_refresh::RefreshLayer;
    /// use tower_refresh::detect::detect_fn;
    ///
    /// # fn f(layer: RefreshLayer) -> RefreshLayer {
    /// // 419 is what some frameworks say for an expired session.
    /// let layer = layer.detect(detect_fn(|status, _| matches!(status.as_u16(), 401 | 419)));
    /// # layer }
    /// ```
    pub fn detect(mut self, detect: impl Detect) -> Self {
        self.policy.detect = Arc::new(detect);
        self
    }

    /// How many bytes of a request's body are kept for its replay. Default: 64 KiB. With 0, only
    /// requests without a body are replayed.
    ///
    /// A longer body is sent all the same; if it is rejected, the caller gets the rejection.
    ///
    /// ```
    /// # use tower_refresh::RefreshLayer;
    /// # fn f(layer: RefreshLayer) -> RefreshLayer {
    /// let layer = layer.replay_limit(8 * 1024 * 1024);
    /// # layer }
    /// ```
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.policy.replay_limit = bytes;
        self
    }

    /// What a rejected request gets that can't be replayed because there is no newer credential.
    /// Default: [`FailureMode::Error`].
    ///
    /// ```
    /// # use tower_refresh::{FailureMode, RefreshLayer};
    /// # fn f(layer: RefreshLayer) -> RefreshLayer {
    /// let layer = layer.failure_mode(FailureMode::Response);
    /// # layer }
    /// ```
    pub fn failure_mode(mut self, mode: FailureMode) -> Self {
        self.policy.failure_mode = mode;
        self
    }

    /// Where the credential may go. Default: anywhere. Requests to other origins pass untouched. A
    /// URI without an authority is the service's own, and always one of them.
    ///
    /// Set it on every client that is used for several hosts, and wherever `FollowRedirect` is
    /// *around* this layer: each hop then comes through it. (tower-http strips the extensions of a
    /// request at a hop to another origin, so that [`Anonymous`](crate::extension::Anonymous) does not survive
    /// it.) Where redirects are followed *below* the layer, it sees none of the hops, and what they
    /// carry is the business of the redirect policy.
    ///
    /// ```
    /// # use tower_refresh::{Origin, RefreshLayer};
    /// # fn f(layer: RefreshLayer) -> Result<RefreshLayer, tower_refresh::credential::InvalidOrigin> {
    /// let api = Origin::try_from("https://api.example.com")?;
    /// let files = Origin::try_from("https://files.example.com")?;
    /// let layer = layer.origins([api, files]);
    /// # Ok(layer) }
    /// ```
    pub fn origins(mut self, origins: impl IntoIterator<Item = Origin>) -> Self {
        self.policy.origins = Some(origins.into_iter().collect());
        self
    }

    /// Whether the credential may travel over `http://` to a host that isn't loopback. Default:
    /// false; such a request fails with [`ErrorKind::Cleartext`](crate::ErrorKind::Cleartext). RFC
    /// 6750 §5.3 demands TLS.
    ///
    /// Loopback is `localhost`, its subdomains, `127.0.0.0/8` and `[::1]`.
    ///
    /// ```
    /// # use tower_refresh::RefreshLayer;
    /// # fn f(layer: RefreshLayer) -> RefreshLayer {
    /// // Inside a mesh whose side-car does the TLS.
    /// let layer = layer.allow_cleartext(true);
    /// # layer }
    /// ```
    pub fn allow_cleartext(mut self, allow: bool) -> Self {
        self.policy.allow_cleartext = allow;
        self
    }

    /// Whether the credential takes the place of one that the caller put on the request. Default:
    /// false; such a request passes untouched ([`Credential::is_present`]).
    ///
    /// ```
    /// # use tower_refresh::RefreshLayer;
    /// # fn f(layer: RefreshLayer) -> RefreshLayer {
    /// // A gateway: the callers' own credentials end here.
    /// let layer = layer.overwrite(true);
    /// # layer }
    /// ```
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.policy.overwrite = overwrite;
        self
    }

    /// Whether a [`Stamp`](crate::extension::Stamp) is put into the extensions of requests that carry the
    /// credential, and of their responses. Default: false.
    ///
    /// ```
    /// # use tower_refresh::RefreshLayer;
    /// # fn f(layer: RefreshLayer) -> RefreshLayer {
    /// let layer = layer.expose_stamp(true);
    /// # layer }
    /// ```
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
