//! The state machine: one pure function for each event.
//!
//! A transition reads a [`State`] and answers with a [`Step`]: the answer for whoever caused the
//! event, the state to install (none when nothing changes) and what is to be done about it. It runs
//! no user code but the clock, where it asks for the time, and gets the same answer again. It drops
//! nothing that could be the last of its kind: what it is given it borrows, and whoever installs
//! the next state drops the old one where no lock is held.
//!
//! The table of events and phases is in the docs of [`session`](crate::session).

use std::{sync::Arc, time::Duration};

use crate::{
    error::{Error, RefreshError},
    identity::{Generation, Login},
    refresher::{Cause, RefreshContext, Rejection},
    session::machine::{
        clock::Now,
        held::Held,
        limit::History,
        outcome::{Outcome, OutcomeCell},
        outstanding::{Outstanding, Running},
        state::{EndReason, Failure, Flight, Phase, Row, Stamped, State},
    },
};

/// What an event comes to.
pub(crate) struct Step<C, A> {
    pub(crate) answer: A,
    pub(crate) next: Option<State<C>>,
    pub(crate) effects: Effects<C>,
}

/// What a step asks its caller to do.
pub(crate) struct Effects<C> {
    /// A flight whose waiters are to be told, in the same step.
    pub(crate) settled: Option<(Flight, Outcome)>,
    /// A flight to start.
    pub(crate) launch: Option<Launch<C>>,
    /// A login whose hook is due.
    pub(crate) ended: Option<Ended<C>>,
}

/// A flight that is to be started.
pub(crate) struct Launch<C> {
    pub(crate) flight: Flight,
    pub(crate) context: RefreshContext<C>,
    pub(crate) running: Running<C>,
}

/// A login that is over, other than by another login.
pub(crate) struct Ended<C> {
    pub(crate) login: Login,
    pub(crate) reason: EndReason,
    pub(crate) credential: Option<Arc<C>>,
    pub(crate) outstanding: Outstanding<C>,
}

/// Whether a request may be sent now.
pub(crate) enum Admission<C> {
    Send(Held<C>, Stamped),
    Wait(Flight),
    Fail(Error),
}

/// What becomes of a request that was rejected.
#[derive(Debug)]
pub(crate) enum Reaction {
    /// The response goes to the caller: another refresh would not help.
    Respond,
    Replay,
    Wait(Flight),
    Fail(Error),
}

/// A flight that found itself overtaken when it came home.
pub(crate) struct Overtaken;

// === impl Step ===

impl<C, A> Step<C, A> {
    /// Nothing changes.
    fn stay(answer: A) -> Self {
        Self { answer, next: None, effects: Effects::none() }
    }

    fn to(next: State<C>, answer: A) -> Self {
        Self { answer, next: Some(next), effects: Effects::none() }
    }

    pub(in crate::session) fn map<B>(self, f: impl FnOnce(A) -> B) -> Step<C, B> {
        Step { answer: f(self.answer), next: self.next, effects: self.effects }
    }
}

impl<C> Effects<C> {
    fn none() -> Self {
        Self { settled: None, launch: None, ended: None }
    }
}

// === impl State: requests ===

impl<C> State<C> {
    /// A request of `login` is about to be sent. One that has waited for a flight causes no other.
    /// Here as in [`rejected`](Self::rejected) the time is asked for only where the answer depends
    /// on it: of a herd, once.
    pub(crate) fn admit(
        &self,
        login: Login,
        may_elect: bool,
        now: impl Fn() -> Now,
    ) -> Step<C, Admission<C>> {
        if self.login != login {
            return Step::stay(Admission::Fail(Error::login_changed()));
        }
        let send = |held: &Held<C>| Admission::Send(held.clone(), self.stamp());
        match &self.phase {
            Phase::LoggedOut(reason) => Step::stay(Admission::Fail(reason.to_error())),
            Phase::Refreshing(flight) if flight.awaited => {
                Step::stay(Admission::Wait(flight.clone()))
            }
            phase => match (self.usable(|| now().wall), phase, &self.held) {
                (Some(usable), _, _) => Step::stay(send(usable)),
                (None, Phase::Refreshing(flight), _) => {
                    self.await_flight(flight, false).map(Admission::Wait)
                }
                // It has had its flight, and what that brought has expired since: the upstream
                // decides. A login that a flight has renewed is never without a credential, so this
                // request does not elect below.
                (None, _, Some(expired)) if !may_elect => Step::stay(send(expired)),
                (None, _, held) => match (self.backing_off(now().instant), held) {
                    (Some((failure, wait)), _) => {
                        Step::stay(Admission::Fail(failure.to_error(wait)))
                    }
                    // There have been too many, and this one has expired as well: the upstream
                    // decides.
                    (None, Some(expired)) if self.hold_off(now().instant).is_some() => {
                        Step::stay(send(expired))
                    }
                    (None, _) => self
                        .elect(self.due(Cause::Expiring), true, None, now())
                        .map(Admission::Wait),
                },
            },
        }
    }

