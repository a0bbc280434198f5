//! States, steps and what is in them, in a form that can be compared.

use std::{
    error::Error as _,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    error::{Error, ErrorKind, RefreshError},
    identity::{Generation, Login},
    refresher::Cause,
    session::machine::{
        outcome::Outcome,
        state::{EndReason, Flight, Phase, Row, State},
        tests::key::Key,
        transition::{Effects, Step},
    },
};

/// A state.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Picture {
    pub(super) login: Login,
    pub(super) generation: Generation,
    pub(super) key: Option<u32>,
    pub(super) expires_at: Option<SystemTime>,
    pub(super) stand: Stand,
    pub(super) flights_started: u64,
    pub(super) flights_settled: u64,
    /// What `Debug` shows of it: it can't be looked into.
    pub(super) history: String,
}

/// A phase.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stand {
    Active,
    Refreshing(Leg),
    Failed(Setback),
    NeverLoggedIn,
    Logout,
    Refused(String),
}

/// A failure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setback {
    pub(super) error: String,
    pub(super) row: Row,
    pub(super) retry_at: Instant,
}

/// A flight.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Leg {
    pub(super) number: u64,
    pub(super) cause: Cause,
    pub(super) awaited: bool,
    pub(super) rejected: bool,
    pub(super) row: Row,
    pub(super) started_at: Instant,
    pub(super) outcome: Option<Told>,
}

/// An outcome.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    Renewed,
    Replaced,
    Failed(String, Duration),
    Ended(Option<String>),
    LoginChanged,
}

/// A step that was taken, and the state that it led to.
pub(super) struct Taken<A> {
    pub(super) answer: A,
    pub(super) before: Picture,
    /// None when nothing changes.
    pub(super) after: Option<Picture>,
    pub(super) next: Option<State<Key>>,
    pub(super) effects: Effects<Key>,
}

/// Takes a step, which must leave the state that it starts from as it is.
#[track_caller]
pub(super) fn take<A>(
    state: &State<Key>,
    event: impl FnOnce(&State<Key>) -> Step<Key, A>,
) -> Taken<A> {
    let before = Picture::of(state);
    let Step { answer, next, effects } = event(state);
    assert_eq!(Picture::of(state), before, "a transition is pure");
    Taken { answer, before, after: next.as_ref().map(Picture::of), next, effects }
}

/// What the cause of a failed refresh says.
pub(super) fn said(error: &RefreshError) -> String {
    error.source().expect("it has a cause").to_string()
}

/// What a request is told: the kind, and what the cause says.
pub(super) fn told(error: &Error) -> (ErrorKind, Option<String>) {
    let cause =
        error.source().map(|source| said(source.downcast_ref().expect("it is a refresh error")));
    (error.kind(), cause)
}

// === impl Picture ===

impl Picture {
    pub(super) fn of(state: &State<Key>) -> Self {
        Self {
            login: state.login,
            generation: state.generation,
            key: state.credential().map(|key| key.name),
            expires_at: state.expires_at(),
            stand: Stand::of(&state.phase),
            flights_started: state.flights_started,
            flights_settled: state.flights_settled,
            history: format!("{:?}", state.history),
        }
    }
}

// === impl Stand ===

impl Stand {
    fn of(phase: &Phase) -> Self {
        match phase {
            Phase::Active => Self::Active,
            Phase::Refreshing(flight) => Self::Refreshing(Leg::of(flight)),
            Phase::Failed(failure) => Self::Failed(Setback {
                error: said(&failure.error),
                row: failure.row,
                retry_at: failure.retry_at,
            }),
            Phase::LoggedOut(reason) => Self::over(reason),
        }
    }

    pub(super) fn over(reason: &EndReason) -> Self {
        match reason {
            EndReason::NeverLoggedIn => Self::NeverLoggedIn,
            EndReason::Logout => Self::Logout,
            EndReason::Refused(error) => Self::Refused(said(error)),
        }
    }
}

// === impl Leg ===

impl Leg {
    pub(super) fn of(flight: &Flight) -> Self {
        Self {
            number: flight.number,
            cause: flight.cause,
            awaited: flight.awaited,
            rejected: flight.rejected,
            row: flight.row,
            started_at: flight.started_at,
            outcome: flight.outcome.get().as_ref().map(Told::of),
        }
    }
}

// === impl Told ===

impl Told {
    pub(super) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Renewed => Self::Renewed,
            Outcome::Replaced => Self::Replaced,
            Outcome::Failed(error, wait) => Self::Failed(said(error), *wait),
            Outcome::Ended(cause) => Self::Ended(cause.as_ref().map(said)),
            Outcome::LoginChanged => Self::LoginChanged,
        }
    }
}

// === impl Taken ===

impl<A> Taken<A> {
    /// Nothing has changed, and nothing is to be done.
    #[track_caller]
    pub(super) fn assert_nothing(&self) {
        assert_eq!(self.after, None, "no other state");
        self.assert_no_effects();
    }

    #[track_caller]
    pub(super) fn assert_no_effects(&self) {
        assert!(self.effects.launch.is_none(), "no flight starts");
        assert!(self.effects.settled.is_none(), "no flight settles");
        assert!(self.effects.ended.is_none(), "no login ends");
    }

    /// The state differs from the one before in what `change` changes.
    #[track_caller]
    pub(super) fn assert_state(&self, change: impl FnOnce(&mut Picture)) {
        let mut expected = self.before.clone();
        change(&mut expected);
        assert_eq!(self.after.as_ref(), Some(&expected));
    }

    /// A flight was told this, and nothing else is to be done but what `ended` says.
    #[track_caller]
    pub(super) fn assert_settled(&self, number: u64, outcome: Told) {
        let (flight, told) = self.effects.settled.as_ref().expect("a flight settles");
        assert_eq!((flight.number, Told::of(told)), (number, outcome));
        assert!(self.effects.launch.is_none(), "no flight starts");
    }
}
