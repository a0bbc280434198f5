//! Random walks through the state machine, compared with a model that has no phases.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select},
};
use tokio_test::task;

use crate::{
    cause::Cause,
    credential::contract::Credential,
    error::{Error, ErrorKind, RefreshError},
    identity::{Generation, Login},
    refresher::{context::RefreshContext, rejection::Rejection},
    session::machine::{
        clock::Now,
        entry::Entry,
        limit::RefreshLimit,
        rules::{AmbiguousOutcome, Rules},
        state::{Epoch, Flight, Phase, State, Streak},
        tests::{
            key::{Key, after, at, key_with},
            view::{FlightView, OutcomeView, StepView, take},
        },
        timing::{Backoff, RenewalMargin},
        tracker::FlightToken,
        transition::{Acquisition, Admission, Effects, Launch, LoginEnd, Reaction},
    },
};

/// An event. An `Index` selects one of the logins, requests or flights so far.
#[derive(Clone, Debug)]
enum Event {
    Request {
        login: Option<Index>,
        may_elect: bool,
    },
    Reject {
        sent: Index,
        may_elect: bool,
    },
    Accept {
        sent: Index,
    },
    Settle {
        flight: Option<Index>,
        result: FlightResult,
        wait: Duration,
    },
    LogIn {
        lifetime: Option<i64>,
    },
    Replace {
        login: Option<Index>,
        lifetime: Option<i64>,
    },
    LogOut,
    Refresh,
    Acquire,
    Renew,
    RetryNow,
    /// Both clocks advance.
    Pass {
        elapsed: Duration,
    },
    /// The wall clock jumps, for example because the machine has slept.
    Jump {
        seconds: i64,
    },
}

/// The result of a refresher.
#[derive(Clone, Copy, Debug)]
enum FlightResult {
    Success { lifetime: Option<i64> },
    Unchanged,
    Transient,
    Ambiguous,
    Terminal,
}

/// The settings of the session.
#[derive(Clone, Debug)]
struct Setup {
    on_demand: bool,
    refreshes: usize,
    window: Duration,
    ambiguous: AmbiguousOutcome,
    terminal_after: u32,
    margin: Duration,
}

/// A state, the model of it, and a record of all events.
struct Walk {
    setup: Setup,
    state: State<Key>,
    model: Model,
    wall: SystemTime,
    elapsed: Duration,
    step: usize,
    logins: Vec<Login>,
    flights: Vec<FlightModel>,
    sent: Vec<SentRequest>,
    /// The login of each credential, by its name.
    keys: Vec<Login>,
    ended: Vec<LoginEnd<Key>>,
    displaced: Vec<Login>,
}

/// The expected state.
struct Model {
    login: Login,
    generation: Generation,
    key: Option<EntryModel>,
    is_over: bool,
    /// The index of the flight in progress.
    flight: Option<usize>,
    /// The last flight for this credential, if it failed.
    failed: Option<FailureModel>,
    /// For each failed flight for this credential, whether it was refused.
    refusals: Vec<bool>,
    /// Whether one of these flights had been marked as rejected.
    rejected: bool,
    /// The times of the successful flights of this login.
    successes: Vec<Duration>,
}

/// The expected entry of the credential.
#[derive(Clone, Copy)]
struct EntryModel {
    name: u32,
    expires_at: Option<SystemTime>,
    /// When a flight brought the credential.
    refreshed_at: Option<Duration>,
    accepted: bool,
    arrival: SystemTime,
}

/// The expected failure.
#[derive(Clone, Copy)]
struct FailureModel {
    step: usize,
    retry_at: Duration,
}

/// A request that was sent, and the number of that step.
#[derive(Clone)]
struct SentRequest {
    epoch: Epoch,
    step: usize,
    entry: Arc<Entry<Key>>,
    /// Whether the credential had expired.
    expired: bool,
}

/// A flight, in progress or settled, with its expected fields.
struct FlightModel {
    flight: Flight,
    login: Login,
    awaited: bool,
    rejected: bool,
    outcome: Option<OutcomeView>,
    token: Option<FlightToken<Key>>,
    context: RefreshContext<Key>,
}

/// The expected effects of a step.
#[derive(Default)]
struct Expected {
    launch: Option<LaunchModel>,
    outcome: Option<OutcomeView>,
    ends: bool,
}

/// The expected launch.
#[derive(Clone, Copy)]
struct LaunchModel {
    cause: Cause,
    awaited: bool,
    /// Whether a request causes the flight, and not a method of the session.
    by_traffic: bool,
}