    /// A request that was sent with this stamp was rejected. The rejection is made where a flight
    /// is told of it, and nowhere else: of a herd, once.
    pub(crate) fn rejected(
        &self,
        stamp: Stamped,
        rejection: impl FnOnce() -> Rejection,
        now: impl Fn() -> Now,
    ) -> Step<C, Reaction> {
        if self.login != stamp.login {
            return Step::stay(Reaction::Fail(Error::login_changed()));
        }
        let overtaken = self.generation > stamp.generation;
        match &self.phase {
            Phase::LoggedOut(reason) => Step::stay(Reaction::Fail(reason.to_error())),
            Phase::Refreshing(flight) if overtaken && flight.awaited => {
                Step::stay(Reaction::Wait(flight.clone()))
            }
            _ if overtaken => Step::stay(Reaction::Replay),
            Phase::Refreshing(flight) => self.await_flight(flight, true).map(Reaction::Wait),
            Phase::Failed(failure)
                if self.flights_settled > stamp.flights_settled
                    || self.backing_off(now().instant).is_some() =>
            {
                let wait = self.backing_off(now().instant).map_or(Duration::ZERO, |(_, wait)| wait);
                Step::stay(Reaction::Fail(failure.to_error(wait)))
            }
            Phase::Active | Phase::Failed(_) if !self.earns_refresh(now()) => {
                Step::stay(Reaction::Respond)
            }
            Phase::Active | Phase::Failed(_) => self
                .elect(Cause::Rejected, true, Some(Arc::new(rejection())), now())
                .map(Reaction::Wait),
        }
    }

    /// Whether a rejection of the credential may cost a refresh. Where the upstream has rejected
    /// what refreshes brought, one more would be rejected as well.
    fn earns_refresh(&self, now: Now) -> bool {
        let unproven = self.held.as_ref().and_then(Held::unproven_since);
        let too_early = unproven.is_some_and(|since| {
            now.instant.saturating_duration_since(since) < self.rules.limit.window()
        });
        !too_early && self.hold_off(now.instant).is_none()
    }
}

// === impl State: the flight ===

impl<C> State<C> {
    /// Starts a flight that nobody waits for, if the credential is due for it.
    pub(crate) fn renew(&self, now: Now) -> Step<C, ()> {
        match self.renewal_in(now) {
            Some(Duration::ZERO) => self.elect(Cause::Expiring, false, None, now).map(|_| ()),
            _ => Step::stay(()),
        }
    }

    /// `Session::refresh`: joins the flight that runs, or starts one that nobody waits for.
    pub(crate) fn refresh(&self, now: Now) -> Step<C, Result<Flight, Error>> {
        match (&self.phase, self.backing_off(now.instant)) {
            (Phase::LoggedOut(reason), _) => Step::stay(Err(reason.to_error())),
            (Phase::Refreshing(flight), _) => Step::stay(Ok(flight.clone())),
            (_, Some((failure, wait))) => Step::stay(Err(failure.to_error(wait))),
            (Phase::Active | Phase::Failed(_), None) => {
                self.elect(self.due(Cause::Forced), false, None, now).map(Ok)
            }
        }
    }

