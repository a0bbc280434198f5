use std::error::Error as _;

use crate::error::{Error, ErrorKind, RefreshError};

/// An error of a session, classified by what its caller can do. Each [`Answer`] expresses the class
/// in its own protocol.
///
/// [`Answer`]: crate::respond::Answer
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorClass {
    /// A new login is needed.
    LoggedOut,
    /// The login has changed since the request was made. A retry would use the new one.
    LoginChanged,
    /// No refresh is possible at the moment, or a login cannot be loaded or saved. Try again later.
    Unavailable,
    /// Too many requests wait for a refresh, or a registry of sessions is full. Try again later.
    Overloaded,
    /// The program is put together wrongly.
    Misconfigured,
}

// === impl ErrorClass ===

impl ErrorClass {
    pub(crate) fn of(error: &Error) -> Self {
        match error.kind() {
            // A request without a session is one of a caller that has not logged in.
            ErrorKind::LoggedOut | ErrorKind::NoSession => Self::LoggedOut,
            ErrorKind::LoginChanged => Self::LoginChanged,
            // The login goes on, because its credential has not expired. But the upstream of this
            // request has rejected the credential, and no refresh will bring another.
            ErrorKind::RefreshFailed if was_refused(error) => Self::LoggedOut,
            ErrorKind::RefreshFailed | ErrorKind::StorageFailed => Self::Unavailable,
            ErrorKind::Overloaded => Self::Overloaded,
            ErrorKind::Cleartext | ErrorKind::Recursive | ErrorKind::NoRuntime => {
                Self::Misconfigured
            }
        }
    }
}

fn was_refused(error: &Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<RefreshError>());
    cause.is_some_and(RefreshError::is_terminal)
}