/// The answer of a transition: an `Admission`, a `Reaction`, or the result of a method.
#[derive(Debug, PartialEq)]
enum Decision {
    Send,
    Replay,
    Wait(u64),
    Fail(ErrorKind),
    /// `Fail` with `RefreshFailed`, and its `retry_after`.
    RefreshFailed(Duration),
    Respond,
}

const SECOND: Duration = Duration::from_secs(1);

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_walks_match_the_model(setup in setup(), events in vec(event(), 0..80)) {
        let mut walk = Walk::new(setup);
        for event in &events {
            walk.take(event);
            walk.check();
        }
        walk.check_in_the_end();
    }
}

// === impl Walk ===

impl Walk {
    fn new(setup: Setup) -> Self {
        let rules = Rules {
            limit: RefreshLimit::new(setup.refreshes, setup.window),
            ambiguous: setup.ambiguous,
            terminal_after: setup.terminal_after,
        };
        let state =
            if setup.on_demand { State::on_demand(rules) } else { State::signed_out(rules) };
        let model = Model {
            login: state.login,
            generation: state.generation,
            key: None,
            is_over: matches!(state.phase, Phase::LoggedOut(_)),
            flight: None,
            failed: None,
            refusals: Vec::new(),
            rejected: false,
            successes: Vec::new(),
        };
        Self {
            setup,
            logins: vec![state.login],
            state,
            model,
            wall: at(0),
            elapsed: Duration::ZERO,
            step: 0,
            flights: Vec::new(),
            sent: Vec::new(),
            keys: Vec::new(),
            ended: Vec::new(),
            displaced: Vec::new(),
        }
    }

    fn take(&mut self, event: &Event) {
        self.step += 1;
        match *event {
            Event::Request { login, may_elect } => self.request(self.login_at(login), may_elect),
            Event::Reject { .. } | Event::Accept { .. } if self.sent.is_empty() => {}
            Event::Reject { sent, may_elect } => {
                self.reject(&sent.get(&self.sent).clone(), may_elect);
            }
            Event::Accept { sent } => self.accept(&sent.get(&self.sent).clone()),
            Event::Settle { .. } if self.flights.is_empty() => {}
            Event::Settle { flight, result, wait } => {
                let latest = self.flights.len() - 1;
                self.settle(
                    flight.map_or(latest, |any| any.index(self.flights.len())),
                    result,
                    wait,
                );
            }
            Event::LogIn { lifetime } => self.log_in(lifetime),
            Event::Replace { login, lifetime } => self.replace(self.login_at(login), lifetime),
            Event::LogOut => self.log_out(),
            Event::Refresh => self.refresh(),
            Event::Acquire => self.acquire(),
            Event::Renew => self.renew(),
            Event::RetryNow => self.retry_now(),
            Event::Pass { elapsed } => {
                self.elapsed += elapsed;
                self.wall = self.wall.checked_add(elapsed).unwrap_or(self.wall);
            }
            Event::Jump { seconds } => self.wall = shifted(self.wall, seconds),
        }
    }

    fn request(&mut self, login: Login, may_elect: bool) {
        let now = self.now();
        let usable = self.is_usable();
        let taken = take(&self.state, |state| state.admit(login, may_elect, || now));
        let (decision, expected) = match (self.model.key, self.model.flight, self.backing_off()) {
            _ if login != self.model.login => {
                (Decision::Fail(ErrorKind::LoginChanged), Expected::default())
            }
            _ if self.model.is_over => (Decision::Fail(ErrorKind::LoggedOut), Expected::default()),
            (_, Some(flight), _) if self.flights[flight].awaited => {
                (self.waits(flight), Expected::default())
            }
            _ if self.is_usable() => (Decision::Send, Expected::default()),
            (_, Some(flight), _) => {
                self.flights[flight].awaited = true;
                (self.waits(flight), Expected::default())
            }
            (Some(_), None, _) if !may_elect => (Decision::Send, Expected::default()),
            (_, None, Some(wait)) => (Decision::RefreshFailed(wait), Expected::default()),
            (Some(_), None, None) if self.limited().is_some() => {
                (Decision::Send, Expected::default())
            }
            (Some(_), None, None) => self.elects(Cause::Expiring, true),
            (None, None, None) => self.elects(Cause::Missing, true),
        };
        let (name, settled) = (self.model.key.map(|known| known.name), self.settled());
        let answer = match self.install(taken, expected) {
            Admission::Send(entry, epoch) => {
                assert_eq!(Some(entry.credential().name), name);
                let Model { login, generation, .. } = self.model;
                assert_eq!(epoch, Epoch { login, generation, flights_settled: settled });
                self.sent.push(SentRequest { epoch, step: self.step, entry, expired: !usable });
                Decision::Send
            }
            Admission::Wait(flight) => Decision::Wait(flight.number),
            Admission::Fail(error) => fail(&error),
        };
        assert_eq!(answer, decision);
    }

