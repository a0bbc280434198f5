use crate::error::{Error, RefreshError};
use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// What the waiters of one flight are told.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// There is a newer credential of the same login, by the flight or by a replacement that overtook it.
    Renewed,
    /// The login goes on without a newer credential.
    Failed(RefreshError),
    /// The login is over: refused with that cause, or logged out.
    Terminated(Option<RefreshError>),
    /// Another login took its place.
    LoginChanged,
}

/// Where the outcome of one flight is written, once.
///
/// The watch channel keeps only the latest state, and a waiter that is slow to wake must get the outcome of *its*
/// flight, not of the next one.
#[derive(Clone, Default)]
pub(crate) struct OutcomeCell(Arc<OnceLock<Outcome>>);

// === impl Outcome ===

impl Outcome {
    pub(crate) fn into_result(self) -> Result<(), Error> {
        match self {
            Self::Renewed => Ok(()),
            Self::Failed(error) => Err(Error::refresh_failed(error)),
            Self::Terminated(cause) => Err(Error::terminated(cause)),
            Self::LoginChanged => Err(Error::login_changed()),
        }
    }
}

// === impl OutcomeCell ===

impl OutcomeCell {
    /// Whether the flight has settled, or was fenced off by a login, a logout or a replacement.
    pub(crate) fn is_set(&self) -> bool {
        self.0.get().is_some()
    }

    pub(crate) fn get(&self) -> Option<Outcome> {
        self.0.get().cloned()
    }

    /// The first outcome stands: a flight settles once.
    pub(crate) fn set(&self, outcome: Outcome) {
        let first = self.0.set(outcome).is_ok();
        debug_assert!(first, "a flight settles exactly once");
    }
}

impl fmt::Debug for OutcomeCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OutcomeCell").field(&self.0.get()).finish()
    }
}
