//! The transitions: one pure function for each event.
//!
//! A transition reads a [`State`] and returns a [`Step`]: the answer for the caller, the next state
//! (`None` when nothing changes) and the effects that the engine carries out.
//!
//! The engine runs a transition twice where it may change the state: once on a snapshot, to learn
//! whether it changes anything, and once more under the lock, where it counts. So a transition
//!
//! - has no side effects, and the first result can be thrown away;
//! - runs no user code except the clock, which returns the same time again ([`LazyNow`]);
//! - borrows its arguments. A value dropped here could be the last reference to a credential, and
//!   the user's `Drop` would run under the lock. The engine drops the old state after it has
//!   released the lock.
//!
//! The docs of [`session`](crate::session) have the table of events and phases.
//!
//! [`LazyNow`]: crate::session::machine::clock::LazyNow

use std::{sync::Arc, time::Duration};

use crate::{
    cause::Cause,
    error::{Error, RefreshError},
    identity::{Generation, Login},
    refresher::{context::RefreshContext, rejection::Rejection},
    session::machine::{
        clock::Now,
        entry::Entry,
        limit::RefreshHistory,
        outcome::Outcome,
        state::{EndReason, Epoch, Failure, Flight, Phase, State, Streak},
        tracker::{FlightToken, FlightTracker, RunningFlights},
    },
};

/// The result of a transition.
pub(in crate::session) struct Step<C, A> {
    pub(in crate::session) answer: A,
    /// The state to install. `None` when nothing changes.
    pub(in crate::session) next: Option<State<C>>,
    pub(in crate::session) effects: Effects<C>,
}

/// The work that a step leaves to the engine.
pub(in crate::session) struct Effects<C> {
    /// A flight that is over, and the outcome for its waiters. Written together with the state.
    pub(in crate::session) settled: Option<(Flight, Outcome)>,
    /// A flight to start.
    pub(in crate::session) launch: Option<Launch<C>>,
    /// A login whose hook has to run.
    pub(in crate::session) ended: Option<LoginEnd<C>>,
    /// Facts for observers that the change of the state does not show.
    pub(in crate::session) findings: Findings,
}

/// The facts that a step finds out, whether or not it changes the state.
#[derive(Debug, Default)]
pub(in crate::session) struct Findings {
    pub(in crate::session) rejection: Option<RejectionFinding>,
    pub(in crate::session) held_off: Option<HoldOff>,
}

/// A request was rejected.
#[derive(Debug)]
pub(in crate::session) struct RejectionFinding {
    pub(in crate::session) epoch: Epoch,
    /// Whether the session has a newer credential of the request's login.
    pub(in crate::session) is_late: bool,
}

/// A flight was due, and may not start.
#[derive(Debug)]
pub(in crate::session) struct HoldOff {
    pub(in crate::session) login: Login,
    pub(in crate::session) generation: Generation,
    pub(in crate::session) cause: Cause,
    /// The rest of the back-off, or the time until the refresh limit allows a flight. Zero if
    /// neither forbids it.
    pub(in crate::session) wait: Duration,
}

/// A flight to start, with the input of its refresher.
pub(in crate::session) struct Launch<C> {
    pub(in crate::session) flight: Flight,
    /// The credential to replace.
    pub(in crate::session) entry: Option<Arc<Entry<C>>>,
    pub(in crate::session) context: RefreshContext<C>,
    pub(in crate::session) token: FlightToken<C>,
}

/// A login that ended without a successor: by a refusal, by a logout, or by its registry.
pub(in crate::session) struct LoginEnd<C> {
    pub(in crate::session) login: Login,
    pub(in crate::session) reason: EndReason,
    pub(in crate::session) credential: Option<Arc<C>>,
    pub(in crate::session) flights: RunningFlights<C>,
}

/// The session's answer to a request that is about to be sent.
pub(crate) enum Admission<C> {
    Send(Arc<Entry<C>>, Epoch),
    Wait(Flight),
    Fail(Error),
}