    fn reject(&mut self, sent: &SentRequest, may_elect: bool) {
        let (epoch, now) = (sent.epoch, self.now());
        let rejection = || Some(Rejection::new(StatusCode::UNAUTHORIZED, HeaderMap::new()));
        let taken = take(&self.state, |state| state.rejected(epoch, may_elect, rejection, || now));
        let is_late = epoch.generation < self.model.generation;
        let (decision, expected) = match (self.model.flight, self.backing_off()) {
            _ if !may_elect
                && (!is_late || self.model.is_over || epoch.login != self.model.login) =>
            {
                (Decision::Respond, Expected::default())
            }
            _ if epoch.login != self.model.login => {
                (Decision::Fail(ErrorKind::LoginChanged), Expected::default())
            }
            _ if self.model.is_over => (Decision::Fail(ErrorKind::LoggedOut), Expected::default()),
            (Some(flight), _) if !is_late => {
                self.flights[flight].awaited = true;
                self.flights[flight].rejected = true;
                (self.waits(flight), Expected::default())
            }
            (Some(flight), _) if self.flights[flight].awaited => {
                (self.waits(flight), Expected::default())
            }
            _ if is_late => (Decision::Replay, Expected::default()),
            (_, Some(wait)) => (Decision::RefreshFailed(wait), Expected::default()),
            _ if self.model.failed.is_some_and(|failed| failed.step > sent.step) => {
                (Decision::RefreshFailed(Duration::ZERO), Expected::default())
            }
            _ if self.limited().is_some() || self.is_unproven() => {
                (Decision::Respond, Expected::default())
            }
            _ => self.elects(Cause::Rejected, true),
        };
        let answer = match self.install(taken, expected) {
            Reaction::Respond => Decision::Respond,
            Reaction::Replay => Decision::Replay,
            Reaction::Wait(flight) => Decision::Wait(flight.number),
            Reaction::Fail(error) => fail(&error),
        };
        assert_eq!(answer, decision);
    }

    fn accept(&mut self, sent: &SentRequest) {
        sent.entry.accept();
        let name = sent.entry.credential().name;
        if let Some(current) = self.model.key.as_mut().filter(|current| current.name == name) {
            current.accepted = true;
            if sent.expired {
                current.expires_at = None;
            }
        }
    }

    fn settle(&mut self, index: usize, flight_result: FlightResult, wait: Duration) {
        let now = self.now();
        // Like the guard: it passes the flight as it started, not as the state has it now.
        let FlightModel { flight, login, awaited, rejected, token, .. } = &mut self.flights[index];
        let (flight, login, awaited, rejected) = (flight.clone(), *login, *awaited, *rejected);
        drop(token.take());
        let (result, unchanged) = self.bring(flight_result, login);
        let taken = take(&self.state, |state| {
            state.settle(&flight, &result, unchanged.as_ref(), wait, now)
        });

        let is_fenced = self.model.flight != Some(index);
        if is_fenced {
            assert!(self.install(taken, Expected::default()).is_err());
            return;
        }
        let fails = result.is_err() || unchanged.is_some() && rejected;
        let outcome = if fails {
            self.model.refusals.push(self.is_refusal(flight_result));
            self.model.rejected |= rejected;
            let needed = awaited || !self.is_usable();
            if needed && self.refused_in_a_row() >= self.setup.terminal_after as usize {
                OutcomeView::Ended(Some("no".to_owned()))
            } else {
                self.model.failed =
                    Some(FailureModel { step: self.step, retry_at: self.elapsed + wait });
                let text = if result.is_ok() { "unchanged" } else { "no" };
                OutcomeView::Failed(text.to_owned(), wait)
            }
        } else {
            self.arrive(result.as_ref().expect("it succeeds"), Some(self.elapsed));
            self.model.successes.push(self.elapsed);
            OutcomeView::Renewed
        };
        let ends = matches!(outcome, OutcomeView::Ended(_));
        if ends {
            // Independent of the model.
            assert!(
                matches!(flight_result, FlightResult::Terminal | FlightResult::Ambiguous),
                "a transient failure never ends a login"
            );
            assert!(
                !matches!(flight_result, FlightResult::Ambiguous)
                    || self.setup.ambiguous == AmbiguousOutcome::EndLogin,
                "an ambiguous failure ends a login only if it is set to"
            );
            assert!(
                awaited || !self.is_usable(),
                "a renewal never ends the login of a usable credential"
            );
        }
        let answer =
            self.install(taken, Expected { outcome: Some(outcome), ends, ..Expected::default() });
        assert!(answer.is_ok());
    }

