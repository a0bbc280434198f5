//! The errors of a session and of a refresh.
//!
//! A [`Refresh`](crate::Refresh) service fails with a [`BoxError`]. Errors of the inner service
//! pass through unchanged. Errors of the session are an [`Error`], which a downcast finds:
//!
//! ```
//! use tower_refresh::{Error, ErrorKind};
//!
//! fn is_logged_out(error: &tower::BoxError) -> bool {
//!     error.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::LoggedOut)
//! }
//! # assert!(!is_logged_out(&"connection refused".into()));
//! ```
//!
//! A [`Refresher`](crate::Refresher) fails with a [`RefreshError`]. Its kind decides whether the
//! login goes on:
//!
//! | kind | meaning | the login |
//! |---|---|---|
//! | [terminal](RefreshErrorKind::Terminal) | the login was refused: log in again | ends |
//! | [transient](RefreshErrorKind::Transient) | unreachable, overloaded, broken: try later | goes on |
//! | [ambiguous](RefreshErrorKind::Ambiguous) | sent, without a usable answer: it may have happened | goes on |
//!
//! The texts are for humans and may change. The kinds are stable. No text and no `Debug` output of
//! this crate contains a credential. `Debug` and `source()` show the cause that a refresher passes
//! in unchanged, so it must not contain a secret.

use std::{error, fmt, sync::Arc, time::Duration};

use http::StatusCode;

/// A boxed error of any type: Tower's own alias, under a name of this crate.
pub type BoxError = Box<dyn error::Error + Send + Sync>;

/// The reason why the session did not send a request.
///
/// Clones share the cause: all requests that waited for one flight fail with the same one.
///
/// ```
/// use tower_refresh::{refresher_fn, ErrorKind, RefreshContext, RefreshError, Session, Token};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
/// let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::transient("unreachable")) });
/// let session = Session::new(Token::bearer("at-1")?, refresher);
///
/// let error = session.refresh().await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::RefreshFailed);
/// assert!(error.retry_after().is_some());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    source: Option<Arc<dyn error::Error + Send + Sync>>,
    retry_after: Option<Duration>,
}

/// The kind of an [`Error`].
///
/// ```
/// use http::StatusCode;
/// use tower_refresh::ErrorKind;
///
/// /// The status of a proxy's response.
/// fn status(kind: ErrorKind) -> StatusCode {
///     match kind {
///         ErrorKind::LoggedOut | ErrorKind::LoginChanged => StatusCode::UNAUTHORIZED,
///         ErrorKind::RefreshFailed | ErrorKind::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
///         _ => StatusCode::INTERNAL_SERVER_ERROR,
///     }
/// }
/// # assert_eq!(status(ErrorKind::Overloaded), 503);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The session has no login, and sends no request until the next one. The source is the
    /// refusal, if a refusal ended the last login.
    LoggedOut,
    /// Another login began while the request waited. The request was not sent with the credential
    /// of that login.
    LoginChanged,
    /// The credential cannot be used any more, and the refresh failed. The login goes on, so a
    /// later attempt may succeed. The source is the error of the refresher.
    RefreshFailed,
    /// Too many requests wait for a refresh
    /// ([`SessionBuilder::max_waiters`](crate::session::SessionBuilder::max_waiters)), or a
    /// registry of sessions is full (feature `sessions`).
    Overloaded,
    /// The login of a user could not be loaded or saved (feature `sessions`). The source is the
    /// error of the load or of the store. A later attempt may succeed.
    StorageFailed,
    /// The request would have carried the credential in cleartext. See
    /// [`Origins`](crate::Origins).
    Cleartext,
    /// The request brought no session to a layer that takes one from each request. See
    /// [`RefreshLayer::per_request`](crate::RefreshLayer::per_request).
    NoSession,
    /// A refresher called a session method that waits for its own flight.
    Recursive,
    /// A refresh was due, and the session knows no Tokio runtime to run it on.
    NoRuntime,
}

