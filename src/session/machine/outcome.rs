use std::{fmt, sync::OnceLock, time::Duration};

use crate::{
    error::{Error, RefreshError},
    refresher::fence::Fence,
};

/// The result of one flight for its waiters.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The flight has brought a newer credential.
    Renewed,
    /// A replacement has fenced the flight. The login has a newer credential.
    Replaced,
    /// The login goes on without a newer credential. The next attempt is possible after this time.
    Failed(RefreshError, Duration),
    /// The login is over. The cause is the refusal of this flight, or `None` after a logout.
    Ended(Option<RefreshError>),
    /// Another login has replaced this one.
    LoginChanged,
}

/// The slot for the outcome of one flight, written once.
///
/// The watch channel only keeps the latest state. A waiter that wakes late must still find the
/// outcome of *its* flight and not that of the next one.
#[derive(Default)]
pub(crate) struct OutcomeCell(OnceLock<Outcome>);

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
    pub(crate) fn get(&self) -> Option<Outcome> {
        self.0.get().cloned()
    }

    /// Writes the outcome. The first one stands, since a flight settles once.
    pub(crate) fn set(&self, outcome: Outcome) {
        let first = self.0.set(outcome).is_ok();
        debug_assert!(first, "a flight settles exactly once");
    }
}

impl Fence for OutcomeCell {
    /// Only a login, a logout or a replacement fences a flight. One that settled by itself, for
    /// example by its time-out, is not fenced.
    fn is_fenced(&self) -> bool {
        match self.0.get() {
            Some(Outcome::Replaced | Outcome::Ended(None) | Outcome::LoginChanged) => true,
            None | Some(Outcome::Renewed | Outcome::Failed(..) | Outcome::Ended(Some(_))) => false,
        }
    }
}

impl fmt::Debug for OutcomeCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OutcomeCell").field(&self.0.get()).finish()
    }
}