    fn log_in(&mut self, lifetime: Option<i64>) {
        let login = self.model.login.next();
        let entry = self.new_key(lifetime, login, false);
        let taken = take(&self.state, |state| state.log_in(&entry));
        if !self.model.is_over {
            self.displaced.push(self.model.login);
        }
        let outcome = self.model.flight.map(|_| OutcomeView::LoginChanged);
        self.begin(login);
        self.arrive(&entry, None);
        assert_eq!(self.install(taken, Expected { outcome, ..Expected::default() }), login);
    }

    fn replace(&mut self, login: Login, lifetime: Option<i64>) {
        let entry = self.new_key(lifetime, login, false);
        let taken = take(&self.state, |state| state.replace(login, &entry));
        let is_refused = self.model.is_over || login != self.model.login;
        let outcome = self.model.flight.filter(|_| !is_refused).map(|_| OutcomeView::Replaced);
        if !is_refused {
            self.arrive(&entry, None);
        }
        let answer = self.install(taken, Expected { outcome, ..Expected::default() });
        assert_eq!(answer, (!is_refused).then_some(self.model.generation));
    }

    fn log_out(&mut self) {
        let taken = take(&self.state, State::log_out);
        let outcome = self.model.flight.map(|_| OutcomeView::Ended(None));
        self.install(taken, Expected { outcome, ends: !self.model.is_over, ..Expected::default() });
    }

    fn refresh(&mut self) {
        let now = self.now();
        let taken = take(&self.state, |state| state.refresh(now));
        let cause = if self.model.key.is_some() { Cause::Forced } else { Cause::Missing };
        let (decision, expected) = match (self.model.flight, self.backing_off()) {
            _ if self.model.is_over => (Decision::Fail(ErrorKind::LoggedOut), Expected::default()),
            (Some(flight), _) => (self.waits(flight), Expected::default()),
            (None, Some(wait)) => (Decision::RefreshFailed(wait), Expected::default()),
            (None, None) => self.elects_unawaited(cause),
        };
        let answer = match self.install(taken, expected) {
            Ok(acquisition) => {
                Decision::Wait(acquisition.flight.expect("a refresh has a flight").number)
            }
            Err(error) => fail(&error),
        };
        assert_eq!(answer, decision);
    }

    fn acquire(&mut self) {
        let now = self.now();
        let taken = take(&self.state, |state| state.acquire(now));
        let is_usable = self.is_usable();
        let (decision, expected) = match (self.model.key, self.model.flight, self.backing_off()) {
            _ if self.model.is_over => {
                self.begin(self.model.login.next());
                self.elects(Cause::Missing, false)
            }
            (_, Some(flight), _) => (self.waits(flight), Expected::default()),
            _ if is_usable && !self.model.rejected => (Decision::Send, Expected::default()),
            (_, None, Some(wait)) => (Decision::RefreshFailed(wait), Expected::default()),
            _ if is_usable => self.elects_unawaited(Cause::Forced),
            (Some(_), None, None) => self.elects(Cause::Expiring, false),
            (None, None, None) => self.elects(Cause::Missing, false),
        };
        let answer = match self.install(taken, expected) {
            Ok(Acquisition { login, flight }) => {
                assert_eq!(login, self.model.login);
                flight.map_or(Decision::Send, |flight| Decision::Wait(flight.number))
            }
            Err(error) => fail(&error),
        };
        assert_eq!(answer, decision);
    }

    /// Like `keep_fresh`.
    fn renew(&mut self) {
        let now = self.now();
        let taken = take(&self.state, |state| state.renew(now));
        let expected = self.renewal();
        self.install(taken, expected);
    }