/// The failure of a refresh, made by a [`Refresher`](crate::Refresher).
///
/// Clones share the cause.
///
/// ```
/// use tower_refresh::{RefreshError, RefreshErrorKind};
///
/// let error = RefreshError::transient("connection refused");
/// assert_eq!(error.kind(), RefreshErrorKind::Transient);
/// assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "connection refused");
/// ```
#[derive(Clone)]
pub struct RefreshError {
    kind: RefreshErrorKind,
    repeat: Repeat,
    retry_after: Option<Duration>,
    source: Arc<dyn error::Error + Send + Sync>,
}

/// Whether the flight itself may try again, because the endpoint has certainly not processed the
/// refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    Never,
    /// Only if the endpoint has said when.
    AfterRetryAfter,
    Always,
}

/// The kind of a [`RefreshError`]: its meaning for the login.
///
/// ```
/// use tower_refresh::{RefreshError, RefreshErrorKind};
///
/// fn may_have_happened(error: &RefreshError) -> bool {
///     error.kind() == RefreshErrorKind::Ambiguous
/// }
/// # assert!(may_have_happened(&RefreshError::ambiguous("timed out")));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefreshErrorKind {
    /// The login was refused. Only a new login helps.
    Terminal,
    /// The refresh did not happen, and the login was not refused. A later attempt may succeed.
    Transient,
    /// The refresh may or may not have happened: it was sent, and no usable answer came. This
    /// matters where a refresh token is valid only once (RFC 9700 §4.14.2).
    Ambiguous,
}

/// The refresh endpoint responded with a status other than success.
#[derive(Debug)]
struct UnexpectedStatus(StatusCode);

// === impl Error ===

impl Error {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The time until another attempt can succeed, counted from the failure of the request. Set for
    /// [`ErrorKind::RefreshFailed`]: requests that need a newer credential fail at once until then.
    ///
    /// Rounded up to seconds, it suits a `Retry-After` header (RFC 9110 §10.2.3).
    ///
    /// ```
    /// use tower_refresh::Error;
    ///
    /// fn retry_after_seconds(error: &Error) -> Option<u64> {
    ///     let wait = error.retry_after()?;
    ///     Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    /// }
    /// ```
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(crate) fn new(
        kind: ErrorKind,
        source: Option<RefreshError>,
        retry_after: Option<Duration>,
    ) -> Self {
        Self::caused(kind, source.map(|source| Arc::new(source) as _), retry_after)
    }

    pub(crate) fn caused(
        kind: ErrorKind,
        source: Option<Arc<dyn error::Error + Send + Sync>>,
        retry_after: Option<Duration>,
    ) -> Self {
        Self { kind, source, retry_after }
    }

    pub(crate) fn logged_out(cause: Option<RefreshError>) -> Self {
        Self::new(ErrorKind::LoggedOut, cause, None)
    }

    pub(crate) fn refresh_failed(cause: RefreshError, wait: Duration) -> Self {
        Self::new(ErrorKind::RefreshFailed, Some(cause), Some(wait))
    }

    pub(crate) fn overloaded() -> Self {
        Self::new(ErrorKind::Overloaded, None, None)
    }

    pub(crate) fn login_changed() -> Self {
        Self::new(ErrorKind::LoginChanged, None, None)
    }

    pub(crate) fn cleartext() -> Self {
        Self::new(ErrorKind::Cleartext, None, None)
    }

    pub(crate) fn no_session() -> Self {
        Self::new(ErrorKind::NoSession, None, None)
    }

    pub(crate) fn recursive() -> Self {
        Self::new(ErrorKind::Recursive, None, None)
    }

    pub(crate) fn no_runtime() -> Self {
        Self::new(ErrorKind::NoRuntime, None, None)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.kind, &self.source) {
            (ErrorKind::LoggedOut, Some(_)) => "the login was ended by a refused refresh",
            (ErrorKind::LoggedOut, None) => "not logged in",
            (ErrorKind::LoginChanged, _) => "another login has replaced the one of the request",
            (ErrorKind::RefreshFailed, _) => "the credential could not be refreshed",
            (ErrorKind::Overloaded, _) => {
                "too many requests wait for a refresh, or too many sessions are in use"
            }
            (ErrorKind::StorageFailed, _) => "the login could not be loaded or saved",
            (ErrorKind::Cleartext, _) => {
                "refused to send the credential in cleartext to an origin that is not listed"
            }
            (ErrorKind::NoSession, _) => "the request has no session",
            (ErrorKind::Recursive, _) => "a refresher cannot wait for its own refresh",
            (ErrorKind::NoRuntime, _) => "there is no Tokio runtime for the refresh",
        })
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

