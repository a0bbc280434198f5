use std::{fmt, sync::Arc};

use http::{Method, request::Parts};

use crate::{
    credential::{contract::Credential, origin, origin::Origin},
    detect::{Detect, Unauthorized},
    error::Error,
    middleware::extension::Anonymous,
};

/// What a rejected request gets that can't be replayed, because there is no newer credential.
///
/// ```
/// use tower_refresh::{FailureMode, RefreshLayer, Session};
///
/// /// For a proxy, whose caller knows what to do with a 401.
/// fn transparent(session: Session) -> RefreshLayer {
///     RefreshLayer::new(session).failure_mode(FailureMode::Response)
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureMode {
    /// The [`Error`](crate::Error) that says why.
    #[default]
    Error,
    /// The response that rejected it, as it came. A request that was never sent still gets the
    /// error.
    ///
    /// It costs a connection (HTTP/1) or a stream (HTTP/2) until the request is sent again, since
    /// the response is held all the while. And a body that is still being uploaded when the
    /// rejection comes is not replayed: taking the upload over would break the response.
    Response,
}

/// What a layer is configured with, besides its session.
#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) detect: Arc<dyn Detect>,
    pub(crate) replay_limit: usize,
    pub(crate) failure_mode: FailureMode,
    pub(crate) origins: Option<Arc<[Origin]>>,
    pub(crate) allow_cleartext: bool,
    pub(crate) overwrite: bool,
    pub(crate) expose_stamp: bool,
}

/// Whether a request is the session's business.
#[derive(Debug)]
pub(crate) enum Route {
    /// It carries the credential.
    Carry,
    /// It passes untouched, and so does its response.
    Pass,
    /// It would carry the credential where that must not go.
    Refuse(Error),
}

// === impl Policy ===

impl Default for Policy {
    fn default() -> Self {
        Self {
            detect: Arc::new(Unauthorized),
            replay_limit: 64 * 1024,
            failure_mode: FailureMode::default(),
            origins: None,
            allow_cleartext: false,
            overwrite: false,
            expose_stamp: false,
        }
    }
}

impl Policy {
    pub(crate) fn route<C: Credential>(&self, request: &Parts) -> Route {
        if request.extensions.get::<Anonymous>().is_some()
            || (!self.overwrite && C::is_present(request))
            || !self.is_home(request)
        {
            Route::Pass
        } else if !self.allow_cleartext && origin::is_cleartext(&request.uri) {
            Route::Refuse(Error::cleartext())
        } else {
            Route::Carry
        }
    }

    /// Whether the request goes where the credential may go.
    fn is_home(&self, request: &Parts) -> bool {
        let uri = &request.uri;
        if request.method == Method::CONNECT && uri.scheme().is_none() {
            // It is for a proxy, and what it opens is for somebody else (RFC 9110 §9.3.6).
            return false;
        }
        match &self.origins {
            Some(origins) if uri.authority().is_some() => {
                origins.iter().any(|origin| origin.matches(uri))
            }
            _ => true,
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("replay_limit", &self.replay_limit)
            .field("failure_mode", &self.failure_mode)
            .field("origins", &self.origins)
            .field("allow_cleartext", &self.allow_cleartext)
            .field("overwrite", &self.overwrite)
            .field("expose_stamp", &self.expose_stamp)
            .finish_non_exhaustive()
    }
}