    fn retry_now(&mut self) {
        let now = self.now();
        let taken = take(&self.state, |state| state.end_back_off(now));
        if self.backing_off().is_some() {
            self.model.failed.as_mut().expect("a back-off has a failure").retry_at = self.elapsed;
        }
        self.install(taken, Expected::default());
    }

    /// Checks the effects of a step and carries them out.
    fn install<A>(&mut self, taken: StepView<A>, expected: Expected) -> A {
        let StepView { answer, before, after, next, effects } = taken;
        assert_ne!(after, Some(before), "a step without a change installs no state");
        let Effects { settled, launch, ended, findings: _ } = effects;
        if next.is_none() {
            assert!(
                settled.is_none() && launch.is_none() && ended.is_none(),
                "a step without a change has no effects"
            );
        }
        assert_eq!(settled.is_some(), expected.outcome.is_some());
        if let Some((flight, outcome)) = settled {
            let current = self.model.flight.take().expect("only a flight in progress settles");
            let record = &mut self.flights[current];
            assert_eq!(flight.number, record.flight.number);
            assert!(record.flight.outcome.get().is_none(), "a flight settles once");
            flight.outcome.set(outcome.clone());
            record.outcome = Some(OutcomeView::of(&outcome));
            assert_eq!(record.outcome, expected.outcome);
        }
        assert_eq!(
            launch.is_some(),
            expected.launch.is_some(),
            "a flight starts exactly when one is expected"
        );
        if let (Some(launch), Some(expected)) = (launch, expected.launch) {
            self.fly(launch, expected);
        }
        assert_eq!(ended.is_some(), expected.ends);
        if let Some(ended) = ended {
            assert_eq!(ended.login, self.model.login);
            assert_eq!(
                ended.credential.as_ref().map(|key| key.name),
                self.model.key.map(|known| known.name)
            );
            self.ended.push(ended);
            self.model.key = None;
            self.model.failed = None;
            self.model.is_over = true;
        }
        if let Some(next) = next {
            self.state = next;
        }
        answer
    }

    fn fly(
        &mut self,
        launch: Launch<Key>,
        LaunchModel { cause, awaited, by_traffic }: LaunchModel,
    ) {
        let Launch { flight, entry, context, token } = launch;
        let rejected = cause == Cause::Rejected;
        let number = self.flights.len() as u64 + 1;
        let started_at = self.now().instant.into_std();
        let expected = FlightView {
            number,
            cause,
            awaited,
            rejected,
            streak: self.streak(),
            started_at,
            outcome: None,
        };
        assert_eq!(FlightView::of(&flight), expected);
        assert_eq!(flight.attempt() as usize, self.model.refusals.len() + 1);
        assert_eq!(context.cause(), cause);
        assert_eq!(
            (context.login(), context.generation()),
            (self.model.login, self.model.generation)
        );
        let replaced = self.model.key.map(|known| known.name);
        assert_eq!(context.current().map(|key| key.name), replaced);
        assert_eq!(entry.map(|entry| entry.credential().name), replaced);
        assert_eq!(context.rejection().is_some(), rejected);
        assert_eq!(context.previous_error().is_some(), self.model.failed.is_some());
        assert_eq!(self.model.flight, None, "one flight at a time");
        // Independent of the model.
        assert_eq!(self.backing_off(), None, "no flight starts during a back-off");
        if by_traffic {
            let recent = self.successes_within(self.setup.window);
            assert!(
                recent < self.setup.refreshes.max(1),
                "requests cause no more refreshes than the limit"
            );
        }
        if rejected {
            assert!(!self.is_unproven(), "a rejection of an unproven credential starts no flight");
        }
        self.model.flight = Some(self.flights.len());
        self.flights.push(FlightModel {
            flight,
            login: self.model.login,
            awaited,
            rejected,
            outcome: None,
            token: Some(token),
            context,
        });
    }