// === impl ErrorKind ===

impl ErrorKind {
    /// A stable word for logs and metrics, such as `logged_out` or `refresh_failed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoggedOut => "logged_out",
            Self::LoginChanged => "login_changed",
            Self::RefreshFailed => "refresh_failed",
            Self::Overloaded => "overloaded",
            Self::StorageFailed => "storage_failed",
            Self::Cleartext => "cleartext",
            Self::NoSession => "no_session",
            Self::Recursive => "recursive",
            Self::NoRuntime => "no_runtime",
        }
    }
}

// === impl RefreshError ===

impl RefreshError {
    /// The login was refused, and only a new login helps: `invalid_grant` (RFC 6749 §5.2), or a 401
    /// or 403 of the refresh endpoint.
    ///
    /// ```
    /// use tower_refresh::RefreshError;
    ///
    /// /// Classifies the `error` member of a token endpoint's response.
    /// fn classify(error: String) -> RefreshError {
    ///     match &*error {
    ///         "invalid_grant" => RefreshError::terminal(error),
    ///         _ => RefreshError::transient(error),
    ///     }
    /// }
    /// # assert!(classify("invalid_grant".into()).is_terminal());
    /// ```
    pub fn terminal(cause: impl Into<BoxError>) -> Self {
        Self::new(RefreshErrorKind::Terminal, cause.into())
    }

    /// The refresh did not happen, and the login was not refused: the endpoint is unreachable,
    /// overloaded or broken.
    ///
    /// ```
    /// use std::io;
    /// use tower_refresh::{RefreshError, RefreshErrorKind};
    ///
    /// let unavailable = io::Error::other("the token service is in maintenance");
    /// assert_eq!(RefreshError::transient(unavailable).kind(), RefreshErrorKind::Transient);
    /// ```
    pub fn transient(cause: impl Into<BoxError>) -> Self {
        Self::new(RefreshErrorKind::Transient, cause.into())
    }

    /// A [transient](Self::transient) failure of a refresh that the endpoint has certainly not
    /// processed: the connection was never made, or the server has turned the request away.
    ///
    /// While requests wait for the flight, the session then calls the refresher again after a
    /// fraction of a second, a few times
    /// ([`SessionBuilder::refresh_attempts`](crate::session::SessionBuilder::refresh_attempts)).
    /// Waiters prefer a short wait to a failure. If a [`retry_after`](Self::with_retry_after) of
    /// more than two seconds is set, the flight fails at once instead.
    ///
    /// ```
    /// use std::io;
    /// use tower_refresh::{RefreshError, RefreshErrorKind};
    ///
    /// let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    /// let error = RefreshError::unprocessed(refused);
    /// assert_eq!(error.kind(), RefreshErrorKind::Transient);
    /// assert!(error.is_unprocessed());
    /// ```
    pub fn unprocessed(cause: impl Into<BoxError>) -> Self {
        Self { repeat: Repeat::Always, ..Self::transient(cause) }
    }

    /// The refresh was sent, and no usable answer came: the connection broke, the answer was cut
    /// off, or it holds no usable credential.
    ///
    /// [`SessionBuilder::on_ambiguous`](crate::session::SessionBuilder::on_ambiguous) decides
    /// whether the login goes on.
    ///
    /// ```
    /// use std::io;
    /// use tower_refresh::{RefreshError, RefreshErrorKind};
    ///
    /// let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
    /// assert_eq!(RefreshError::ambiguous(cut).kind(), RefreshErrorKind::Ambiguous);
    /// ```
    pub fn ambiguous(cause: impl Into<BoxError>) -> Self {
        Self::new(RefreshErrorKind::Ambiguous, cause.into())
    }