    /// `Session::acquire`: a new login through the refresher, where there is none. The flight to
    /// wait for, if any.
    pub(crate) fn acquire(&self, now: Now) -> Step<C, Result<(Login, Option<Flight>), Error>> {
        let usable = self.usable(|| now.wall).is_some();
        match (&self.phase, self.backing_off(now.instant)) {
            (Phase::LoggedOut(_), _) => {
                let next = Self { held: None, ..self.in_new_login() };
                let login = next.login;
                next.elect(Cause::Missing, true, None, now).map(|flight| Ok((login, Some(flight))))
            }
            (Phase::Refreshing(flight), _) => Step::stay(Ok((self.login, Some(flight.clone())))),
            (Phase::Active, _) if usable => Step::stay(Ok((self.login, None))),
            (_, Some((failure, wait))) => Step::stay(Err(failure.to_error(wait))),
            (Phase::Active | Phase::Failed(_), None) => {
                let occasion = if usable { Cause::Forced } else { Cause::Expiring };
                let step = self.elect(self.due(occasion), !usable, None, now);
                step.map(|flight| Ok((self.login, Some(flight))))
            }
        }
    }

    /// A flight has come home. `unchanged` says that it brought the credential that it was to
    /// replace, and `wait` how long the next one is kept away if it has failed.
    pub(crate) fn settle(
        &self,
        flight: &Flight,
        result: &Result<Held<C>, RefreshError>,
        unchanged: Option<&RefreshError>,
        wait: Duration,
        now: Now,
    ) -> Step<C, Result<(), Overtaken>> {
        let current = match &self.phase {
            Phase::Refreshing(current) if current.number == flight.number => current,
            _ => return Step::stay(Err(Overtaken)),
        };
        let result = match unchanged {
            Some(error) if current.rejected => Err(error),
            _ => result.as_ref(),
        };
        match result {
            Ok(held) => {
                let history = self.history.with(now.instant, self.rules.limit);
                let doubtful = (current.cause == Cause::Expiring
                    && self.expire_too_fast(&history, now))
                .then(|| held.of_unknown_expiry());
                let next = self.renewed(doubtful.as_ref().unwrap_or(held));
                self.leave(Self { history, ..next }, Outcome::Renewed)
            }
            Err(error) => {
                let row = current.row.and(self.rules.is_refusal(error));
                let needed = current.awaited || self.usable(|| now.wall).is_none();
                if needed && row.refusals >= self.rules.terminal_after {
                    self.end(EndReason::Refused(error.clone()))
                } else {
                    let retry_at = (now.instant + wait).into_std();
                    let failed = Phase::Failed(Failure { error: error.clone(), row, retry_at });
                    self.leave(
                        Self { phase: failed, ..self.clone() },
                        Outcome::Failed(error.clone(), wait),
                    )
                }
            }
        }
        .map(Ok)
    }

    /// Whether the credentials of this login expire so fast that a clock must be wrong: the last
    /// one within a window of its own renewal, and as many in that window as may.
    fn expire_too_fast(&self, history: &History, now: Now) -> bool {
        let brought_at = self.held.as_ref().and_then(Held::refreshed_at);
        let within = |at| now.instant.saturating_duration_since(at) < self.rules.limit.window();
        brought_at.is_some_and(within) && history.wait(self.rules.limit, now.instant).is_some()
    }

    /// Starts the one flight.
    fn elect(
        &self,
        cause: Cause,
        awaited: bool,
        rejection: Option<Arc<Rejection>>,
        now: Now,
    ) -> Step<C, Flight> {
        let previous = match &self.phase {
            Phase::Failed(failure) => Some(failure),
            _ => None,
        };
        let flight = Flight {
            number: self.flights_started + 1,
            cause,
            awaited,
            rejected: rejection.is_some(),
            row: previous.map_or_else(Row::default, |failure| failure.row),
            started_at: now.instant.into_std(),
            outcome: OutcomeCell::default(),
        };
        let previous_error = previous.map(|failure| failure.error.clone());
        let context = RefreshContext::new(cause)
            .for_flight(self.login, self.generation, flight.outcome.clone())
            .with_evidence(self.credential().cloned(), rejection, previous_error);
        let next = Self {
            phase: Phase::Refreshing(flight.clone()),
            flights_started: flight.number,
            ..self.clone()
        };
        let launch = Launch { flight: flight.clone(), context, running: self.outstanding.enter() };
        let effects = Effects { launch: Some(launch), ..Effects::none() };
        Step { answer: flight, next: Some(next), effects }
    }

