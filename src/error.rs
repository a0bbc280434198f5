//! What can go wrong, and how to tell.
//!
//! A [`Refresh`](crate::Refresh) service answers with a [`BoxError`]: errors of the inner service
//! pass through as they are, and those of the session are an [`Error`], found by a downcast:
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
//! A [`RefreshError`] is what a [`Refresher`](crate::Refresher) fails with. Its kind decides what
//! becomes of the login, so it is worth getting right:
//!
//! | kind | says | the login |
//! |---|---|---|
//! | [terminal](RefreshErrorKind::Terminal) | the session was refused: log in again | ends |
//! | [transient](RefreshErrorKind::Transient) | unreachable, overloaded, broken: try later | goes on |
//! | [ambiguous](RefreshErrorKind::Ambiguous) | sent, but not answered: it may have happened | goes on |
//!
//! The texts are for people and may change; the kinds are stable. No text and no `Debug` output of
//! this crate holds a credential. The cause that a refresher hands over is shown by `Debug` and
//! through `source()` as the refresher made it, so put no secret into it.

use std::{error, fmt, sync::Arc, time::Duration};

use http::StatusCode;

use crate::credential::token::InvalidToken;

/// A boxed error of any type: Tower's own alias, under a name of this crate.
pub type BoxError = Box<dyn error::Error + Send + Sync>;

/// Why the session could not let a request through.
///
/// Clones share the cause: every request that waited for one flight fails with the same one.
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
    source: Option<RefreshError>,
    retry_after: Option<Duration>,
}

/// What an [`Error`] means for the caller.
///
/// ```
/// use http::StatusCode;
/// use tower_refresh::ErrorKind;
///
/// /// What a proxy answers.
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
    /// The login is over, or there never was one. Nothing is sent until the next login. The source
    /// is the refusal, if a refusal ended it.
    LoggedOut,
    /// While the request waited, somebody else logged in. It was not sent in their name.
    LoginChanged,
    /// There is no newer credential, and the one there was is not good enough. The login goes on:
    /// try later. The source says what happened to the refresh.
    RefreshFailed,
    /// As many requests wait for a refresh as may. See
    /// [`SessionBuilder::max_waiters`](crate::session::SessionBuilder::max_waiters).
    Overloaded,
    /// The request would have carried the credential in cleartext. See
    /// [`Origins`](crate::Origins).
    Cleartext,
    /// A refresher waited for the flight that it is itself.
    Recursive,
    /// A refresh was due, and there is no Tokio runtime to run it.
    NoRuntime,
}

/// How a refresh failed. Made by a [`Refresher`](crate::Refresher).
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
    retry_after: Option<Duration>,
    source: Arc<dyn error::Error + Send + Sync>,
}

/// What a [`RefreshError`] says about the login.
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
    /// The session was refused: nothing but a new login helps.
    Terminal,
    /// Nothing was decided about the session: try later.
    Transient,
    /// The refresh was sent and not answered, so it may or may not have happened. This matters
    /// where refresh tokens are used once (RFC 9700 §4.14.2).
    Ambiguous,
}

/// The refresh endpoint answered with this status.
#[derive(Debug)]
struct UnexpectedStatus(StatusCode);

// === impl Error ===

impl Error {
    /// What it means for the caller.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// How long to wait before another attempt can succeed, as of the moment when the request
    /// failed. Known for
    /// [`ErrorKind::RefreshFailed`]: until then requests that need a newer credential fail at once.
    ///
    /// It suits a `Retry-After` header (RFC 9110 §10.2.3), rounded up to seconds.
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

    pub(crate) fn logged_out(cause: Option<RefreshError>) -> Self {
        Self { kind: ErrorKind::LoggedOut, source: cause, retry_after: None }
    }

    pub(crate) fn refresh_failed(cause: RefreshError, wait: Duration) -> Self {
        Self { kind: ErrorKind::RefreshFailed, source: Some(cause), retry_after: Some(wait) }
    }

    pub(crate) fn overloaded() -> Self {
        Self { kind: ErrorKind::Overloaded, source: None, retry_after: None }
    }

    pub(crate) fn login_changed() -> Self {
        Self { kind: ErrorKind::LoginChanged, source: None, retry_after: None }
    }

    pub(crate) fn cleartext() -> Self {
        Self { kind: ErrorKind::Cleartext, source: None, retry_after: None }
    }

