use std::{error, fmt};

use http::StatusCode;

use crate::error::BoxError;

/// The cause behind a `RefreshError`. No text of the server's is shown but an error code.
#[derive(Debug)]
pub(super) enum Failure {
    NoRefreshToken,
    Unsigned(BoxError),
    Unsent(BoxError),
    Unanswered(BoxError),
    Unreadable(StatusCode, Unreadable),
    Malformed { line: usize, column: usize },
    NoAccessToken,
    NotBearer,
    Refused { status: StatusCode, code: Option<String> },
    Unbuilt,
}

/// Why the body of an answer was not read to its end.
#[derive(Debug)]
pub(super) enum Unreadable {
    TooLong { limit: usize },
    Broken(BoxError),
}

/// Longer is not an error code.
const MAX_CODE: usize = 64;

// === impl Failure ===

impl Failure {
    /// An error code is shown where it looks like one: some servers put anything there, the token
    /// included.
    pub(super) fn refused(status: StatusCode, code: Option<&str>) -> Self {
        let is_code = |code: &&str| {
            code.len() <= MAX_CODE
                && !code.is_empty()
                && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        Self::Refused { status, code: code.filter(is_code).map(str::to_owned) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRefreshToken => f.write_str("the credential has no refresh token"),
            Self::Unsigned(_) => f.write_str("the client assertion could not be made"),
            Self::Unsent(_) => f.write_str("the request to the authorization server was not sent"),
            Self::Unanswered(_) => f.write_str("the authorization server did not answer"),
            Self::Unreadable(status, Unreadable::TooLong { limit }) => {
                write!(
                    f,
                    "the authorization server answered {status}, with more than {limit} bytes"
                )
            }
            Self::Unreadable(status, Unreadable::Broken(_)) => {
                write!(f, "the authorization server answered {status}, and the answer broke off")
            }
            Self::Malformed { line: 0, .. } => {
                f.write_str("the token answer is not what it should be")
            }
            Self::Malformed { line, column } => {
                write!(
                    f,
                    "the token answer is not what it should be at line {line}, column {column}"
                )
            }
            Self::NoAccessToken => f.write_str("the token answer has no access token"),
            Self::NotBearer => f.write_str("the token answer has a token that is no bearer token"),
            Self::Refused { status, code: Some(code) } => {
                write!(f, "the authorization server answered {status}, {code}")
            }
            Self::Refused { status, code: None } if status.is_redirection() => {
                write!(f, "the authorization server answered {status}, which is not followed")
            }
            Self::Refused { status, code: None } => {
                write!(f, "the authorization server answered {status}")
            }
            Self::Unbuilt => {
                f.write_str("the request to the authorization server could not be made")
            }
        }
    }
}

impl error::Error for Failure {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Unsigned(error)
            | Self::Unsent(error)
            | Self::Unanswered(error)
            | Self::Unreadable(_, Unreadable::Broken(error)) => Some(&**error),
            _ => None,
        }
    }
}
