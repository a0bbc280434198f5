//! Constructors, for tests, of values that otherwise only the crate makes.
//!
//! An application matches on errors, hooks, states and [`events`] of a session. These functions
//! make such values without a session, so that its tests can cover each arm.
//!
//! ```
//! use http::StatusCode;
//! use tower_refresh::{testing, Error, ErrorKind, RefreshError};
//!
//! // The code under test:
//! fn status(error: &Error) -> StatusCode {
//!     match error.kind() {
//!         ErrorKind::LoggedOut | ErrorKind::LoginChanged => StatusCode::UNAUTHORIZED,
//!         _ => StatusCode::SERVICE_UNAVAILABLE,
//!     }
//! }
//!
//! let refused = testing::error(ErrorKind::LoggedOut, Some(RefreshError::terminal("revoked")), None);
//! assert_eq!(status(&refused), 401);
//! ```
//!
//! Other inputs have public constructors of their own:
//! [`RefreshContext::new`](crate::RefreshContext::new),
//! [`Rejection::new`](crate::refresher::Rejection::new), and those of
//! [`RefreshError`].

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    cause::Cause,
    credential::contract::Credential,
    error::{Error, ErrorKind, RefreshError},
    session::{
        Closed, EndReason, EndedLogin, Failure, Flight, Generation, Login, Phase, SessionId, State,
    },
};

pub mod events;

/// An error of this kind, with its `source()` and its [`retry_after`](Error::retry_after).
///
/// A session sets the source for [`ErrorKind::RefreshFailed`], and for [`ErrorKind::LoggedOut`]
/// after a refusal. It sets `retry_after` for [`ErrorKind::RefreshFailed`].
pub fn error(
    kind: ErrorKind,
    source: Option<RefreshError>,
    retry_after: Option<Duration>,
) -> Error {
    Error::new(kind, source, retry_after)
}

/// The argument of an `on_login_end` hook.
///
/// ```
/// use std::sync::Arc;
/// use tower_refresh::{session::{EndReason, EndedLogin}, testing, Token};
///
/// // The hook under test:
/// fn revokes(end: &EndedLogin) -> bool {
///     matches!(end.reason(), EndReason::Logout) && end.credential().is_some()
/// }
///
/// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
/// let token = Arc::new(Token::bearer("at-1")?);
/// assert!(revokes(&testing::ended_login(None, EndReason::Logout, Some(token))));
/// assert!(!revokes(&testing::ended_login(None, EndReason::Logout, None)));
/// # Ok(()) }
/// ```
pub fn ended_login<C>(
    session_name: Option<&str>,
    reason: EndReason,
    credential: Option<Arc<C>>,
) -> EndedLogin<C> {
    EndedLogin::new(session_name.map(Arc::from), login(1), reason, credential)
}

/// A state of the first login, in this phase.
///
/// ```
/// use std::time::Instant;
/// use tower_refresh::{refresher::Cause, session::{EndReason, Phase, State}, testing, RefreshError, Token};
///
/// // The code under test:
/// fn is_up(state: &State) -> bool {
///     matches!(state.phase(), Phase::Active | Phase::Refreshing(_))
/// }
///
/// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
/// let token = || Token::bearer("at-1").map(Some);
/// assert!(is_up(&testing::state(Phase::Active, token()?)));
/// assert!(is_up(&testing::state(Phase::Refreshing(testing::flight(Cause::Rejected, true)), token()?)));
/// let failure = testing::failure(RefreshError::transient("unreachable"), 1, Instant::now());
/// assert!(!is_up(&testing::state(Phase::Failed(failure), token()?)));
/// assert!(!is_up(&testing::state(Phase::LoggedOut(EndReason::Logout), None)));
/// # Ok(()) }
/// ```
pub fn state<C: Credential>(phase: Phase, credential: Option<C>) -> State<C> {
    State::of_phase(phase, credential)
}

/// A flight that starts now, for [`Phase::Refreshing`].
pub fn flight(cause: Cause, awaited: bool) -> Flight {
    Flight::new(1, cause, awaited, Instant::now())
}

/// The last of `in_a_row` failures, for [`Phase::Failed`].
pub fn failure(error: RefreshError, in_a_row: u32, retry_at: Instant) -> Failure {
    Failure::new(error, in_a_row, retry_at)
}

/// The `number`-th login of a session. Zero is the value before the first login.
pub fn login(number: u64) -> Login {
    Login::nth(number)
}

/// The generation of the `number`-th credential of a session. Zero is the value before the first.
pub fn generation(number: u64) -> Generation {
    Generation::nth(number)
}

/// The identity of another session at each call, for [`events::event`].
pub fn session_id() -> SessionId {
    SessionId::next()
}

/// The error of a [`Watcher`](crate::session::Watcher) whose session is gone.
pub fn closed() -> Closed {
    Closed::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::token::Token;

    #[test]
    fn a_state_has_its_phase_and_the_counters_that_belong_to_it() {
        let failed = || failure(RefreshError::transient("unreachable"), 1, Instant::now());
        let phases = [
            (Phase::Active, "Active", (0, 0)),
            (Phase::Refreshing(flight(Cause::Forced, true)), "Refreshing", (1, 0)),
            (Phase::Failed(failed()), "Failed", (1, 1)),
            (Phase::LoggedOut(EndReason::Logout), "LoggedOut", (0, 0)),
        ];
        for (phase, name, counters) in phases {
            let token = Token::bearer("at-1").expect("the token is valid");
            let state = state(phase, Some(token));
            assert!(format!("{:?}", state.phase()).starts_with(name), "{name}: {state:?}");
            assert_eq!((state.flights_started(), state.flights_settled()), counters, "{name}");
            assert_eq!((state.login(), state.generation()), (login(1), generation(1)), "{name}");
            assert!(state.credential().is_some(), "{name}");
        }
        assert_eq!(state::<Token>(Phase::Active, None).generation(), generation(0));
    }
}