    /// Invariants after every step.
    fn check(&self) {
        let (state, model) = (&self.state, &self.model);
        assert_eq!((state.login, state.generation), (model.login, model.generation));
        let expires_at = model.key.and_then(|known| known.expires_at);
        assert_eq!(state.credential().map(|key| key.name), model.key.map(|known| known.name));
        assert_eq!(state.expires_at(), expires_at);
        assert_eq!(matches!(state.phase, Phase::LoggedOut(_)), model.is_over);
        assert_eq!(
            matches!(state.phase, Phase::Failed(_)),
            model.failed.is_some() && model.flight.is_none()
        );

        if let Phase::Failed(failure) = &state.phase {
            assert_eq!(
                Some(failure.retry_at()),
                model.failed.map(|it| after(it.retry_at).into_std())
            );
            assert_eq!(failure.streak, self.streak());
            assert_eq!(failure.in_a_row() as usize, model.refusals.len());
        }
        if model.flight.is_some() {
            assert_eq!(self.backing_off(), None);
        }
        assert_eq!(state.renewal_in(self.now()), self.renewal_in());

        if let Some(key) = state.credential() {
            assert!(!model.is_over, "no credential is left after the end");
            assert_eq!(
                self.keys[key.name as usize], state.login,
                "a credential belongs to the current login"
            );
        }

        let in_flight = match &state.phase {
            Phase::Refreshing(flight) => Some((flight.number, flight.awaited, flight.rejected)),
            _ => None,
        };
        assert!(
            in_flight.is_none_or(|(_, awaited, rejected)| awaited || !rejected),
            "a flight that a rejection caused is awaited"
        );
        let record = model.flight.map(|index| &self.flights[index]);
        assert_eq!(
            in_flight,
            record.map(|record| (record.flight.number, record.awaited, record.rejected))
        );
        let open =
            self.flights.iter().filter(|record| record.flight.outcome.get().is_none()).count();
        assert!(open <= 1, "one flight at a time");
        assert_eq!(open == 1, in_flight.is_some());
        assert_eq!(state.flights_started, self.flights.len() as u64);
        assert_eq!(state.flights_settled, self.settled());
        assert_eq!(state.flights_started - state.flights_settled, open as u64);

        let is_awaited = record.is_some_and(|record| record.awaited);
        let sendable = state.sendable(|| self.wall).is_some();
        assert_eq!(sendable, self.is_usable() && !is_awaited && !model.is_over);
    }

    fn check_in_the_end(self) {
        let Self { state, flights, ended, displaced, .. } = self;
        // Only the tokens of running flights may keep a tracker waiting.
        drop(state);
        for FlightModel { flight, outcome, context, .. } in &flights {
            assert_eq!(
                flight.outcome.get().as_ref().map(OutcomeView::of),
                *outcome,
                "the first outcome stands"
            );
            let is_fenced = matches!(
                outcome,
                Some(OutcomeView::Replaced | OutcomeView::Ended(None) | OutcomeView::LoginChanged)
            );
            assert_eq!(context.is_fenced(), is_fenced, "the refresher sees the fence");
        }
        for (index, LoginEnd { login, flights: running, .. }) in ended.iter().enumerate() {
            assert!(!displaced.contains(login), "no hook runs for a replaced login");
            assert!(
                ended[..index].iter().all(|other| other.login != *login),
                "one hook runs for each login"
            );
            let is_busy =
                flights.iter().any(|record| record.login == *login && record.token.is_some());
            assert_eq!(
                task::spawn(running.wait()).poll().is_pending(),
                is_busy,
                "the hook waits for running flights"
            );
        }
    }

    // ## The model

    fn begin(&mut self, login: Login) {
        self.logins.push(login);
        self.model = Model {
            login,
            generation: self.model.generation,
            key: None,
            is_over: false,
            flight: self.model.flight,
            failed: None,
            refusals: Vec::new(),
            rejected: false,
            successes: Vec::new(),
        };
    }

    fn arrive(&mut self, entry: &Arc<Entry<Key>>, refreshed_at: Option<Duration>) {
        self.model.generation = self.model.generation.next();
        self.model.key = Some(EntryModel {
            name: entry.credential().name,
            expires_at: entry
                .credential()
                .expires_at(self.wall)
                .filter(|expires_at| *expires_at > self.wall),
            refreshed_at,
            accepted: false,
            arrival: self.wall,
        });
        self.model.failed = None;
        self.model.refusals.clear();
        self.model.rejected = false;
    }

    fn is_usable(&self) -> bool {
        self.model.key.is_some_and(|known| known.expires_at.is_none_or(|at| at > self.wall))
    }

    /// Whether a flight brought the credential and the upstream has not accepted it.
    fn is_unproven(&self) -> bool {
        let unproven =
            self.model.key.filter(|known| !known.accepted).and_then(|known| known.refreshed_at);
        unproven.is_some_and(|since| self.elapsed - since < self.setup.window)
    }

    /// The shortest time from the arrival of a credential to its renewal.
    fn pace(&self) -> Duration {
        let refreshes = self.setup.refreshes.clamp(1, 1000);
        self.setup.window / u32::try_from(refreshes).expect("the number is clamped")
    }

