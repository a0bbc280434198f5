use std::{fmt, sync::Arc};

use http::{HeaderMap, StatusCode};

use crate::error::RefreshErrorKind;

/// Decides what a refusal of the authorization server says about the login.
///
/// [`DefaultClassify`] is the default; [`classify_fn`] makes one of a closure.
pub trait Classify: Send + Sync + 'static {
    /// What becomes of the login. Not asked when a token came, nor when nothing did.
    fn classify(&self, refusal: &Refusal<'_>) -> RefreshErrorKind;
}

/// An answer that brought no token and says so, by its status or by its `error`.
///
/// `Debug` shows the status alone.
#[derive(Clone)]
pub struct Refusal<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    error: Option<&'a str>,
    description: Option<&'a str>,
}

/// The default [`Classify`]: what is about the session is terminal, and nothing else.
///
/// The first rule that fits decides:
///
/// | answer | kind |
/// |---|---|
/// | 504 | ambiguous: somebody on the way waited for the answer in vain |
/// | any other 5xx, 408, 429, 3xx, whatever else it says | transient |
/// | `invalid_grant`, also with the status of a success; so GitHub's `bad_refresh_token`, Slack's `invalid_refresh_token` | terminal |
/// | an error that names the client or the request: `invalid_client`, `unauthorized_client`, `invalid_request`, `invalid_scope`, `invalid_target`, `unsupported_grant_type` | transient |
/// | `temporarily_unavailable`, `slow_down`, `server_error` | transient |
/// | 401 and 403, with no or with another error | terminal |
/// | everything else | transient |
///
/// So a firewall's 403 page ends the login. Where such a thing is on the way, soften it:
///
/// ```
/// use http::{HeaderMap, StatusCode};
/// use tower_refresh::RefreshErrorKind;
/// use tower_refresh::oauth2::{classify_fn, Classify, Refusal, DefaultClassify};
///
/// let soft = classify_fn(|refusal| match refusal.error() {
///     // not the authorization server's own: it always names an error
///     None => RefreshErrorKind::Transient,
///     // this one needs the user, and so a new login
///     Some("interaction_required") => RefreshErrorKind::Terminal,
///     Some(_) => DefaultClassify.classify(refusal),
/// });
///
/// let headers = HeaderMap::new();
/// let page = Refusal::new(StatusCode::FORBIDDEN, &headers);
/// assert_eq!(DefaultClassify.classify(&page), RefreshErrorKind::Terminal);
/// assert_eq!(soft.classify(&page), RefreshErrorKind::Transient);
/// assert_eq!(soft.classify(&page.with_error("invalid_grant")), RefreshErrorKind::Terminal);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultClassify;

/// A [`Classify`] made by [`classify_fn`].
#[derive(Clone, Copy)]
pub struct ClassifyFn<F>(F);

/// Makes a [`Classify`] of a closure. [`DefaultClassify`] has an example.
pub const fn classify_fn<F>(f: F) -> ClassifyFn<F>
where
    F: Fn(&Refusal<'_>) -> RefreshErrorKind + Send + Sync + 'static,
{
    ClassifyFn(f)
}

// === impl Classify ===

impl<T> Classify for Arc<T>
where
    T: Classify + ?Sized,
{
    fn classify(&self, refusal: &Refusal<'_>) -> RefreshErrorKind {
        (**self).classify(refusal)
    }
}

impl<T> Classify for Box<T>
where
    T: Classify + ?Sized,
{
    fn classify(&self, refusal: &Refusal<'_>) -> RefreshErrorKind {
        (**self).classify(refusal)
    }
}

// === impl Refusal ===

impl<'a> Refusal<'a> {
    /// A refusal without an error, for a test.
    pub fn new(status: StatusCode, headers: &'a HeaderMap) -> Self {
        Self { status, headers, error: None, description: None }
    }

    /// Takes another error code.
    #[must_use]
    pub fn with_error(mut self, code: &'a str) -> Self {
        self.error = Some(code);
        self
    }

    /// Takes another description of the error.
    #[must_use]
    pub fn with_description(mut self, description: &'a str) -> Self {
        self.description = Some(description);
        self
    }

    /// The status, which may be that of a success.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.headers
    }

    /// The `error` ([RFC 6749 §5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2)), if the
    /// body is such an object: as the server wrote it.
    pub fn error(&self) -> Option<&str> {
        self.error
    }

    /// The `error_description` beside it. Servers have been seen to put tokens there: don't log it.
    pub fn description(&self) -> Option<&str> {
        self.description
    }
}

impl fmt::Debug for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal").field("status", &self.status).finish_non_exhaustive()
    }
}

// === impl DefaultClassify ===

impl Classify for DefaultClassify {
    fn classify(&self, refusal: &Refusal<'_>) -> RefreshErrorKind {
        let status = refusal.status;
        match (status, refusal.error) {
            (StatusCode::GATEWAY_TIMEOUT, _) => RefreshErrorKind::Ambiguous,
            (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS, _) => {
                RefreshErrorKind::Transient
            }
            _ if status.is_server_error() || status.is_redirection() => RefreshErrorKind::Transient,
            (_, Some("invalid_grant" | "bad_refresh_token" | "invalid_refresh_token")) => {
                RefreshErrorKind::Terminal
            }
            (
                _,
                Some(
                    "invalid_client"
                    | "unauthorized_client"
                    | "invalid_request"
                    | "invalid_scope"
                    | "invalid_target"
                    | "unsupported_grant_type"
                    | "temporarily_unavailable"
                    | "slow_down"
                    | "server_error",
                ),
            ) => RefreshErrorKind::Transient,
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => RefreshErrorKind::Terminal,
            _ => RefreshErrorKind::Transient,
        }
    }
}

// === impl ClassifyFn ===

impl<F> Classify for ClassifyFn<F>
where
    F: Fn(&Refusal<'_>) -> RefreshErrorKind + Send + Sync + 'static,
{
    fn classify(&self, refusal: &Refusal<'_>) -> RefreshErrorKind {
        (self.0)(refusal)
    }
}

impl<F> fmt::Debug for ClassifyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassifyFn").finish_non_exhaustive()
    }
}
