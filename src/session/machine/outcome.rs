use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use crate::error::{Error, RefreshError};

/// What the waiters of one flight are told.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The flight has brought a newer credential.
    Renewed,
    /// There is a newer credential of the same login, by a replacement that overtook the flight.
    Replaced,
    /// The login goes on without a newer credential, and with that long to wait for the next
    /// attempt.
    Failed(RefreshError, Duration),
    /// The login is over: refused by the flight with that cause, or logged out.
    Ended(Option<RefreshError>),
    /// Another login took its place.
    LoginChanged,
}

/// Where the outcome of one flight is written, once.
///
/// The watch channel keeps only the latest state, and a waiter that is slow to wake must get the
/// outcome of *its* flight, not of the next one.
#[derive(Clone, Default)]
pub(crate) struct OutcomeCell(Arc<OnceLock<Outcome>>);

// === impl Outcome ===

impl Outcome {
    pub(crate) fn into_result(self) -> Result<(), Error> {
        match self {
            Self::Renewed | Self::Replaced => Ok(()),
            Self::Failed(error, wait) => Err(Error::refresh_failed(error, wait)),
            Self::Ended(cause) => Err(Error::logged_out(cause)),
            Self::LoginChanged => Err(Error::login_changed()),
        }
    }
}

// === impl OutcomeCell ===

impl OutcomeCell {
    /// Whether a login, a logout or a replacement has overtaken the flight. One that has settled by
    /// itself, even by its time-out, was not.
    pub(crate) fn is_fenced(&self) -> bool {
        match self.0.get() {
            Some(Outcome::Replaced | Outcome::Ended(None) | Outcome::LoginChanged) => true,
            None | Some(Outcome::Renewed | Outcome::Failed(..) | Outcome::Ended(Some(_))) => false,
        }
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
