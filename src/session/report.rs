//! The events of a step, made from the states before and after it.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    identity::{Generation, Login},
    observe::{
        event::EventKind,
        outcome::{FlightOutcome, LoginEnding},
    },
    session::machine::{
        outcome::Outcome,
        state::{EndReason, Flight, Phase, State},
        transition::{Findings, Launch},
    },
};

/// A step that has changed the state.
pub(super) struct Change<C> {
    pub(super) before: Arc<State<C>>,
    pub(super) after: Arc<State<C>>,
}

/// Tells what a step has found out without changing the state.
pub(super) fn findings(findings: &Findings, tell: impl Fn(EventKind<'_>)) {
    if let Some(rejection) = &findings.rejection {
        tell(EventKind::RequestRejected {
            login: rejection.epoch.login,
            generation: rejection.epoch.generation,
            late: rejection.is_late,
            replay: false,
        });
    }
    if let Some(held_off) = &findings.held_off {
        tell(EventKind::RefreshHeldOff {
            login: held_off.login,
            generation: held_off.generation,
            cause: held_off.cause,
            wait: held_off.wait,
        });
    }
}

pub(super) fn launch<C>(launch: &Launch<C>, tell: impl Fn(EventKind<'_>)) {
    tell(EventKind::FlightStarted {
        flight: launch.flight.number,
        login: launch.context.login(),
        generation: launch.context.generation(),
        cause: launch.flight.cause,
        awaited: launch.flight.awaited,
        failures: launch.flight.streak.failures,
    });
}

/// Tells what a change means: the end of a flight, then the end of a login, then what is new.
pub(super) fn change<C>(change: &Change<C>, waiters: usize, tell: impl Fn(EventKind<'_>)) {
    let Change { before, after } = change;
    let settled = change.settled();
    if let Some((flight, outcome)) = &settled {
        report_settled(change, flight, outcome, waiters, &tell);
    }
    let (login, generation) = (after.login, after.generation);
    let was_logged_in = before.current_login().is_some();
    let has_new_login = before.login != login;
    let ending = match &after.phase {
        _ if has_new_login => Some(LoginEnding::Replaced),
        Phase::LoggedOut(EndReason::Refused(error)) => Some(LoginEnding::Refused { error }),
        Phase::LoggedOut(EndReason::Idle) => Some(LoginEnding::Idle),
        Phase::LoggedOut(EndReason::Lifetime) => Some(LoginEnding::Lifetime),
        Phase::LoggedOut(_) => Some(LoginEnding::Logout),
        _ => None,
    };
    if let (Some(how), true) = (ending, was_logged_in) {
        let (login, generation) = (before.login, before.generation);
        tell(EventKind::LoginEnded { login, generation, how });
    }
    if has_new_login {
        let generation = after.entry.is_some().then_some(generation);
        tell(EventKind::LoggedIn { login, generation });
    } else if before.generation != generation && !matches!(settled, Some((_, Outcome::Renewed))) {
        tell(EventKind::Replaced { login, generation });
    }
}

fn report_settled<C>(
    Change { before, after }: &Change<C>,
    flight: &Flight,
    outcome: &Outcome,
    waiters: usize,
    tell: impl Fn(EventKind<'_>),
) {
    let outcome = match outcome {
        Outcome::Renewed => FlightOutcome::Renewed { generation: after.generation },
        Outcome::Failed(error, backoff) => {
            let in_a_row = flight.attempt();
            FlightOutcome::Failed { error, in_a_row, backoff: *backoff }
        }
        Outcome::Ended(Some(error)) => FlightOutcome::Refused { error },
        // The guard of the flight reports it, when its refresher is done.
        Outcome::Ended(None) | Outcome::Replaced | Outcome::LoginChanged => return,
    };
    // No step but the one that settles a flight changes these while the flight is in progress.
    let (login, generation) = (before.login, before.generation);
    settled(flight, login, generation, waiters, outcome, tell);
}

pub(super) fn settled(
    flight: &Flight,
    login: Login,
    generation: Generation,
    waiters: usize,
    outcome: FlightOutcome<'_>,
    tell: impl Fn(EventKind<'_>),
) {
    tell(EventKind::FlightSettled {
        flight: flight.number,
        login,
        generation,
        cause: flight.cause,
        waiters,
        duration: Instant::now().into_std().saturating_duration_since(flight.started_at),
        outcome,
    });
}

// === impl Change ===

impl<C> Change<C> {
    /// The flight that this step has settled, and its outcome.
    fn settled(&self) -> Option<(&Flight, Outcome)> {
        match &self.before.phase {
            Phase::Refreshing(flight)
                if self.after.flights_settled > self.before.flights_settled =>
            {
                Some((flight, flight.outcome.get()?))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{cause::Cause, credential::token::Token};

    /// A step reports after the lock, when a later step may have settled the flight already.
    #[test]
    fn a_step_does_not_report_the_flight_that_a_later_step_has_settled() {
        let flight = Flight::new(1, Cause::Forced, false, Instant::now().into_std());
        let token = Token::bearer("at-1").expect("the token is valid");
        let state =
            |flight| Arc::new(State::of_phase(Phase::Refreshing(flight), Some(token.clone())));
        let before = state(flight.clone());
        let after = state(Flight { awaited: true, ..flight.clone() });
        flight.outcome.set(Outcome::Renewed);
        let told = Cell::new(0);
        change(&Change { before, after }, 0, |_| told.set(told.get() + 1));
        assert_eq!(told.get(), 0);
    }
}
