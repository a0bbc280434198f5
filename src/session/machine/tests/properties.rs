//! Random walks through the state machine, next to a model that knows no phases.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select},
};
use tokio_test::task;

use crate::{
    credential::contract::Credential,
    error::{Error, ErrorKind, RefreshError},
    identity::{Generation, Login},
    refresher::{Cause, RefreshContext, Rejection},
    session::machine::{
        clock::Now,
        held::Held,
        limit::Limit,
        outstanding::Running,
        rules::{AmbiguousOutcome, Rules},
        state::{Flight, Phase, Row, Stamped, State},
        tests::{
            key::{Key, after, at, key_with},
            picture::{Leg, Taken, Told, take},
        },
        timing::{Ahead, Backoff},
        transition::{Admission, Effects, Ended, Launch, Reaction},
    },
};

/// What happens. An `Index` chooses among what there has been so far.
#[derive(Clone, Debug)]
enum Event {
    Request {
        login: Option<Index>,
        may_elect: bool,
    },
    Reject {
        sent: Index,
    },
    Accept {
        sent: Index,
    },
    Settle {
        flight: Option<Index>,
        landing: Landing,
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
    /// Time passes, by both clocks.
    Pass {
        elapsed: Duration,
    },
    /// The wall clock is set, or the machine has slept.
    Jump {
        seconds: i64,
    },
}

/// What a flight brings home.
#[derive(Clone, Copy, Debug)]
enum Landing {
    Success { lifetime: Option<i64> },
    Unchanged,
    Transient,
    Ambiguous,
    Terminal,
}

/// How a session is made.
#[derive(Clone, Debug)]
struct Setup {
    on_demand: bool,
    refreshes: usize,
    window: Duration,
    ambiguous: AmbiguousOutcome,
    terminal_after: u32,
    margin: Duration,
}

/// A state and all that has happened to it.
struct Walk {
    setup: Setup,
    state: State<Key>,
    model: Model,
    wall: SystemTime,
    elapsed: Duration,
    step: usize,
    logins: Vec<Login>,
    flights: Vec<Record>,
    sent: Vec<Sent>,
    /// Of which login each credential is, by its name.
    keys: Vec<Login>,
    ended: Vec<Ended<Key>>,
    displaced: Vec<Login>,
}

/// What the state should come to.
struct Model {
    login: Login,
    generation: Generation,
    key: Option<Known>,
    is_over: bool,
    /// The one that can still change the state.
    flight: Option<usize>,
    /// The last flight that was to replace this credential, if it failed.
    failed: Option<Failed>,
    /// Whether each flight that was to replace this credential, and failed, was refused.
    refusals: Vec<bool>,
    /// When flights of this login have succeeded.
    successes: Vec<Duration>,
}

/// What is known of the credential.
#[derive(Clone, Copy)]
struct Known {
    name: u32,
    expires_at: Option<SystemTime>,
    /// When a flight brought it.
    refreshed_at: Option<Duration>,
    accepted: bool,
    arrival: SystemTime,
}

#[derive(Clone, Copy)]
struct Failed {
    step: usize,
    retry_at: Duration,
}

/// A request, and when it was sent.
#[derive(Clone)]
struct Sent {
    stamped: Stamped,
    step: usize,
    held: Held<Key>,
}

/// A flight, whatever has become of it.
struct Record {
    flight: Flight,
    login: Login,
    awaited: bool,
    rejected: bool,
    told: Option<Told>,
    running: Option<Running<Key>>,
    context: RefreshContext<Key>,
}

/// What a step should ask its caller to do.
#[derive(Default)]
struct Expected {
    launch: Option<Start>,
    told: Option<Told>,
    ends: bool,
}

/// A flight that should start.
#[derive(Clone, Copy)]
struct Start {
    cause: Cause,
    awaited: bool,
    /// Whether traffic has caused it, and not the application.
    by_traffic: bool,
}

/// What becomes of a request.
#[derive(Debug, PartialEq)]
enum Fate {
    Sent,
    Replayed,
    Waits(u64),
    Fails(ErrorKind),
    /// It fails for that of the refresh, with that long to wait.
    Later(Duration),
    Responded,
}

const SECOND: Duration = Duration::from_secs(1);

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_walk_breaks_a_guarantee(setup in setup(), events in vec(event(), 0..80)) {
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
            limit: Limit::new(setup.refreshes, setup.window),
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
            Event::Reject { sent } => self.reject(&sent.get(&self.sent).clone()),
            Event::Accept { sent } => self.accept(&sent.get(&self.sent).held.clone()),
            Event::Settle { .. } if self.flights.is_empty() => {}
            Event::Settle { flight, landing, wait } => {
                let latest = self.flights.len() - 1;
                self.settle(
                    flight.map_or(latest, |any| any.index(self.flights.len())),
                    landing,
                    wait,
                );
            }
            Event::LogIn { lifetime } => self.log_in(lifetime),
            Event::Replace { login, lifetime } => self.replace(self.login_at(login), lifetime),
            Event::LogOut => self.log_out(),
            Event::Refresh => self.refresh(),
            Event::Acquire => self.acquire(),
            Event::Renew => self.renew(),
            Event::Pass { elapsed } => {
                self.elapsed += elapsed;
                self.wall = self.wall.checked_add(elapsed).unwrap_or(self.wall);
            }
            Event::Jump { seconds } => self.wall = shifted(self.wall, seconds),
        }
    }

    fn request(&mut self, login: Login, may_elect: bool) {
        let now = self.now();
        let taken = take(&self.state, |state| state.admit(login, may_elect, || now));
        let (fate, expected) = match (self.model.key, self.model.flight, self.backing_off()) {
            _ if login != self.model.login => {
                (Fate::Fails(ErrorKind::LoginChanged), Expected::default())
            }
            _ if self.model.is_over => (Fate::Fails(ErrorKind::LoggedOut), Expected::default()),
            (_, Some(flight), _) if self.flights[flight].awaited => {
                (self.waits(flight), Expected::default())
            }
            _ if self.is_usable() => (Fate::Sent, Expected::default()),
            (_, Some(flight), _) => {
                self.flights[flight].awaited = true;
                (self.waits(flight), Expected::default())
            }
            (Some(_), None, _) if !may_elect => (Fate::Sent, Expected::default()),
            (_, None, Some(wait)) => (Fate::Later(wait), Expected::default()),
            (Some(_), None, None) if self.limited().is_some() => (Fate::Sent, Expected::default()),
            (Some(_), None, None) => self.elects(Cause::Expiring, true),
            (None, None, None) => self.elects(Cause::Missing, true),
        };
        let (name, settled) = (self.model.key.map(|known| known.name), self.settled());
        let outcome = match self.install(taken, expected) {
            Admission::Send(held, stamped) => {
                assert_eq!(Some(held.credential().name), name);
                let Model { login, generation, .. } = self.model;
                assert_eq!(stamped, Stamped { login, generation, flights_settled: settled });
                self.sent.push(Sent { stamped, step: self.step, held });
                Fate::Sent
            }
            Admission::Wait(flight) => Fate::Waits(flight.number),
            Admission::Fail(error) => fails(&error),
        };
        assert_eq!(outcome, fate);
    }

    fn reject(&mut self, sent: &Sent) {
        let (stamped, now) = (sent.stamped, self.now());
        let rejection = || Rejection::new(StatusCode::UNAUTHORIZED, HeaderMap::new());
        let taken = take(&self.state, |state| state.rejected(stamped, rejection, || now));
        let is_late = stamped.generation < self.model.generation;
        let (fate, expected) = match (self.model.flight, self.backing_off()) {
            _ if stamped.login != self.model.login => {
                (Fate::Fails(ErrorKind::LoginChanged), Expected::default())
            }
            _ if self.model.is_over => (Fate::Fails(ErrorKind::LoggedOut), Expected::default()),
            (Some(flight), _) if !is_late => {
                self.flights[flight].awaited = true;
                self.flights[flight].rejected = true;
                (self.waits(flight), Expected::default())
            }
            (Some(flight), _) if self.flights[flight].awaited => {
                (self.waits(flight), Expected::default())
            }
            _ if is_late => (Fate::Replayed, Expected::default()),
            (_, Some(wait)) => (Fate::Later(wait), Expected::default()),
            _ if self.model.failed.is_some_and(|failed| failed.step > sent.step) => {
                (Fate::Later(Duration::ZERO), Expected::default())
            }
            _ if self.limited().is_some() || self.is_unproven() => {
                (Fate::Responded, Expected::default())
            }
            _ => self.elects(Cause::Rejected, true),
        };
        let outcome = match self.install(taken, expected) {
            Reaction::Respond => Fate::Responded,
            Reaction::Replay => Fate::Replayed,
            Reaction::Wait(flight) => Fate::Waits(flight.number),
            Reaction::Fail(error) => fails(&error),
        };
        assert_eq!(outcome, fate);
    }

    fn accept(&mut self, held: &Held<Key>) {
        held.accept();
        let name = held.credential().name;
        if let Some(current) = self.model.key.as_mut().filter(|current| current.name == name) {
            current.accepted = true;
        }
    }

    fn settle(&mut self, index: usize, landing: Landing, wait: Duration) {
        let now = self.now();
        // As the guard does: it settles what it started, whatever has been noted of it since.
        let Record { flight, login, awaited, rejected, running, .. } = &mut self.flights[index];
        let (flight, login, awaited, rejected) = (flight.clone(), *login, *awaited, *rejected);
        drop(running.take());
        let (result, unchanged) = self.bring(landing, login);
        let taken = take(&self.state, |state| {
            state.settle(&flight, &result, unchanged.as_ref(), wait, now)
        });

        let is_fenced = self.model.flight != Some(index);
        if is_fenced {
            assert!(self.install(taken, Expected::default()).is_err());
            return;
        }
        let fails = result.is_err() || unchanged.is_some() && rejected;
        let told = if fails {
            self.model.refusals.push(self.is_refusal(landing));
            let needed = awaited || !self.is_usable();
            if needed && self.refused_in_a_row() >= self.setup.terminal_after as usize {
                Told::Ended(Some("no".to_owned()))
            } else {
                self.model.failed = Some(Failed { step: self.step, retry_at: self.elapsed + wait });
                let text = if result.is_ok() { "unchanged" } else { "no" };
                Told::Failed(text.to_owned(), wait)
            }
        } else {
            let before = self.model.key.and_then(|known| known.refreshed_at);
            let too_fast =
                before.is_some_and(|brought_at| self.elapsed - brought_at < self.setup.window);
            self.arrive(result.as_ref().expect("it succeeds"), Some(self.elapsed));
            self.model.successes.push(self.elapsed);
            if flight.cause == Cause::Expiring && too_fast && self.limited().is_some() {
                // It expires by a clock that is wrong.
                self.model.key.as_mut().expect("it has arrived").expires_at = None;
            }
            Told::Renewed
        };
        let ends = matches!(told, Told::Ended(_));
        if ends {
            // What no model may get wrong.
            assert!(
                matches!(landing, Landing::Terminal | Landing::Ambiguous),
                "a login outlives its network"
            );
            assert!(
                !matches!(landing, Landing::Ambiguous)
                    || self.setup.ambiguous == AmbiguousOutcome::EndLogin,
                "a login outlives a lost answer"
            );
            assert!(
                awaited || !self.is_usable(),
                "nobody is logged out of a credential that works"
            );
        }
        let answer =
            self.install(taken, Expected { told: Some(told), ends, ..Expected::default() });
        assert!(answer.is_ok());
    }

    fn log_in(&mut self, lifetime: Option<i64>) {
        let login = self.model.login.next();
        let held = self.new_key(lifetime, login, false);
        let taken = take(&self.state, |state| state.log_in(&held));
        if !self.model.is_over {
            self.displaced.push(self.model.login);
        }
        let told = self.model.flight.map(|_| Told::LoginChanged);
        self.begin(login);
        self.arrive(&held, None);
        assert_eq!(self.install(taken, Expected { told, ..Expected::default() }), login);
    }

    fn replace(&mut self, login: Login, lifetime: Option<i64>) {
        let held = self.new_key(lifetime, login, false);
        let taken = take(&self.state, |state| state.replace(login, &held));
        let is_refused = self.model.is_over || login != self.model.login;
        let told = self.model.flight.filter(|_| !is_refused).map(|_| Told::Replaced);
        if !is_refused {
            self.arrive(&held, None);
        }
        let answer = self.install(taken, Expected { told, ..Expected::default() });
        assert_eq!(answer, (!is_refused).then_some(self.model.generation));
    }

    fn log_out(&mut self) {
        let taken = take(&self.state, State::log_out);
        let told = self.model.flight.map(|_| Told::Ended(None));
        self.install(taken, Expected { told, ends: !self.model.is_over, ..Expected::default() });
    }

    fn refresh(&mut self) {
        let now = self.now();
        let taken = take(&self.state, |state| state.refresh(now));
        let cause = if self.model.key.is_some() { Cause::Forced } else { Cause::Missing };
        let (fate, expected) = match (self.model.flight, self.backing_off()) {
            _ if self.model.is_over => (Fate::Fails(ErrorKind::LoggedOut), Expected::default()),
            (Some(flight), _) => (self.waits(flight), Expected::default()),
            (None, Some(wait)) => (Fate::Later(wait), Expected::default()),
            (None, None) => self.elects_unawaited(cause),
        };
        let outcome = match self.install(taken, expected) {
            Ok(flight) => Fate::Waits(flight.number),
            Err(error) => fails(&error),
        };
        assert_eq!(outcome, fate);
    }

    fn acquire(&mut self) {
        let now = self.now();
        let taken = take(&self.state, |state| state.acquire(now));
        let is_usable = self.is_usable();
        let (fate, expected) = match (self.model.key, self.model.flight, self.backing_off()) {
            _ if self.model.is_over => {
                self.begin(self.model.login.next());
                self.elects(Cause::Missing, false)
            }
            (_, Some(flight), _) => (self.waits(flight), Expected::default()),
            _ if is_usable && self.model.failed.is_none() => (Fate::Sent, Expected::default()),
            (_, None, Some(wait)) => (Fate::Later(wait), Expected::default()),
            _ if is_usable => self.elects_unawaited(Cause::Forced),
            (Some(_), None, None) => self.elects(Cause::Expiring, false),
            (None, None, None) => self.elects(Cause::Missing, false),
        };
        let outcome = match self.install(taken, expected) {
            Ok((login, flight)) => {
                assert_eq!(login, self.model.login);
                flight.map_or(Fate::Sent, |flight| Fate::Waits(flight.number))
            }
            Err(error) => fails(&error),
        };
        assert_eq!(outcome, fate);
    }

    /// As `keep_fresh` does.
    fn renew(&mut self) {
        let now = self.now();
        let taken = take(&self.state, |state| state.renew(now));
        let expected = self.renewal();
        self.install(taken, expected);
    }

    /// Does what a step asks for, if it is what was expected.
    fn install<A>(&mut self, taken: Taken<A>, expected: Expected) -> A {
        let Taken { answer, before, after, next, effects } = taken;
        assert_ne!(after, Some(before), "who changes nothing wakes nobody");
        let Effects { settled, launch, ended } = effects;
        if next.is_none() {
            assert!(
                settled.is_none() && launch.is_none() && ended.is_none(),
                "who stays where he is does nothing"
            );
        }
        assert_eq!(settled.is_some(), expected.told.is_some());
        if let Some((flight, outcome)) = settled {
            let current = self.model.flight.take().expect("only a flight in progress settles");
            let record = &mut self.flights[current];
            assert_eq!(flight.number, record.flight.number);
            assert!(record.flight.outcome.get().is_none(), "a flight settles once");
            flight.outcome.set(outcome.clone());
            record.told = Some(Told::of(&outcome));
            assert_eq!(record.told, expected.told);
        }
        assert_eq!(
            launch.is_some(),
            expected.launch.is_some(),
            "nothing but an election starts a flight"
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

    fn fly(&mut self, launch: Launch<Key>, Start { cause, awaited, by_traffic }: Start) {
        let Launch { flight, context, running } = launch;
        let rejected = cause == Cause::Rejected;
        let number = self.flights.len() as u64 + 1;
        let started_at = self.now().instant.into_std();
        let expected =
            Leg { number, cause, awaited, rejected, row: self.row(), started_at, outcome: None };
        assert_eq!(Leg::of(&flight), expected);
        assert_eq!(flight.attempt() as usize, self.model.refusals.len() + 1);
        assert_eq!(context.cause(), cause);
        assert_eq!(
            (context.login(), context.generation()),
            (self.model.login, self.model.generation)
        );
        assert_eq!(context.current().map(|key| key.name), self.model.key.map(|known| known.name));
        assert_eq!(context.rejection().is_some(), rejected);
        assert_eq!(context.previous_error().is_some(), self.model.failed.is_some());
        assert_eq!(self.model.flight, None, "one flight at a time");
        // What no model may get wrong.
        assert_eq!(self.backing_off(), None, "nothing is called before the back-off is over");
        if by_traffic {
            let recent = self.successes_within(self.setup.window);
            assert!(
                recent < self.setup.refreshes.max(1),
                "traffic causes no more refreshes than the limit"
            );
        }
        if rejected {
            assert!(!self.is_unproven(), "an unproven credential earns nothing");
        }
        self.model.flight = Some(self.flights.len());
        self.flights.push(Record {
            flight,
            login: self.model.login,
            awaited,
            rejected,
            told: None,
            running: Some(running),
            context,
        });
    }

    /// What holds after every step.
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
            assert_eq!(failure.row, self.row());
            assert_eq!(failure.in_a_row() as usize, model.refusals.len());
        }
        if model.flight.is_some() {
            assert_eq!(self.backing_off(), None);
        }
        assert_eq!(state.renewal_in(self.now()), self.renewal_in());

        if let Some(key) = state.credential() {
            assert!(!model.is_over, "nothing is left after the end");
            assert_eq!(
                self.keys[key.name as usize], state.login,
                "no login has the credential of another"
            );
        }

        let in_flight = match &state.phase {
            Phase::Refreshing(flight) => Some((flight.number, flight.awaited, flight.rejected)),
            _ => None,
        };
        assert!(
            in_flight.is_none_or(|(_, awaited, rejected)| awaited || !rejected),
            "whoever was rejected waits"
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
        // Of the flights, only their tasks keep a login busy.
        drop(state);
        for Record { flight, told, context, .. } in &flights {
            assert_eq!(flight.outcome.get().as_ref().map(Told::of), *told, "an outcome stands");
            let is_fenced =
                matches!(told, Some(Told::Replaced | Told::Ended(None) | Told::LoginChanged));
            assert_eq!(context.is_fenced(), is_fenced, "the refresher sees it too");
        }
        for (index, Ended { login, outstanding, .. }) in ended.iter().enumerate() {
            assert!(!displaced.contains(login), "no hook for a login that another one replaced");
            assert!(
                ended[..index].iter().all(|other| other.login != *login),
                "one hook for each login"
            );
            let is_busy =
                flights.iter().any(|record| record.login == *login && record.running.is_some());
            assert_eq!(
                task::spawn(outstanding.finished()).poll().is_pending(),
                is_busy,
                "the hook waits for flights"
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
            successes: Vec::new(),
        };
    }

    fn arrive(&mut self, held: &Held<Key>, refreshed_at: Option<Duration>) {
        self.model.generation = self.model.generation.next();
        self.model.key = Some(Known {
            name: held.credential().name,
            expires_at: held.credential().expires_at().filter(|expires_at| *expires_at > self.wall),
            refreshed_at,
            accepted: false,
            arrival: self.wall,
        });
        self.model.failed = None;
        self.model.refusals.clear();
    }

    fn is_usable(&self) -> bool {
        self.model.key.is_some_and(|known| known.expires_at.is_none_or(|at| at > self.wall))
    }

    /// Whether a flight that the application has not asked for brought it, for nothing so far.
    fn is_unproven(&self) -> bool {
        let unproven =
            self.model.key.filter(|known| !known.accepted).and_then(|known| known.refreshed_at);
        unproven.is_some_and(|since| self.elapsed - since < self.setup.window)
    }

    /// What is left of the back-off.
    fn backing_off(&self) -> Option<Duration> {
        let failed = self.model.failed?;
        failed.retry_at.checked_sub(self.elapsed).filter(|wait| !wait.is_zero())
    }

    fn successes_within(&self, window: Duration) -> usize {
        self.model.successes.iter().filter(|success| self.elapsed - **success < window).count()
    }

    /// How long until the limit allows another, if it doesn't.
    fn limited(&self) -> Option<Duration> {
        let too_many =
            (self.successes_within(self.setup.window) + 1).checked_sub(self.setup.refreshes.max(1));
        let leave_first = too_many.filter(|count| *count > 0)?;
        let mut recent =
            self.model.successes.iter().filter(|it| self.elapsed - **it < self.setup.window);
        recent.nth(leave_first - 1).map(|last| self.setup.window - (self.elapsed - *last))
    }

    /// When a renewal is due while nothing is sent.
    fn renewal_in(&self) -> Option<Duration> {
        let Known { expires_at, arrival, .. } =
            self.model.key.filter(|_| self.model.flight.is_none())?;
        let expires_at = expires_at?;
        let lifetime = expires_at.duration_since(arrival).expect("it has not arrived expired");
        let renew_at = expires_at - self.setup.margin.min(lifetime / 2);
        let due = renew_at.duration_since(self.wall).unwrap_or(Duration::ZERO);
        Some(due.max(self.backing_off().or_else(|| self.limited()).unwrap_or(Duration::ZERO)))
    }

    fn renewal(&self) -> Expected {
        let is_due = self.renewal_in() == Some(Duration::ZERO);
        let start = Start { cause: Cause::Expiring, awaited: false, by_traffic: true };
        Expected { launch: is_due.then_some(start), ..Expected::default() }
    }

    fn is_refusal(&self, landing: Landing) -> bool {
        match landing {
            Landing::Terminal => true,
            Landing::Ambiguous => self.setup.ambiguous == AmbiguousOutcome::EndLogin,
            Landing::Success { .. } | Landing::Unchanged | Landing::Transient => false,
        }
    }

    fn refused_in_a_row(&self) -> usize {
        self.model.refusals.iter().rev().take_while(|refused| **refused).count()
    }

    /// What the state should remember of the failures.
    fn row(&self) -> Row {
        let count = |count| u32::try_from(count).expect("a walk is short");
        Row { failures: count(self.model.refusals.len()), refusals: count(self.refused_in_a_row()) }
    }

    fn now(&self) -> Now {
        Now { wall: self.wall, instant: after(self.elapsed) }
    }

    fn settled(&self) -> u64 {
        self.flights.iter().filter(|record| record.told.is_some()).count() as u64
    }

    fn waits(&self, flight: usize) -> Fate {
        Fate::Waits(self.flights[flight].flight.number)
    }

    fn next_flight(&self) -> Fate {
        Fate::Waits(self.flights.len() as u64 + 1)
    }

    fn elects(&self, cause: Cause, by_traffic: bool) -> (Fate, Expected) {
        let launch = Some(Start { cause, awaited: true, by_traffic });
        (self.next_flight(), Expected { launch, ..Expected::default() })
    }

    /// For the application.
    fn elects_unawaited(&self, cause: Cause) -> (Fate, Expected) {
        let launch = Some(Start { cause, awaited: false, by_traffic: false });
        (self.next_flight(), Expected { launch, ..Expected::default() })
    }

    // ## What happens

    /// The current login, or any.
    fn login_at(&self, any: Option<Index>) -> Login {
        any.map_or(self.model.login, |any| *any.get(&self.logins))
    }

    fn new_key(&mut self, lifetime: Option<i64>, login: Login, refreshed: bool) -> Held<Key> {
        let name = u32::try_from(self.keys.len()).expect("a walk is short");
        self.keys.push(login);
        let ahead = Ahead { margin: self.setup.margin, jitter: 0.0 };
        let expires_at = lifetime.map(|lifetime| shifted(self.wall, lifetime));
        key_with(name, expires_at, self.wall, refreshed.then(|| self.now().instant), ahead)
    }

    fn bring(
        &mut self,
        landing: Landing,
        login: Login,
    ) -> (Result<Held<Key>, RefreshError>, Option<RefreshError>) {
        match landing {
            Landing::Success { lifetime } => (Ok(self.new_key(lifetime, login, true)), None),
            Landing::Unchanged => {
                (Ok(self.new_key(None, login, true)), Some(RefreshError::transient("unchanged")))
            }
            Landing::Transient => (Err(RefreshError::transient("no")), None),
            Landing::Ambiguous => (Err(RefreshError::ambiguous("no")), None),
            Landing::Terminal => (Err(RefreshError::terminal("no")), None),
        }
    }
}

fn fails(error: &Error) -> Fate {
    error.retry_after().map_or(Fate::Fails(error.kind()), |wait| {
        assert_eq!(error.kind(), ErrorKind::RefreshFailed);
        Fate::Later(wait)
    })
}

/// That many seconds later; the same time where there is no such time.
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
    // As long as a refresher asks for: the session cuts it down.
    let requested =
        prop_oneof![2 => Just(Duration::ZERO), 6 => millis(20_000), 1 => Just(Duration::MAX)];
    let wait = requested.prop_map(|requested| Backoff::DEFAULT.wait(1, Some(requested)));
    let landing = prop_oneof![
        7 => lifetime().prop_map(|lifetime| Landing::Success { lifetime }),
        2 => Just(Landing::Unchanged),
        2 => Just(Landing::Transient),
        1 => Just(Landing::Ambiguous),
        2 => Just(Landing::Terminal),
    ];
    let rarely = || option::weighted(0.2, any::<Index>());
    prop_oneof![
        8 => (rarely(), any::<bool>()).prop_map(|(login, may_elect)| Event::Request { login, may_elect }),
        6 => any::<Index>().prop_map(|sent| Event::Reject { sent }),
        8 => (rarely(), landing, wait).prop_map(|(flight, landing, wait)| Event::Settle { flight, landing, wait }),
        1 => lifetime().prop_map(|lifetime| Event::LogIn { lifetime }),
        1 => (rarely(), lifetime()).prop_map(|(login, lifetime)| Event::Replace { login, lifetime }),
        1 => Just(Event::LogOut),
        2 => Just(Event::Refresh),
        2 => Just(Event::Acquire),
        2 => Just(Event::Renew),
        5 => any::<Index>().prop_map(|sent| Event::Accept { sent }),
        5 => prop_oneof![20 => millis(30_000), 1 => Just(1_000_000_000 * SECOND)]
            .prop_map(|elapsed| Event::Pass { elapsed }),
        2 => prop_oneof![10 => -120_i64..120, 1 => extreme()].prop_map(|seconds| Event::Jump { seconds }),
    ]
}

fn millis(most: u64) -> impl Strategy<Value = Duration> {
    (0..=most / 500).prop_map(|halves| Duration::from_millis(halves * 500))
}
