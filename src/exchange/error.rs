use std::{error, fmt};

use crate::error::{BoxError, RefreshError};

/// A request to an auth server failed without an answer.
///
/// As a [`RefreshError`] it is [unprocessed](RefreshError::unprocessed) if the request was not
/// sent, so that a flight may try again, and ambiguous otherwise. The cause is the HTTP client's
/// error.
#[derive(Debug)]
pub struct ExchangeError {
    is_unsent: bool,
    cause: BoxError,
}

// === impl ExchangeError ===

impl ExchangeError {
    pub(super) fn unsent(cause: impl Into<BoxError>) -> Self {
        Self { is_unsent: true, cause: cause.into() }
    }

    pub(super) fn unanswered(cause: BoxError) -> Self {
        Self { is_unsent: false, cause }
    }

    /// Whether the request was certainly not sent.
    pub fn is_unsent(&self) -> bool {
        self.is_unsent
    }
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_unsent {
            "the request to the authorization server was not sent"
        } else {
            "the authorization server did not answer"
        })
    }
}

impl error::Error for ExchangeError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&*self.cause)
    }
}

impl From<ExchangeError> for RefreshError {
    fn from(error: ExchangeError) -> Self {
        if error.is_unsent { Self::unprocessed(error) } else { Self::ambiguous(error) }
    }
}
