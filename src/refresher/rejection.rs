use std::fmt;

use http::{HeaderMap, StatusCode};

use crate::detect::Challenges;

/// The head of the response that rejected the credential.
///
/// `Debug` shows the status and the header names, never a header value.
///
/// ```
/// use http::{HeaderMap, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
/// use tower_refresh::{refresher::{Cause, Rejection}, RefreshContext, Token};
///
/// let challenge = HeaderValue::from_static(r#"Bearer error="invalid_token", scope="read""#);
/// let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, challenge)]);
/// let rejection = Rejection::new(StatusCode::UNAUTHORIZED, headers);
/// let context = RefreshContext::<Token>::new(Cause::Rejected).with_rejection(rejection);
///
/// let challenge = context.rejection().unwrap().challenges().next().unwrap();
/// assert_eq!(challenge.scope().as_deref(), Some("read"));
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

    /// The challenges of the response: why it rejected the credential, and which one it asks for.
    pub fn challenges(&self) -> Challenges<'_> {
        Challenges::of(&self.headers)
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
