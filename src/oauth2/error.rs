use std::{error, fmt, time::Duration};

use http::StatusCode;

use crate::{
    error::{BoxError, RefreshError, RefreshErrorKind},
    exchange::ExchangeError,
};

/// The cause of a [`RefreshError`]. Of the server's texts it shows an error code or the name of a
/// token type, and nothing else.
#[derive(Debug)]
pub(super) enum Failure {
    NoRefreshToken,
    Unsigned(BoxError),
    Unbuilt,
    NoAccessToken,
    CutOff,
    TokenType(Option<String>),
    Refused { status: StatusCode, code: Option<String> },
}

/// A failed request to a token endpoint, before a grant decides about its kind.
pub(super) struct TokenError {
    pub(super) kind: RefreshErrorKind,
    pub(super) cause: BoxError,
    /// Whether the endpoint has certainly not processed the request.
    pub(super) is_unprocessed: bool,
    pub(super) retry_after: Option<Duration>,
}

const MAX_CODE: usize = 64;
const MAX_TOKEN_TYPE: usize = 32;

// === impl Failure ===

impl Failure {
    /// Shows the code if it looks like one. Some servers put any text there, also the token.
    pub(super) fn refused(status: StatusCode, code: Option<&str>) -> Self {
        let is_code = |code: &&str| {
            code.len() <= MAX_CODE
                && !code.is_empty()
                && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        Self::Refused { status, code: code.filter(is_code).map(str::to_owned) }
    }

    /// Shows the type if it looks like the name of one.
    pub(super) fn token_type(name: &str) -> Self {
        let is_name = name.len() <= MAX_TOKEN_TYPE
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        Self::TokenType(is_name.then(|| name.to_owned()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRefreshToken => f.write_str("the credential has no refresh token"),
            Self::Unsigned(_) => f.write_str("the client assertion could not be made"),
            Self::Unbuilt => {
                f.write_str("the request to the authorization server could not be made")
            }
            Self::NoAccessToken => f.write_str("the token answer has no access token"),
            Self::CutOff => f.write_str("the token answer is cut off"),
            Self::TokenType(Some(name)) => {
                write!(f, "the token answer has a token of the type {name}, which is not accepted")
            }
            Self::TokenType(None) => {
                f.write_str("the token answer has a token of a type that is not accepted")
            }
            Self::Refused { status, code: Some(code) } => {
                write!(f, "the authorization server answered {status}, {code}")
            }
            Self::Refused { status, code: None } if status.is_redirection() => {
                write!(f, "the authorization server answered {status}, which is not followed")
            }
            Self::Refused { status, code: None } => {
                write!(f, "the authorization server answered {status}")
            }
        }
    }
}

impl error::Error for Failure {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Unsigned(error) => Some(&**error),
            _ => None,
        }
    }
}

// === impl TokenError ===

impl TokenError {
    pub(super) fn new(kind: RefreshErrorKind, cause: impl Into<BoxError>) -> Self {
        Self { kind, cause: cause.into(), is_unprocessed: false, retry_after: None }
    }

    pub(super) fn transient(cause: impl Into<BoxError>) -> Self {
        Self::new(RefreshErrorKind::Transient, cause)
    }

    pub(super) fn ambiguous(cause: impl Into<BoxError>) -> Self {
        Self::new(RefreshErrorKind::Ambiguous, cause)
    }
}

impl From<ExchangeError> for TokenError {
    fn from(error: ExchangeError) -> Self {
        let is_unprocessed = error.is_unsent();
        let kind = match is_unprocessed {
            true => RefreshErrorKind::Transient,
            false => RefreshErrorKind::Ambiguous,
        };
        Self { is_unprocessed, ..Self::new(kind, error) }
    }
}

impl From<TokenError> for RefreshError {
    fn from(error: TokenError) -> Self {
        let TokenError { kind, cause, is_unprocessed, retry_after } = error;
        let error = match kind {
            RefreshErrorKind::Terminal => Self::terminal(cause),
            RefreshErrorKind::Transient if is_unprocessed => Self::unprocessed(cause),
            RefreshErrorKind::Transient => Self::transient(cause),
            RefreshErrorKind::Ambiguous => Self::ambiguous(cause),
        };
        match retry_after {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }
}