    /// The rest of the back-off.
    fn backing_off(&self) -> Option<Duration> {
        let failed = self.model.failed?;
        failed.retry_at.checked_sub(self.elapsed).filter(|wait| !wait.is_zero())
    }

    fn successes_within(&self, window: Duration) -> usize {
        self.model.successes.iter().filter(|success| self.elapsed - **success < window).count()
    }

    /// The time until the limit allows another refresh, if it does not now.
    fn limited(&self) -> Option<Duration> {
        let too_many =
            (self.successes_within(self.setup.window) + 1).checked_sub(self.setup.refreshes.max(1));
        let leave_first = too_many.filter(|count| *count > 0)?;
        let mut recent =
            self.model.successes.iter().filter(|it| self.elapsed - **it < self.setup.window);
        recent.nth(leave_first - 1).map(|last| self.setup.window - (self.elapsed - *last))
    }

    /// The time until the next renewal of an idle session.
    fn renewal_in(&self) -> Option<Duration> {
        let EntryModel { expires_at, arrival, .. } =
            self.model.key.filter(|_| self.model.flight.is_none())?;
        let expires_at = expires_at?;
        let lifetime = expires_at.duration_since(arrival).expect("it has not arrived expired");
        let margin = self.setup.margin.min(lifetime / 2);
        let renew_at = expires_at - margin.min(lifetime.saturating_sub(self.pace()));
        let due = renew_at.duration_since(self.wall).unwrap_or(Duration::ZERO);
        Some(due.max(self.backing_off().or_else(|| self.limited()).unwrap_or(Duration::ZERO)))
    }

    fn renewal(&self) -> Expected {
        let is_due = self.renewal_in() == Some(Duration::ZERO);
        let start = LaunchModel { cause: Cause::Expiring, awaited: false, by_traffic: true };
        Expected { launch: is_due.then_some(start), ..Expected::default() }
    }

    fn is_refusal(&self, result: FlightResult) -> bool {
        match result {
            FlightResult::Terminal => true,
            FlightResult::Ambiguous => self.setup.ambiguous == AmbiguousOutcome::EndLogin,
            FlightResult::Success { .. } | FlightResult::Unchanged | FlightResult::Transient => {
                false
            }
        }
    }

    fn refused_in_a_row(&self) -> usize {
        self.model.refusals.iter().rev().take_while(|refused| **refused).count()
    }

    /// The expected streak.
    fn streak(&self) -> Streak {
        let count = |count| u32::try_from(count).expect("a walk is short");
        Streak {
            failures: count(self.model.refusals.len()),
            refusals: count(self.refused_in_a_row()),
            rejected: self.model.rejected,
        }
    }

    fn now(&self) -> Now {
        Now { wall: self.wall, instant: after(self.elapsed) }
    }

    fn settled(&self) -> u64 {
        self.flights.iter().filter(|record| record.outcome.is_some()).count() as u64
    }

    fn waits(&self, flight: usize) -> Decision {
        Decision::Wait(self.flights[flight].flight.number)
    }

    fn next_flight(&self) -> Decision {
        Decision::Wait(self.flights.len() as u64 + 1)
    }

    fn elects(&self, cause: Cause, by_traffic: bool) -> (Decision, Expected) {
        let launch = Some(LaunchModel { cause, awaited: true, by_traffic });
        (self.next_flight(), Expected { launch, ..Expected::default() })
    }

    /// A flight that a method of the session starts.
    fn elects_unawaited(&self, cause: Cause) -> (Decision, Expected) {
        let launch = Some(LaunchModel { cause, awaited: false, by_traffic: false });
        (self.next_flight(), Expected { launch, ..Expected::default() })
    }

    // ## Events

    /// The current login, or the selected one.
    fn login_at(&self, any: Option<Index>) -> Login {
        any.map_or(self.model.login, |any| *any.get(&self.logins))
    }

    fn new_key(&mut self, lifetime: Option<i64>, login: Login, refreshed: bool) -> Arc<Entry<Key>> {
        let name = u32::try_from(self.keys.len()).expect("a walk is short");
        self.keys.push(login);
        let margin = RenewalMargin { margin: self.setup.margin, jitter: 0.0, min_age: self.pace() };
        let expires_at = lifetime.map(|lifetime| shifted(self.wall, lifetime));
        key_with(name, expires_at, self.wall, refreshed.then(|| self.now().instant), margin)
    }

