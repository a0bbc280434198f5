use std::error::Error as _;

use crate::error::{Error, ErrorKind, RefreshError};

/// What an error means for somebody who asked for something else than a refresh. Each [`Answer`]
/// says it in its own protocol.
///
/// [`Answer`]: crate::respond::Answer
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nothing helps but a new login.
    LoggedOut,
    /// The request was somebody else's. Sent again, it would be in the name of whoever is logged in
    /// now.
    LoginChanged,
    /// Try later.
    NotNow,
    /// Too many wait already. Try later.
    Overloaded,
    /// The program is put together wrongly.
    Misuse,
}

// === impl Reason ===

impl Reason {
    pub(crate) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::LoggedOut => Self::LoggedOut,
            ErrorKind::LoginChanged => Self::LoginChanged,
            // The login goes on because its credential is still good elsewhere; it was not good
            // enough here.
            ErrorKind::RefreshFailed if was_refused(error) => Self::LoggedOut,
            ErrorKind::RefreshFailed => Self::NotNow,
            ErrorKind::Overloaded => Self::Overloaded,
            ErrorKind::Cleartext | ErrorKind::Recursive | ErrorKind::NoRuntime => Self::Misuse,
        }
    }
}

fn was_refused(error: &Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<RefreshError>());
    cause.is_some_and(RefreshError::is_terminal)
}
