//! Constructors of events, for the tests of an [`Observer`](crate::observe::Observer).
//!
//! Each kind of event has a function, whose arguments are the fields of the kind. A field that a
//! later release adds gets a default value here.
//!
//! ```
//! use std::{sync::atomic::{AtomicU64, Ordering}, time::Duration};
//! use tower_refresh::{
//!     RefreshError,
//!     observe::{Event, EventKind, FlightOutcome, Observer},
//!     refresher::Cause,
//!     testing::{self, events},
//! };
//!
//! // The observer under test:
//! #[derive(Default)]
//! struct Failures(AtomicU64);
//!
//! impl Observer for Failures {
//!     fn on(&self, event: &Event<'_>) {
//!         if let EventKind::FlightSettled { outcome: FlightOutcome::Failed { .. }, .. } = event.kind() {
//!             self.0.fetch_add(1, Ordering::Relaxed);
//!         }
//!     }
//! }
//!
//! let (failures, session) = (Failures::default(), testing::session_id());
//! let (login, generation) = (testing::login(1), testing::generation(1));
//! let error = RefreshError::transient("unreachable");
//! for outcome in [
//!     events::failed(&error, 1, Duration::from_secs(1)),
//!     events::renewed(testing::generation(2)),
//! ] {
//!     let (waiters, duration) = (3, Duration::from_millis(20));
//!     let settled =
//!         events::flight_settled(1, login, generation, Cause::Rejected, waiters, duration, outcome);
//!     failures.on(&events::event(Some(session), Some("billing"), settled));
//! }
//! assert_eq!(failures.0.into_inner(), 1);
//! ```

use std::{error, time::Duration};

use crate::{
    cause::Cause,
    error::{Error, ErrorKind, RefreshError},
    identity::{Generation, Login, SessionId},
    observe::{
        Event, EventKind, FlightOutcome, HookOutcome, LoginEnding, ReplayObstacle, StoreOperation,
        WaitOutcome,
    },
};

/// Makes a function of each kind.
macro_rules! constructors {
    ($($name:ident => $kind:ident { $($field:ident: $type:ty),* })*) => {
        $(
            #[doc = concat!("An [`EventKind::", stringify!($kind), "`].")]
            pub fn $name<'a>($($field: $type),*) -> EventKind<'a> {
                EventKind::$kind { $($field),* }
            }
        )*

        #[cfg(test)]
        const CONSTRUCTED: &[&str] = &[$(stringify!($kind)),*];
    };
}

/// An event of this kind. Only `SessionsFull`, and `RequestRefused` without a session, have no
/// `session_id`.
pub fn event<'a>(
    session_id: Option<SessionId>,
    session_name: Option<&'a str>,
    kind: EventKind<'a>,
) -> Event<'a> {
    Event::new(session_id, session_name, kind)
}

constructors! {
    session_created => SessionCreated {}
    session_evicted => SessionEvicted {}
    sessions_full => SessionsFull { capacity: usize }
    session_dropped => SessionDropped {}
    logged_in => LoggedIn { login: Login, generation: Option<Generation> }
    replaced => Replaced { login: Login, generation: Generation }
    login_ended => LoginEnded { login: Login, generation: Generation, how: LoginEnding<'a> }
    hook_done => HookDone { login: Login, duration: Duration, outcome: HookOutcome }
    flight_started => FlightStarted {
        flight: u64, login: Login, generation: Generation, cause: Cause, awaited: bool,
        failures: u32
    }
    attempt_failed => AttemptFailed {
        flight: u64, login: Login, attempt: u32, error: &'a RefreshError, pause: Duration
    }
    flight_settled => FlightSettled {
        flight: u64, login: Login, generation: Generation, cause: Cause, waiters: usize,
        duration: Duration, outcome: FlightOutcome<'a>
    }
    refresh_held_off => RefreshHeldOff {
        login: Login, generation: Generation, cause: Cause, wait: Duration
    }
    request_rejected => RequestRejected {
        login: Login, generation: Generation, late: bool, replay: bool
    }
    wait_started => WaitStarted { login: Login, flight: u64, waiters: usize }
    wait_ended => WaitEnded {
        login: Login, flight: u64, waiters: usize, duration: Duration, outcome: WaitOutcome
    }
    request_replayed => RequestReplayed { login: Login, generation: Generation }
    request_not_replayed => RequestNotReplayed {
        login: Login, generation: Generation, obstacle: ReplayObstacle
    }
    request_refused => RequestRefused { login: Login, error: &'a Error }
    store_operation_done => StoreOperationDone {
        operation: StoreOperation, duration: Duration,
        error: Option<&'a (dyn error::Error + Send + Sync + 'static)>,
        error_type: Option<&'static str>
    }
    store_adopted => StoreAdopted {}
    store_lease_lost => StoreLeaseLost {}
    store_save_failed => StoreSaveFailed {
        error: &'a (dyn error::Error + Send + Sync + 'static), error_type: &'static str
    }
    store_degraded => StoreDegraded {
        error: &'a (dyn error::Error + Send + Sync + 'static), error_type: &'static str
    }
    store_recovered => StoreRecovered { duration: Duration }
}

/// A [`FlightOutcome::Renewed`].
pub fn renewed<'a>(generation: Generation) -> FlightOutcome<'a> {
    FlightOutcome::Renewed { generation }
}

/// A [`FlightOutcome::Failed`].
pub fn failed(error: &RefreshError, in_a_row: u32, backoff: Duration) -> FlightOutcome<'_> {
    FlightOutcome::Failed { error, in_a_row, backoff }
}

/// A [`FlightOutcome::Refused`].
pub fn refused(error: &RefreshError) -> FlightOutcome<'_> {
    FlightOutcome::Refused { error }
}

/// A [`LoginEnding::Refused`].
pub fn login_refused(error: &RefreshError) -> LoginEnding<'_> {
    LoginEnding::Refused { error }
}

/// A [`WaitOutcome::Failed`].
pub fn wait_failed(kind: ErrorKind) -> WaitOutcome {
    WaitOutcome::Failed { kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = include_str!("../observe/event.rs");

    /// The kinds in the source of the enumeration, in their order.
    fn kinds() -> Vec<&'static str> {
        let below = EVENTS.lines().skip_while(|line| !line.starts_with("pub enum EventKind"));
        let variants = below.take_while(|line| *line != "}").filter_map(|line| {
            let variant = line.strip_prefix("    ")?.trim_end_matches([' ', '{', ',']);
            variant.starts_with(|c: char| c.is_ascii_uppercase()).then_some(variant)
        });
        variants.collect()
    }

    #[test]
    fn each_kind_of_event_has_a_constructor() {
        assert_eq!(CONSTRUCTED, kinds());
    }

    #[test]
    fn an_event_has_the_session_and_the_kind_that_it_is_made_with() {
        let session = crate::testing::session_id();
        let made = event(Some(session), Some("billing"), sessions_full(7));
        assert_eq!((made.session_id(), made.session_name()), (Some(session), Some("billing")));
        assert!(matches!(made.kind(), EventKind::SessionsFull { capacity: 7 }));
        assert_ne!(session, crate::testing::session_id());
    }
}