    fn bring(
        &mut self,
        result: FlightResult,
        login: Login,
    ) -> (Result<Arc<Entry<Key>>, RefreshError>, Option<RefreshError>) {
        match result {
            FlightResult::Success { lifetime } => (Ok(self.new_key(lifetime, login, true)), None),
            FlightResult::Unchanged => {
                (Ok(self.new_key(None, login, true)), Some(RefreshError::transient("unchanged")))
            }
            FlightResult::Transient => (Err(RefreshError::transient("no")), None),
            FlightResult::Ambiguous => (Err(RefreshError::ambiguous("no")), None),
            FlightResult::Terminal => (Err(RefreshError::terminal("no")), None),
        }
    }
}

fn fail(error: &Error) -> Decision {
    error.retry_after().map_or(Decision::Fail(error.kind()), |wait| {
        assert_eq!(error.kind(), ErrorKind::RefreshFailed);
        Decision::RefreshFailed(wait)
    })
}

/// The time that many seconds later, or `time` if it cannot be represented.
fn shifted(time: SystemTime, seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    let shifted = if seconds < 0 { time.checked_sub(by) } else { time.checked_add(by) };
    shifted.unwrap_or(time)
}

fn setup() -> impl Strategy<Value = Setup> {
    let window = select(vec![Duration::ZERO, 10 * SECOND, 30 * SECOND, Duration::MAX]);
    let margin = select(vec![Duration::ZERO, 10 * SECOND, 60 * SECOND, Duration::MAX]);
    let ambiguous = select(vec![AmbiguousOutcome::Retry, AmbiguousOutcome::EndLogin]);
    let terminal_after = prop_oneof![3 => Just(1), 3 => 2_u32..4, 1 => Just(u32::MAX)];
    let refreshes = prop_oneof![8 => 0_usize..4, 1 => Just(usize::MAX)];
    (any::<bool>(), refreshes, window, ambiguous, terminal_after, margin).prop_map(
        |(on_demand, refreshes, window, ambiguous, terminal_after, margin)| Setup {
            on_demand,
            refreshes,
            window,
            ambiguous,
            terminal_after,
            margin,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let extreme = || select(vec![-i64::MAX / 2, i64::MAX / 2]);
    let lifetime = || option::weighted(0.8, prop_oneof![20 => -20_i64..120, 1 => extreme()]);
    // The session clamps the delay that a refresher asks for.
    let requested =
        prop_oneof![2 => Just(Duration::ZERO), 6 => millis(20_000), 1 => Just(Duration::MAX)];
    let wait = requested.prop_map(|requested| Backoff::DEFAULT.wait(1, Some(requested)));
    let result = prop_oneof![
        7 => lifetime().prop_map(|lifetime| FlightResult::Success { lifetime }),
        2 => Just(FlightResult::Unchanged),
        2 => Just(FlightResult::Transient),
        1 => Just(FlightResult::Ambiguous),
        2 => Just(FlightResult::Terminal),
    ];
    let rarely = || option::weighted(0.2, any::<Index>());
    prop_oneof![
        8 => (rarely(), any::<bool>()).prop_map(|(login, may_elect)| Event::Request { login, may_elect }),
        6 => (any::<Index>(), prop::bool::weighted(0.7))
            .prop_map(|(sent, may_elect)| Event::Reject { sent, may_elect }),
        8 => (rarely(), result, wait).prop_map(|(flight, result, wait)| Event::Settle { flight, result, wait }),
        1 => lifetime().prop_map(|lifetime| Event::LogIn { lifetime }),
        1 => (rarely(), lifetime()).prop_map(|(login, lifetime)| Event::Replace { login, lifetime }),
        1 => Just(Event::LogOut),
        2 => Just(Event::Refresh),
        2 => Just(Event::Acquire),
        2 => Just(Event::Renew),
        1 => Just(Event::RetryNow),
        5 => any::<Index>().prop_map(|sent| Event::Accept { sent }),
        5 => prop_oneof![20 => millis(30_000), 1 => Just(1_000_000_000 * SECOND)]
            .prop_map(|elapsed| Event::Pass { elapsed }),
        2 => prop_oneof![10 => -120_i64..120, 1 => extreme()].prop_map(|seconds| Event::Jump { seconds }),
    ]
}

fn millis(most: u64) -> impl Strategy<Value = Duration> {
    (0..=most / 500).prop_map(|halves| Duration::from_millis(halves * 500))
}
