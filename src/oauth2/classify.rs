use std::{fmt, sync::Arc};

use http::{HeaderMap, StatusCode};

use crate::{error::RefreshErrorKind, exchange::is_page};

/// Decides what a refusal of the authorization server says about the login.
///
/// [`DefaultClassify`] is the default. [`classify_fn`] makes a `Classify` of a closure.
pub trait Classify: Send + Sync + 'static {
    /// Decides about one refusal. It is not called for an answer with a token, nor for a request
    /// without an answer.
    fn classify(&self, refusal: &Refusal<'_>) -> RefreshErrorKind;
}

/// An answer that refuses a token, by its status or by its `error`.
///
/// `Debug` shows the status only.
#[derive(Clone)]
pub struct Refusal<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    error: Option<&'a str>,
    description: Option<&'a str>,
    body: &'a str,
}

/// The default [`Classify`]: only a refusal of the session itself is terminal.
///
/// The first rule that fits decides:
///
/// | answer | kind |
/// |---|---|
/// | 504 | ambiguous: a gateway waited for the answer in vain |
/// | any other 5xx, 408, 429, 3xx | transient |
/// | `invalid_grant` whose description says that the request is being processed (Salesforce) | transient |
/// | `invalid_grant`, also with the status of a success; GitHub's `bad_refresh_token`, Slack's `invalid_refresh_token` | terminal |
/// | an error that names the client or the request: `invalid_client`, `unauthorized_client`, `invalid_request`, `invalid_scope`, `invalid_target`, `unsupported_grant_type` | transient |
/// | `temporarily_unavailable`, `slow_down`, `server_error` | transient |
/// | 401 or 403 without an error, as a [page](is_page) for people: a firewall's | transient |
/// | 401 and 403, without an error or with another one | terminal |
/// | everything else | transient |
///
/// Some servers say only in the body that a login is over, as Fitbit and HubSpot do. The body
/// decides then:
///
/// ```
/// use http::{HeaderMap, StatusCode};
/// use tower_refresh::RefreshErrorKind;
/// use tower_refresh::oauth2::{classify_fn, Classify, DefaultClassify, Refusal};
///
/// let classify = classify_fn(|refusal| match refusal.error() {
///     // a new login is needed here, too
///     Some("interaction_required") => RefreshErrorKind::Terminal,
///     None if refusal.body().contains(r#""errorType":"invalid_grant""#) => RefreshErrorKind::Terminal,
///     None if refusal.body().contains(r#""BAD_REFRESH_TOKEN""#) => RefreshErrorKind::Terminal,
///     _ => DefaultClassify.classify(refusal),
/// });
///
/// let headers = HeaderMap::new();
/// let refusal = Refusal::new(StatusCode::BAD_REQUEST, &headers);
/// let dead = refusal.clone().with_body(r#"{"status":"BAD_REFRESH_TOKEN"}"#);
/// assert_eq!(classify.classify(&dead), RefreshErrorKind::Terminal);
/// assert_eq!(classify.classify(&refusal), RefreshErrorKind::Transient);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultClassify;

/// A [`Classify`] made by [`classify_fn`].
#[derive(Clone, Copy)]
pub struct ClassifyFn<F>(F);

/// Makes a [`Classify`] of a closure. See [`DefaultClassify`] for an example.
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
        Self { status, headers, error: None, description: None, body: "" }
    }

    /// Sets the error code.
    #[must_use]
    pub fn with_error(mut self, code: &'a str) -> Self {
        self.error = Some(code);
        self
    }

    /// Sets the description of the error.
    #[must_use]
    pub fn with_description(mut self, description: &'a str) -> Self {
        self.description = Some(description);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: &'a str) -> Self {
        self.body = body;
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

    /// The `error` ([RFC 6749 §5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2)) as the
    /// server wrote it, if the body is an object with one.
    pub fn error(&self) -> Option<&str> {
        self.error
    }

    /// The `error_description` beside it. Some servers put tokens there: it belongs in no log.
    pub fn description(&self) -> Option<&str> {
        self.description
    }

    /// The body, up to [`TokenEndpoint::answer_limit`](crate::oauth2::TokenEndpoint::answer_limit).
    /// Bytes that are no UTF-8 are replaced. The body may hold tokens: it belongs in no log.
    pub fn body(&self) -> &str {
        self.body
    }

    /// Whether the answer is a page for people, by [`is_page`].
    pub fn is_page(&self) -> bool {
        is_page(self.headers, self.body.as_bytes())
    }

    /// Whether the server says that an earlier request with this token is not done yet.
    fn is_in_progress(&self) -> bool {
        let description = self.description.unwrap_or_default().to_ascii_lowercase();
        ["being processed", "in progress"].iter().any(|phrase| description.contains(phrase))
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
            (_, Some("invalid_grant")) if refusal.is_in_progress() => RefreshErrorKind::Transient,
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
            (_, None) if refusal.is_page() => RefreshErrorKind::Transient,
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
