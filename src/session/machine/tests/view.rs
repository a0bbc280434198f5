//! Comparable views of states, steps and their parts.
//!
//! The types themselves implement no `PartialEq`: errors and credentials cannot be compared.

use std::{
    error::Error as _,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    cause::Cause,
    error::{Error, ErrorKind, RefreshError},
    identity::{Generation, Login},
    session::machine::{
        outcome::Outcome,
        state::{EndReason, Flight, Phase, State, Streak},
        tests::key::Key,
        transition::{Effects, Step},
    },
};

/// A view of a `State`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StateView {
    pub(super) login: Login,
    pub(super) generation: Generation,
    pub(super) key: Option<u32>,
    pub(super) expires_at: Option<SystemTime>,
    pub(super) phase: PhaseView,
    pub(super) flights_started: u64,
    pub(super) flights_settled: u64,
    /// The `Debug` output. A history has no accessors.
    pub(super) history: String,
}

/// A view of a `Phase`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PhaseView {
    Active,
    Refreshing(FlightView),
    Failed(FailureView),
    NeverLoggedIn,
    Logout,
    Idle,
    Lifetime,
    Refused(String),
}

/// A view of a `Failure`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FailureView {
    pub(super) error: String,
    pub(super) streak: Streak,
    pub(super) retry_at: Instant,
}

/// A view of a `Flight`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FlightView {
    pub(super) number: u64,
    pub(super) cause: Cause,
    pub(super) awaited: bool,
    pub(super) rejected: bool,
    pub(super) streak: Streak,
    pub(super) started_at: Instant,
    pub(super) outcome: Option<OutcomeView>,
}

/// A view of an `Outcome`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OutcomeView {
    Renewed,
    Replaced,
    Failed(String, Duration),
    Ended(Option<String>),
    LoginChanged,
}

/// A `Step`, with views of the states before and after it.
pub(super) struct StepView<A> {
    pub(super) answer: A,
    pub(super) before: StateView,
    /// `None` when nothing changes.
    pub(super) after: Option<StateView>,
    pub(super) next: Option<State<Key>>,
    pub(super) effects: Effects<Key>,
}

/// Runs a transition, and checks that it leaves its state unchanged.
#[track_caller]
pub(super) fn take<A>(
    state: &State<Key>,
    event: impl FnOnce(&State<Key>) -> Step<Key, A>,
) -> StepView<A> {
    let before = StateView::of(state);
    let Step { answer, next, effects } = event(state);
    assert_eq!(StateView::of(state), before, "a transition is pure");
    StepView { answer, before, after: next.as_ref().map(StateView::of), next, effects }
}

/// The text of the cause of a refresh error.
pub(super) fn cause_text(error: &RefreshError) -> String {
    error.source().expect("it has a cause").to_string()
}

/// A view of an `Error`: its kind, and the text of its innermost cause.
pub(super) fn error_view(error: &Error) -> (ErrorKind, Option<String>) {
    let cause = error
        .source()
        .map(|source| cause_text(source.downcast_ref().expect("it is a refresh error")));
    (error.kind(), cause)
}

// === impl StateView ===

impl StateView {
    pub(super) fn of(state: &State<Key>) -> Self {
        Self {
            login: state.login,
            generation: state.generation,
            key: state.credential().map(|key| key.name),
            expires_at: state.expires_at(),
            phase: PhaseView::of(&state.phase),
            flights_started: state.flights_started,
            flights_settled: state.flights_settled,
            history: format!("{:?}", state.history),
        }
    }
}

// === impl PhaseView ===

impl PhaseView {
    fn of(phase: &Phase) -> Self {
        match phase {
            Phase::Active => Self::Active,
            Phase::Refreshing(flight) => Self::Refreshing(FlightView::of(flight)),
            Phase::Failed(failure) => Self::Failed(FailureView {
                error: cause_text(&failure.error),
                streak: failure.streak,
                retry_at: failure.retry_at,
            }),
            Phase::LoggedOut(reason) => Self::logged_out(reason),
        }
    }

    pub(super) fn logged_out(reason: &EndReason) -> Self {
        match reason {
            EndReason::NeverLoggedIn => Self::NeverLoggedIn,
            EndReason::Logout => Self::Logout,
            EndReason::Idle => Self::Idle,
            EndReason::Lifetime => Self::Lifetime,
            EndReason::Refused(error) => Self::Refused(cause_text(error)),
        }
    }
}

// === impl FlightView ===

impl FlightView {
    pub(super) fn of(flight: &Flight) -> Self {
        Self {
            number: flight.number,
            cause: flight.cause,
            awaited: flight.awaited,
            rejected: flight.rejected,
            streak: flight.streak,
            started_at: flight.started_at,
            outcome: flight.outcome.get().as_ref().map(OutcomeView::of),
        }
    }
}

// === impl OutcomeView ===

impl OutcomeView {
    pub(super) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Renewed => Self::Renewed,
            Outcome::Replaced => Self::Replaced,
            Outcome::Failed(error, wait) => Self::Failed(cause_text(error), *wait),
            Outcome::Ended(cause) => Self::Ended(cause.as_ref().map(cause_text)),
            Outcome::LoginChanged => Self::LoginChanged,
        }
    }
}

// === impl StepView ===

impl<A> StepView<A> {
    /// Asserts that nothing changes and there are no effects.
    #[track_caller]
    pub(super) fn assert_unchanged(&self) {
        assert_eq!(self.after, None, "the state does not change");
        self.assert_no_effects();
    }

    #[track_caller]
    pub(super) fn assert_no_effects(&self) {
        assert!(self.effects.launch.is_none(), "no flight starts");
        assert!(self.effects.settled.is_none(), "no flight settles");
        assert!(self.effects.ended.is_none(), "no login ends");
    }

    /// Asserts that the next state is the one before plus `change`.
    #[track_caller]
    pub(super) fn assert_state(&self, change: impl FnOnce(&mut StateView)) {
        let mut expected = self.before.clone();
        change(&mut expected);
        assert_eq!(self.after.as_ref(), Some(&expected));
    }

    /// Asserts that this flight settles with this outcome and no flight starts.
    #[track_caller]
    pub(super) fn assert_settled(&self, number: u64, outcome: OutcomeView) {
        let (flight, settled) = self.effects.settled.as_ref().expect("a flight settles");
        assert_eq!((flight.number, OutcomeView::of(settled)), (number, outcome));
        assert!(self.effects.launch.is_none(), "no flight starts");
    }
}