    /// The error for a response of the refresh endpoint, classified by its status alone: 401 and
    /// 403 (RFC 9110 §15.5.2, §15.5.4) are terminal. 504 (§15.6.5) is ambiguous, because a gateway
    /// has passed the refresh on and got no answer. So is a success (2xx), whose body then held no
    /// usable credential. Every other status is transient. Of these, 503 (§15.6.4) says that the
    /// refresh was [not processed](Self::unprocessed), and so does 429 (RFC 6585 §4) with a
    /// [`retry_after`](Self::with_retry_after).
    ///
    /// This suits endpoints of cookie sessions. An OAuth token endpoint puts its error code into
    /// the body instead, usually `invalid_grant` with a 400 (RFC 6749 §5.2). Look for that first,
    /// or use the refresher of the feature `oauth2`.
    ///
    /// ```
    /// use http::StatusCode;
    /// use tower_refresh::RefreshError;
    ///
    /// assert!(RefreshError::from_status(StatusCode::UNAUTHORIZED).is_terminal());
    /// assert!(!RefreshError::from_status(StatusCode::TOO_MANY_REQUESTS).is_terminal());
    /// ```
    pub fn from_status(status: StatusCode) -> Self {
        let repeat = match status {
            StatusCode::SERVICE_UNAVAILABLE => Repeat::Always,
            StatusCode::TOO_MANY_REQUESTS => Repeat::AfterRetryAfter,
            _ => Repeat::Never,
        };
        let kind = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RefreshErrorKind::Terminal,
            StatusCode::GATEWAY_TIMEOUT => RefreshErrorKind::Ambiguous,
            status if status.is_success() => RefreshErrorKind::Ambiguous,
            _ => RefreshErrorKind::Transient,
        };
        Self { repeat, ..Self::new(kind, UnexpectedStatus(status).into()) }
    }

    /// Sets the time until the next attempt, for example from a `Retry-After` header (RFC 9110
    /// §10.2.3). It replaces the session's back-off, and is clamped to between the shortest
    /// back-off and an hour.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_refresh::RefreshError;
    ///
    /// let error = RefreshError::transient("429").with_retry_after(Duration::from_secs(30));
    /// assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
    /// ```
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The time until the next attempt, if the refresher has set it.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the endpoint has certainly not processed the refresh, so that the flight may try
    /// again. See [`unprocessed`](Self::unprocessed).
    pub fn is_unprocessed(&self) -> bool {
        match self.repeat {
            Repeat::Never => false,
            Repeat::AfterRetryAfter => self.retry_after.is_some(),
            Repeat::Always => true,
        }
    }

    /// The kind of the error.
    pub fn kind(&self) -> RefreshErrorKind {
        self.kind
    }

    /// Whether the login was refused, so that only a new login helps.
    ///
    /// ```
    /// # use tower_refresh::RefreshError;
    /// assert!(RefreshError::terminal("invalid_grant").is_terminal());
    /// assert!(!RefreshError::transient("unreachable").is_terminal());
    /// ```
    pub fn is_terminal(&self) -> bool {
        self.kind == RefreshErrorKind::Terminal
    }

    fn new(kind: RefreshErrorKind, cause: BoxError) -> Self {
        Self { kind, repeat: Repeat::Never, retry_after: None, source: cause.into() }
    }
}

impl fmt::Debug for RefreshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshError")
            .field("kind", &self.kind)
            .field("source", &self.source)
            .finish()
    }
}

impl fmt::Display for RefreshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            RefreshErrorKind::Terminal => "the refresh was refused",
            RefreshErrorKind::Transient => "the refresh failed",
            RefreshErrorKind::Ambiguous => "the outcome of the refresh is unknown",
        })
    }
}

impl error::Error for RefreshError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&*self.source)
    }
}

// === impl RefreshErrorKind ===

impl RefreshErrorKind {
    /// A stable word for logs and metrics: `terminal`, `transient` or `ambiguous`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::Transient => "transient",
            Self::Ambiguous => "ambiguous",
        }
    }
}

// === impl UnexpectedStatus ===

impl fmt::Display for UnexpectedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the refresh endpoint answered {}", self.0)
    }
}

impl error::Error for UnexpectedStatus {}