/// The session's answer to a rejected request.
#[derive(Debug)]
pub(crate) enum Reaction {
    /// Hand the response to the caller. Another refresh would not help.
    Respond,
    /// Send the request again, with the newer credential.
    Replay,
    /// Wait for the flight, then send the request again.
    Wait(Flight),
    Fail(Error),
}

/// The login for which `acquire` or `refresh` returns a credential, and the flight to wait for
/// first.
#[derive(Debug)]
pub(in crate::session) struct Acquisition {
    pub(in crate::session) login: Login,
    pub(in crate::session) flight: Option<Flight>,
}

/// The result of a flight came too late: a login, a logout or a replacement has fenced the flight.
#[derive(Debug)]
pub(in crate::session) struct Fenced;

// === impl Step ===

impl<C, A> Step<C, A> {
    /// A step that changes nothing.
    pub(in crate::session) fn stay(answer: A) -> Self {
        Self { answer, next: None, effects: Effects::none() }
    }

    fn to(next: State<C>, answer: A) -> Self {
        Self { answer, next: Some(next), effects: Effects::none() }
    }

    pub(in crate::session) fn map<B>(self, f: impl FnOnce(A) -> B) -> Step<C, B> {
        Step { answer: f(self.answer), next: self.next, effects: self.effects }
    }

    fn held_off(mut self, held_off: HoldOff) -> Self {
        self.effects.findings.held_off = Some(held_off);
        self
    }
}

// === impl Effects ===

impl<C> Effects<C> {
    fn none() -> Self {
        Self { settled: None, launch: None, ended: None, findings: Findings::default() }
    }
}

// === impl State: requests ===

impl<C> State<C> {
    /// A request of `login` is about to be sent.
    ///
    /// `may_elect` is false for a request that has already waited for a flight: it causes no second
    /// one (guarantee 7).
    ///
    /// This and [`rejected`](Self::rejected) read the time only where the answer depends on it. A
    /// herd of requests that all wait for one flight does not read the clock.
    pub(in crate::session) fn admit(
        &self,
        login: Login,
        may_elect: bool,
        now: impl Fn() -> Now,
    ) -> Step<C, Admission<C>> {
        if self.login != login {
            return Step::stay(Admission::Fail(Error::login_changed()));
        }
        let send = |entry: Arc<Entry<C>>| Admission::Send(entry, self.epoch());
        match &self.phase {
            Phase::LoggedOut(reason) => Step::stay(Admission::Fail(reason.to_error())),
            Phase::Refreshing(flight) if flight.awaited => {
                Step::stay(Admission::Wait(flight.clone()))
            }
            phase => match (self.usable(|| now().wall), phase, &self.entry) {
                (Some(usable), _, _) => Step::stay(send(usable.clone())),
                (None, Phase::Refreshing(flight), _) => {
                    self.await_flight(flight, false).map(Admission::Wait)
                }
                // The request has had its flight, and the credential of that flight has expired
                // since. Send it, and let the upstream decide. A login that a flight has renewed
                // always has a credential, so a request that may not elect never gets to `elect`
                // below.
                (None, _, Some(expired)) if !may_elect => Step::stay(send(expired.sent_expired())),
                (None, _, entry) => match (self.backing_off(now().instant), entry) {
                    (Some((failure, wait)), _) => {
                        Step::stay(Admission::Fail(failure.to_error(wait)))
                    }
                    // The refresh limit is reached, and the newest credential has expired as well.
                    // Let the upstream decide. If it accepts the credential, the clock is wrong,
                    // and the expiry no longer counts.
                    (None, Some(expired)) if self.hold_off(now().instant).is_some() => {
                        Step::stay(send(expired.sent_expired()))
                    }
                    (None, _) => self
                        .elect(self.due(Cause::Expiring), true, None, now())
                        .map(Admission::Wait),
                },
            },
        }
    }