    /// Makes the flight one that requests wait for, and notes a rejection of what it is to replace.
    fn await_flight(&self, flight: &Flight, rejected: bool) -> Step<C, Flight> {
        let awaited =
            Flight { awaited: true, rejected: flight.rejected || rejected, ..flight.clone() };
        if awaited.awaited == flight.awaited && awaited.rejected == flight.rejected {
            return Step::stay(awaited);
        }
        Step::to(Self { phase: Phase::Refreshing(awaited.clone()), ..self.clone() }, awaited)
    }

    /// Why a flight is due that no rejection has caused: without a credential, whatever the
    /// occasion, to get one.
    fn due(&self, occasion: Cause) -> Cause {
        if self.held.is_some() { occasion } else { Cause::Missing }
    }
}

// === impl State: logins ===

impl<C> State<C> {
    /// A new login, from any phase.
    pub(crate) fn log_in(&self, held: &Held<C>) -> Step<C, Login> {
        let next = self.in_new_login().renewed(held);
        let login = next.login;
        self.leave(next, Outcome::LoginChanged).map(|()| login)
    }

    /// A newer credential of that login.
    pub(crate) fn replace(&self, login: Login, held: &Held<C>) -> Step<C, Option<Generation>> {
        if self.login != login || matches!(self.phase, Phase::LoggedOut(_)) {
            return Step::stay(None);
        }
        let next = self.renewed(held);
        let generation = next.generation;
        self.leave(next, Outcome::Replaced).map(|()| Some(generation))
    }

    pub(crate) fn log_out(&self) -> Step<C, ()> {
        match &self.phase {
            Phase::LoggedOut(_) => Step::stay(()),
            _ => self.end(EndReason::Logout),
        }
    }

    /// This state in the next login, for which nothing counts that came before.
    fn in_new_login(&self) -> Self {
        Self {
            login: self.login.next(),
            outstanding: Outstanding::new(),
            history: History::default(),
            ..self.clone()
        }
    }

    /// This state with the next credential of its login in it.
    fn renewed(&self, held: &Held<C>) -> Self {
        Self {
            generation: self.generation.next(),
            held: Some(held.clone()),
            phase: Phase::Active,
            ..self.clone()
        }
    }

    /// Ends the login. The hook gets its last credential.
    fn end(&self, reason: EndReason) -> Step<C, ()> {
        let ended = Ended {
            login: self.login,
            reason: reason.clone(),
            credential: self.credential().cloned(),
            outstanding: self.outstanding.clone(),
        };
        let outcome = Outcome::Ended(reason.refusal().cloned());
        let next = Self { held: None, phase: Phase::LoggedOut(reason), ..self.clone() };
        let mut step = self.leave(next, outcome);
        step.effects.ended = Some(ended);
        step
    }

    /// Goes on to `next`. A flight that was in progress is over for its waiters: they are told
    /// `outcome`.
    fn leave(&self, next: Self, outcome: Outcome) -> Step<C, ()> {
        match &self.phase {
            Phase::Refreshing(flight) => {
                let next = Self { flights_settled: self.flights_settled + 1, ..next };
                let effects =
                    Effects { settled: Some((flight.clone(), outcome)), ..Effects::none() };
                Step { answer: (), next: Some(next), effects }
            }
            _ => Step::to(next, ()),
        }
    }
}

// === impl EndReason ===

impl EndReason {
    /// The refusal that ended the login, if one did.
    fn refusal(&self) -> Option<&RefreshError> {
        match self {
            Self::Refused(error) => Some(error),
            Self::NeverLoggedIn | Self::Logout => None,
        }
    }

    /// What a request is told that comes after it.
    pub(crate) fn to_error(&self) -> Error {
        Error::logged_out(self.refusal().cloned())
    }
}

// === impl Failure ===

impl Failure {
    /// What a request is told that needs a newer credential, with that long to wait.
    fn to_error(&self, wait: Duration) -> Error {
        Error::refresh_failed(self.error.clone(), wait)
    }
}