    pub(crate) fn recursive() -> Self {
        Self { kind: ErrorKind::Recursive, source: None, retry_after: None }
    }

    pub(crate) fn no_runtime() -> Self {
        Self { kind: ErrorKind::NoRuntime, source: None, retry_after: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.kind, &self.source) {
            (ErrorKind::LoggedOut, Some(_)) => "the login was ended by a refused refresh",
            (ErrorKind::LoggedOut, None) => "not logged in",
            (ErrorKind::LoginChanged, _) => "another login took the place of the request's own",
            (ErrorKind::RefreshFailed, _) => "the credential could not be refreshed",
            (ErrorKind::Overloaded, _) => "too many requests wait for a refresh",
            (ErrorKind::Cleartext, _) => {
                "refused to send the credential in cleartext to an origin that is not listed"
            }
            (ErrorKind::Recursive, _) => "a refresher can't wait for its own refresh",
            (ErrorKind::NoRuntime, _) => "no Tokio runtime to run the refresh on",
        })
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

// === impl RefreshError ===

impl RefreshError {
    /// The session was refused, and only a new login helps: `invalid_grant` (RFC 6749 §5.2), or a
    /// 401 or 403 of the refresh endpoint.
    ///
    /// ```
    /// use tower_refresh::RefreshError;
    ///
    /// /// What the `error` of a token endpoint's answer says.
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

    /// The refresh did not happen, and nothing was said about the session: the endpoint is
    /// unreachable, limits the rate or is broken.
    ///
    /// ```
    /// use std::io;
    /// use tower_refresh::{RefreshError, RefreshErrorKind};
    ///
    /// // Nothing was sent: there was no connection to send it on.
    /// let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    /// assert_eq!(RefreshError::transient(refused).kind(), RefreshErrorKind::Transient);
    /// ```
    pub fn transient(cause: impl Into<BoxError>) -> Self {
        Self::new(RefreshErrorKind::Transient, cause.into())
    }

    /// The refresh was sent and not answered.
    ///
    /// [`SessionBuilder::on_ambiguous`](crate::session::SessionBuilder::on_ambiguous) says what becomes of
    /// the login.
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

    /// For an endpoint that answers with a bare status, as cookie sessions do: 401 and 403 (RFC
    /// 9110 §15.5.2, §15.5.4) are terminal; 504 (§15.6.5) is ambiguous, because somebody on the way
    /// waited for the answer in vain; everything else is transient.
    ///
    /// An OAuth token endpoint refuses with a code in the body instead, mostly with 400 and
    /// `invalid_grant` (RFC 6749 §5.2): look for that first, or use `oauth2::RefreshToken` of the
    /// feature `oauth2`.
    ///
    /// ```
    /// use http::StatusCode;
    /// use tower_refresh::RefreshError;
    ///
    /// assert!(RefreshError::from_status(StatusCode::UNAUTHORIZED).is_terminal());
    /// assert!(!RefreshError::from_status(StatusCode::TOO_MANY_REQUESTS).is_terminal());
    /// ```
    pub fn from_status(status: StatusCode) -> Self {
        let kind = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RefreshErrorKind::Terminal,
            StatusCode::GATEWAY_TIMEOUT => RefreshErrorKind::Ambiguous,
            _ => RefreshErrorKind::Transient,
        };
        Self::new(kind, UnexpectedStatus(status).into())
    }

    /// Names the time until the next attempt, in the place of the session's back-off: from a
    /// `Retry-After` (RFC 9110 §10.2.3). Less than the least back-off counts as that, and more than
    /// an hour as an hour.
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

    /// The time until the next attempt that the refresher has named.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What it says about the login.
    pub fn kind(&self) -> RefreshErrorKind {
        self.kind
    }

    /// Whether nothing but a new login helps.
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
        Self { kind, retry_after: None, source: cause.into() }
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
            RefreshErrorKind::Ambiguous => "the refresh got no answer",
        })
    }
}

impl error::Error for RefreshError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&*self.source)
    }
}

/// A refresh endpoint that hands out what no header may carry is broken; it said nothing about the
/// session.
impl From<InvalidToken> for RefreshError {
    fn from(invalid: InvalidToken) -> Self {
        Self::transient(invalid)
    }
}

// === impl UnexpectedStatus ===

impl fmt::Display for UnexpectedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the refresh endpoint answered {}", self.0)
    }
}

impl error::Error for UnexpectedStatus {}