    /// A request that was sent at `epoch` was rejected.
    ///
    /// `may_elect` is false for a request that had waited for a flight before it was sent. It
    /// neither starts nor joins a flight (guarantee 7), but it is replayed if a newer generation
    /// has arrived since, which costs nothing (guarantee 3). Otherwise its response goes to the
    /// caller.
    ///
    /// `rejection` is called only where this run elects a flight. Requests that race for the
    /// election copy their response heads too; the rest of a herd does not.
    pub(in crate::session) fn rejected(
        &self,
        epoch: Epoch,
        may_elect: bool,
        rejection: impl FnOnce() -> Option<Rejection>,
        now: impl Fn() -> Now,
    ) -> Step<C, Reaction> {
        let is_late = self.login == epoch.login && self.generation > epoch.generation;
        let mut step = self.react(epoch, is_late, may_elect, rejection, now);
        step.effects.findings.rejection = Some(RejectionFinding { epoch, is_late });
        step
    }

    fn react(
        &self,
        epoch: Epoch,
        is_late: bool,
        may_elect: bool,
        rejection: impl FnOnce() -> Option<Rejection>,
        now: impl Fn() -> Now,
    ) -> Step<C, Reaction> {
        if !may_elect && (!is_late || self.current_login().is_none()) {
            return Step::stay(Reaction::Respond);
        }
        if self.login != epoch.login {
            return Step::stay(Reaction::Fail(Error::login_changed()));
        }
        match &self.phase {
            Phase::LoggedOut(reason) => Step::stay(Reaction::Fail(reason.to_error())),
            // The newer credential is about to be replaced as well. The replay waits for that.
            Phase::Refreshing(flight) if is_late && flight.awaited => {
                Step::stay(Reaction::Wait(flight.clone()))
            }
            _ if is_late => Step::stay(Reaction::Replay),
            Phase::Refreshing(flight) => self.await_flight(flight, true).map(Reaction::Wait),
            phase @ (Phase::Active | Phase::Failed(_)) => {
                let now = now();
                let wait = self.backing_off(now.instant).map(|(_, wait)| wait);
                match phase {
                    // A flight has failed since the request was sent. The rejection is one of the
                    // herd that this flight has answered, so it gets the same answer (guarantees 3
                    // and 8).
                    Phase::Failed(failure)
                        if self.flights_settled > epoch.flights_settled || wait.is_some() =>
                    {
                        Step::stay(Reaction::Fail(failure.to_error(wait.unwrap_or_default())))
                    }
                    _ => match self.rejection_hold_off(now) {
                        Some(wait) => {
                            let held_off = self.holding(Cause::Rejected, wait);
                            Step::stay(Reaction::Respond).held_off(held_off)
                        }
                        None => self
                            .elect(Cause::Rejected, true, rejection().map(Arc::new), now)
                            .map(Reaction::Wait),
                    },
                }
            }
        }
    }

    /// How long a rejection of the credential may not start a flight, as [`HoldOff::wait`] counts
    /// it. `None` if it may. It may not if a flight brought the credential and the upstream never
    /// accepted it: the next one would be rejected as well.
    fn rejection_hold_off(&self, now: Now) -> Option<Duration> {
        let unproven = self.entry().and_then(Entry::unproven_since);
        let too_early = unproven.is_some_and(|since| {
            now.instant.saturating_duration_since(since) < self.rules.limit.window()
        });
        self.hold_off(now.instant).or_else(|| too_early.then_some(Duration::ZERO))
    }
}

// === impl State: the flight ===

impl<C> State<C> {
    /// Starts a renewal without waiters, if one is due.
    pub(in crate::session) fn renew(&self, now: Now) -> Step<C, ()> {
        if self.renewable_at().is_none_or(|renew_at| renew_at > now.wall) {
            return Step::stay(());
        }
        match self.hold_off(now.instant) {
            Some(wait) => Step::stay(()).held_off(self.holding(Cause::Expiring, wait)),
            None => self.elect(Cause::Expiring, false, None, now).map(|_| ()),
        }
    }

    fn holding(&self, cause: Cause, wait: Duration) -> HoldOff {
        HoldOff { login: self.login, generation: self.generation, cause, wait }
    }

