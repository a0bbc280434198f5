use std::{fmt, sync::Arc};

use http::{Method, request::Parts};

use crate::{
    credential::{
        contract::Credential,
        origins::{Destination, Origins},
    },
    detect::{Detect, Unauthorized},
    error::Error,
    middleware::extension::Anonymous,
};

/// The result of a rejected request for which there is no newer credential.
///
/// ```
/// use tower_refresh::{FailureMode, Origin, RefreshLayer, Session};
///
/// /// For a proxy whose callers know how to handle a 401.
/// fn transparent(session: Session) -> RefreshLayer {
///     let upstream = Origin::from_static("https://api.example.com");
///     RefreshLayer::new(session, upstream).failure_mode(FailureMode::Response)
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureMode {
    /// The [`Error`](crate::Error) of the session that gives the reason.
    #[default]
    Error,
    /// The response that rejected the request. A request that was never sent still gets the error.
    ///
    /// The request holds that response, and with it a connection (HTTP/1) or a stream (HTTP/2),
    /// while it waits for the refresh. When a newer credential arrives, the response is read to its
    /// end, so that the inner service gets its connection back before the replay needs one. From
    /// then on a failure of the replay's admission is an error.
    ///
    /// - A refresher that sends through the same connection pool may find no free connection while
    ///   many requests wait, or no flow-control window on a shared HTTP/2 connection. The refresh
    ///   then ends by its time-out. Give the refresher a client of its own.
    /// - An upload in progress is not interrupted, since that would break its response. Such a
    ///   request is not replayed.
    Response,
}

/// The settings of a layer, without its session.
#[derive(Clone)]
pub(super) struct Policy {
    pub(super) detect: Arc<dyn Detect>,
    pub(super) origins: Origins,
    pub(super) replay_limit: usize,
    pub(super) failure_mode: FailureMode,
    pub(super) overwrite: bool,
    pub(super) expose_stamp: bool,
}

/// The decision whether a request carries the credential.
#[derive(Debug)]
pub(super) enum Route {
    Carry,
    /// The request and its response pass untouched.
    Pass,
    /// The request passes, because it has a credential of the caller.
    PassWithOwnCredential,
    /// The request is not sent.
    Refuse(Error),
}

// === impl Policy ===

impl Policy {
    pub(super) fn new(origins: Origins) -> Self {
        Self {
            detect: Arc::new(Unauthorized),
            origins,
            replay_limit: 64 * 1024,
            failure_mode: FailureMode::default(),
            overwrite: false,
            expose_stamp: false,
        }
    }

    #[inline]
    pub(super) fn route<C: Credential>(&self, request: &Parts) -> Route {
        // A server sends a TRACE back as it arrived, so that a client must not put a credential on
        // it (RFC 9110 §9.3.8).
        if request.method == Method::TRACE || request.extensions.get::<Anonymous>().is_some() {
            return Route::Pass;
        }
        if !self.overwrite && C::is_present(request) {
            return Route::PassWithOwnCredential;
        }
        match self.origins.destination(request) {
            Destination::Allowed => Route::Carry,
            Destination::Foreign => Route::Pass,
            Destination::Cleartext => Route::Refuse(Error::cleartext()),
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("origins", &self.origins)
            .field("replay_limit", &self.replay_limit)
            .field("failure_mode", &self.failure_mode)
            .field("overwrite", &self.overwrite)
            .field("expose_stamp", &self.expose_stamp)
            .finish_non_exhaustive()
    }
}

// === impl Route ===

impl Route {
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Pass | Self::PassWithOwnCredential)
    }
}
