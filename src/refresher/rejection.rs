use std::fmt;

use http::{HeaderMap, StatusCode};

/// The head of the response that rejected the credential.
///
/// `Debug` shows the status and the header names, never a header value.
///
/// ```
/// use http::{HeaderMap, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
/// use tower_refresh::{refresher::{Cause, Rejection}, RefreshContext, Token};
///
/// let challenge = HeaderValue::from_static(r#"Bearer error="invalid_token""#); // RFC 6750 §3
/// let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, challenge)]);
/// let rejection = Rejection::new(StatusCode::UNAUTHORIZED, headers);
/// let context = RefreshContext::<Token>::new(Cause::Rejected).with_rejection(rejection);
///
/// assert!(context.rejection().unwrap().headers().contains_key(WWW_AUTHENTICATE));
/// ```
#[derive(Clone)]
pub struct Rejection {
    status: StatusCode,
    headers: HeaderMap,
}

// === impl Rejection ===

impl Rejection {
    /// A rejection with this status and these headers.
    pub fn new(status: StatusCode, headers: HeaderMap) -> Self {
        Self { status, headers }
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers of the response.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("status", &self.status)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .finish()
    }
}