    /// `Session::refresh`: joins the flight in progress, or starts one without waiters.
    pub(in crate::session) fn refresh(&self, now: Now) -> Step<C, Result<Acquisition, Error>> {
        match (&self.phase, self.backing_off(now.instant)) {
            (Phase::LoggedOut(reason), _) => Step::stay(Err(reason.to_error())),
            (Phase::Refreshing(flight), _) => Step::stay(Ok(self.acquisition(flight.clone()))),
            (_, Some((failure, wait))) => Step::stay(Err(failure.to_error(wait))),
            (Phase::Active | Phase::Failed(_), None) => self
                .elect(self.due(Cause::Forced), false, None, now)
                .map(|flight| Ok(self.acquisition(flight))),
        }
    }

    /// `Session::acquire`: the current credential if it is good, otherwise the one of a flight. In
    /// a session that is logged out, the flight begins a new login.
    pub(in crate::session) fn acquire(&self, now: Now) -> Step<C, Result<Acquisition, Error>> {
        let usable = self.usable(|| now.wall).is_some();
        match (&self.phase, self.backing_off(now.instant)) {
            (Phase::LoggedOut(_), _) => {
                let next = self.in_new_login();
                next.elect(Cause::Missing, true, None, now)
                    .map(|flight| Ok(next.acquisition(flight)))
            }
            (Phase::Refreshing(flight), _) => Step::stay(Ok(self.acquisition(flight.clone()))),
            // A renewal that failed says nothing against the credential that it was to replace.
            (Phase::Active | Phase::Failed(_), _) if self.is_good(now) => {
                Step::stay(Ok(Acquisition { login: self.login, flight: None }))
            }
            (_, Some((failure, wait))) => Step::stay(Err(failure.to_error(wait))),
            (Phase::Active | Phase::Failed(_), None) => {
                let occasion = if usable { Cause::Forced } else { Cause::Expiring };
                self.elect(self.due(occasion), !usable, None, now)
                    .map(|flight| Ok(self.acquisition(flight)))
            }
        }
    }

    /// `Session::retry_now`: ends the back-off. The failures still count, so the next back-off is
    /// longer.
    pub(in crate::session) fn end_back_off(&self, now: Now) -> Step<C, ()> {
        let Some((failure, _)) = self.backing_off(now.instant) else { return Step::stay(()) };
        let over = Failure { retry_at: now.instant.into_std(), ..failure.clone() };
        Step::to(Self { phase: Phase::Failed(over), ..self.clone() }, ())
    }

    fn acquisition(&self, flight: Flight) -> Acquisition {
        Acquisition { login: self.login, flight: Some(flight) }
    }

    /// A flight has returned from its refresher.
    ///
    /// `unchanged` is an error if the flight brought the credential that it was to replace. It
    /// counts only if that credential was rejected. `wait` is the back-off in case of a failure.
    pub(in crate::session) fn settle(
        &self,
        flight: &Flight,
        result: &Result<Arc<Entry<C>>, RefreshError>,
        unchanged: Option<&RefreshError>,
        wait: Duration,
        now: Now,
    ) -> Step<C, Result<(), Fenced>> {
        // The number tells whether this flight is still the current one. Its other fields may have
        // changed since it started: a request may have come to wait for it.
        let current = match &self.phase {
            Phase::Refreshing(current) if current.number == flight.number => current,
            _ => return Step::stay(Err(Fenced)),
        };
        let result = match unchanged {
            Some(error) if current.rejected => Err(error),
            _ => result.as_ref(),
        };
        match result {
            Ok(entry) => {
                let history = self.history.with(now.instant, self.rules.limit);
                self.leave(Self { history, ..self.renewed(entry) }, Outcome::Renewed)
            }
            Err(error) => {
                let streak =
                    current.streak.with_failure(self.rules.is_refusal(error), current.rejected);
                // A refused renewal ends no login whose credential still works.
                let needed = current.awaited || self.usable(|| now.wall).is_none();
                if needed && streak.refusals >= self.rules.terminal_after {
                    self.end(EndReason::Refused(error.clone()))
                } else {
                    let retry_at = (now.instant + wait).into_std();
                    let failed = Phase::Failed(Failure { error: error.clone(), streak, retry_at });
                    self.leave(
                        Self { phase: failed, ..self.clone() },
                        Outcome::Failed(error.clone(), wait),
                    )
                }
            }
        }
        .map(Ok)
    }

    /// Starts the one flight. Callers make sure that none is in progress: two flights would both be
    /// current, since only the phase `Refreshing` excludes a second one.
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
            streak: previous.map_or_else(Streak::default, |failure| failure.streak),
            ..Flight::new(self.flights_started + 1, cause, awaited, now.instant.into_std())
        };
        let previous_error = previous.map(|failure| failure.error.clone());
        let context = RefreshContext::new(cause)
            .for_flight(self.login, self.generation, flight.number, flight.outcome.clone())
            .with_evidence(self.credential().cloned(), rejection, previous_error);
        let token = self.tracker.token();
        let next = Self {
            phase: Phase::Refreshing(flight.clone()),
            flights_started: flight.number,
            tracker: token.tracker(),
            ..self.clone()
        };
        let entry = self.entry.clone();
        let launch = Launch { flight: flight.clone(), entry, context, token };
        let effects = Effects { launch: Some(launch), ..Effects::none() };
        Step { answer: flight, next: Some(next), effects }
    }

    /// Marks the flight as awaited, and as caused by a rejection if it was one.
    fn await_flight(&self, flight: &Flight, rejected: bool) -> Step<C, Flight> {
        let awaited =
            Flight { awaited: true, rejected: flight.rejected || rejected, ..flight.clone() };
        if awaited.awaited == flight.awaited && awaited.rejected == flight.rejected {
            return Step::stay(awaited);
        }
        Step::to(Self { phase: Phase::Refreshing(awaited.clone()), ..self.clone() }, awaited)
    }

    /// The cause of a flight without a rejection. Without a credential it is always `Missing`.
    fn due(&self, occasion: Cause) -> Cause {
        if self.entry.is_some() { occasion } else { Cause::Missing }
    }
}

// === impl State: logins ===

impl<C> State<C> {
    /// `Session::login`: begins a new login, in any phase.
    pub(in crate::session) fn log_in(&self, entry: &Arc<Entry<C>>) -> Step<C, Login> {
        let next = self.in_new_login().renewed(entry);
        let login = next.login;
        self.leave(next, Outcome::LoginChanged).map(|()| login)
    }

    /// `Session::replace`: takes a newer credential of that login. `None` if the login is over.
    pub(in crate::session) fn replace(
        &self,
        login: Login,
        entry: &Arc<Entry<C>>,
    ) -> Step<C, Option<Generation>> {
        if self.current_login() != Some(login) {
            return Step::stay(None);
        }
        let next = self.renewed(entry);
        let generation = next.generation;
        self.leave(next, Outcome::Replaced).map(|()| Some(generation))
    }

    /// `Session::logout`.
    pub(in crate::session) fn log_out(&self) -> Step<C, ()> {
        self.end_login(self.login, EndReason::Logout)
    }

    /// Ends this login, unless it is over or another one has begun.
    pub(in crate::session) fn end_login(&self, login: Login, reason: EndReason) -> Step<C, ()> {
        if self.current_login() != Some(login) {
            return Step::stay(());
        }
        self.end(reason)
    }

    /// This state in the next login. Flights and successes of the old login no longer count.
    fn in_new_login(&self) -> Self {
        Self {
            login: self.login.next(),
            tracker: FlightTracker::new(),
            history: RefreshHistory::default(),
            ..self.clone()
        }
    }

    /// This state with the next credential of its login.
    fn renewed(&self, entry: &Arc<Entry<C>>) -> Self {
        Self {
            generation: self.generation.next(),
            entry: Some(entry.clone()),
            phase: Phase::Active,
            ..self.clone()
        }
    }

    /// Ends the login and hands its last credential to the hook.
    fn end(&self, reason: EndReason) -> Step<C, ()> {
        let ended = LoginEnd {
            login: self.login,
            reason: reason.clone(),
            credential: self.credential().cloned(),
            flights: self.tracker.running(),
        };
        let outcome = Outcome::Ended(reason.refusal().cloned());
        let next = Self { entry: None, phase: Phase::LoggedOut(reason), ..self.clone() };
        let mut step = self.leave(next, outcome);
        step.effects.ended = Some(ended);
        step
    }

    /// Moves on to `next`. If a flight is in progress, it is over for its waiters: they get
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
