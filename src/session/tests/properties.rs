//! Random walks through the state machine, next to a model that knows no phases.

use crate::{
    error::{ErrorKind, RefreshError},
    refresher::{Cause, RefreshContext, Rejection},
    session::{
        identity::{Generation, Login},
        outstanding::Running,
        state::{Flight, Held, Phase, Stamped, State},
        tests::{
            key::{Key, at, key},
            picture::{Leg, Taken, Told, take},
        },
        transition::{Admission, Effects, Ended, Launch, Reaction},
    },
};
use http::{HeaderMap, StatusCode};
use proptest::{collection::vec, option, prelude::*, sample::Index};
use std::sync::Arc;
use tokio_test::task;

/// What happens. An `Index` chooses among what there has been so far.
#[derive(Clone, Debug)]
enum Event {
    Request { login: Option<Index>, may_elect: bool },
    Reject { sent: Index },
    Settle { flight: Option<Index>, landing: Landing },
    LogIn { lifetime: Option<i64> },
    Replace { login: Option<Index>, lifetime: Option<i64> },
    LogOut,
    Refresh,
    Acquire,
    Clock { seconds: i64 },
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

/// A state and all that has happened to it.
struct Walk {
    state: State<Key>,
    model: Model,
    now: i64,
    step: usize,
    logins: Vec<Login>,
    flights: Vec<Record>,
    /// Requests, and when they were sent.
    sent: Vec<(Stamped, usize)>,
    /// Of which login each credential is, by its name, and when it expires.
    keys: Vec<(Login, Option<i64>)>,
    ended: Vec<Ended<Key>>,
    displaced: Vec<Login>,
}

/// What the state should come to.
struct Model {
    login: Login,
    generation: Generation,
    /// Its name, and when it expires.
    key: Option<(u32, Option<i64>)>,
    is_over: bool,
    /// The one that can still change the state.
    flight: Option<usize>,
    /// When the last flight that was to replace this credential failed.
    failed: Option<usize>,
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
    launch: Option<(Cause, Awaited)>,
    told: Option<Told>,
    ends: bool,
}

/// What becomes of a request.
#[derive(Debug, PartialEq)]
enum Fate {
    Sent,
    Replayed,
    Waits(u64),
    Fails(ErrorKind),
}

#[derive(Clone, Copy, PartialEq)]
enum Awaited {
    Yes,
    No,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_walk_breaks_a_guarantee(on_demand: bool, events in vec(event(), 0..60)) {
        let mut walk = Walk::new(if on_demand { State::on_demand() } else { State::signed_out() });
        for event in &events {
            walk.take(event);
            walk.check();
        }
        walk.check_in_the_end();
    }
}

// === impl Walk ===

impl Walk {
    fn new(state: State<Key>) -> Self {
        let model = Model {
            login: state.login,
            generation: state.generation,
            key: None,
            is_over: matches!(state.phase, Phase::Terminated(_)),
            flight: None,
            failed: None,
        };
        Self {
            logins: vec![state.login],
            state,
            model,
            now: 1_000,
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
            Event::Reject { .. } if self.sent.is_empty() => {}
            Event::Reject { sent } => self.reject(*sent.get(&self.sent)),
            Event::Settle { .. } if self.flights.is_empty() => {}
            Event::Settle { flight, landing } => {
                let latest = self.flights.len() - 1;
                self.settle(flight.map_or(latest, |any| any.index(self.flights.len())), landing);
            }
            Event::LogIn { lifetime } => self.log_in(lifetime),
            Event::Replace { login, lifetime } => self.replace(self.login_at(login), lifetime),
            Event::LogOut => self.log_out(),
            Event::Refresh => self.refresh(),
            Event::Acquire => self.acquire(),
            Event::Clock { seconds } => self.now = (self.now + seconds).max(0),
        }
    }

    fn request(&mut self, login: Login, may_elect: bool) {
        let now = at(self.now.unsigned_abs());
        let taken = take(&self.state, |state| state.admit(login, may_elect, now));
        let (fate, expected) = match (self.model.key, self.model.flight) {
            _ if login != self.model.login => (Fate::Fails(ErrorKind::LoginChanged), Expected::default()),
            _ if self.model.is_over => (Fate::Fails(ErrorKind::Terminated), Expected::default()),
            (_, Some(flight)) if self.flights[flight].awaited => (self.waits(flight), Expected::default()),
            _ if self.is_usable() => (Fate::Sent, Expected::default()),
            (_, Some(flight)) => {
                self.flights[flight].awaited = true;
                (self.waits(flight), Expected::default())
            }
            (Some(_), None) if !may_elect => (Fate::Sent, Expected::default()),
            (Some(_), None) => self.elects(Cause::Expiring),
            (None, None) => self.elects(Cause::Missing),
        };
        let (name, settled) = (self.model.key.map(|(name, _)| name), self.settled());
        match self.install(taken, expected) {
            Admission::Send(key, stamped) => {
                assert_eq!(fate, Fate::Sent);
                assert_eq!(Some(key.name), name);
                let Model { login, generation, .. } = self.model;
                assert_eq!(stamped, Stamped { login, generation, flights_settled: settled });
                self.sent.push((stamped, self.step));
            }
            Admission::Wait(flight) => assert_eq!(fate, Fate::Waits(flight.number)),
            Admission::Fail(error) => assert_eq!(fate, Fate::Fails(error.kind())),
        }
    }

    fn reject(&mut self, (stamped, sent): (Stamped, usize)) {
        let rejection = Arc::new(Rejection::new(StatusCode::UNAUTHORIZED, HeaderMap::new()));
        let taken = take(&self.state, |state| state.rejected(stamped, &rejection));
        let is_late = stamped.generation < self.model.generation;
        let (fate, expected) = match self.model.flight {
            _ if stamped.login != self.model.login => {
                (Fate::Fails(ErrorKind::LoginChanged), Expected::default())
            }
            _ if self.model.is_over => (Fate::Fails(ErrorKind::Terminated), Expected::default()),
            Some(flight) if !is_late => {
                self.flights[flight].awaited = true;
                self.flights[flight].rejected = true;
                (self.waits(flight), Expected::default())
            }
            Some(flight) if self.flights[flight].awaited => (self.waits(flight), Expected::default()),
            _ if is_late => (Fate::Replayed, Expected::default()),
            _ if self.model.failed.is_some_and(|failed| failed > sent) => {
                (Fate::Fails(ErrorKind::RefreshFailed), Expected::default())
            }
            _ => self.elects(Cause::Rejected),
        };
        assert_eq!(
            fate,
            match self.install(taken, expected) {
                Reaction::Replay => Fate::Replayed,
                Reaction::Wait(flight) => Fate::Waits(flight.number),
                Reaction::Fail(error) => Fate::Fails(error.kind()),
            }
        );
    }

    fn settle(&mut self, index: usize, landing: Landing) {
        let now = at(self.now.unsigned_abs());
        // As the guard does: it settles what it started, whatever has been noted of it since.
        let Record { flight, login, awaited, rejected, running, .. } = &mut self.flights[index];
        let (flight, login, awaited, rejected) = (flight.clone(), *login, *awaited, *rejected);
        drop(running.take());
        let (result, unchanged) = self.bring(landing, login);
        let taken = take(&self.state, |state| state.settle(&flight, &result, unchanged.as_ref(), now));

        let is_fenced = self.model.flight != Some(index);
        let ends = matches!(landing, Landing::Terminal) && (awaited || !self.is_usable());
        let told = match (&result, landing) {
            _ if is_fenced => None,
            (_, Landing::Unchanged) if rejected => Some(Told::Failed("unchanged".to_owned())),
            (Ok(held), _) => {
                self.arrive(held);
                Some(Told::Renewed)
            }
            (Err(_), Landing::Terminal) if ends => Some(Told::Terminated(Some("no".to_owned()))),
            (Err(_), _) => Some(Told::Failed("no".to_owned())),
        };
        if matches!(told, Some(Told::Failed(_))) {
            self.model.failed = Some(self.step);
        }
        let answer = self.install(taken, Expected { told, ends: ends && !is_fenced, ..Expected::default() });
        assert_eq!(answer.is_err(), is_fenced);
    }

    fn log_in(&mut self, lifetime: Option<i64>) {
        let login = self.model.login.next();
        let held = self.new_key(lifetime, login);
        let taken = take(&self.state, |state| state.log_in(&held));
        if !self.model.is_over {
            self.displaced.push(self.model.login);
        }
        let told = self.model.flight.map(|_| Told::LoginChanged);
        self.begin(login);
        self.arrive(&held);
        assert_eq!(self.install(taken, Expected { told, ..Expected::default() }), login);
    }

    fn replace(&mut self, login: Login, lifetime: Option<i64>) {
        let held = self.new_key(lifetime, login);
        let taken = take(&self.state, |state| state.replace(login, &held));
        let is_refused = self.model.is_over || login != self.model.login;
        let told = self.model.flight.filter(|_| !is_refused).map(|_| Told::Renewed);
        if !is_refused {
            self.arrive(&held);
        }
        let answer = self.install(taken, Expected { told, ..Expected::default() });
        assert_eq!(answer, (!is_refused).then_some(self.model.generation));
    }

    fn log_out(&mut self) {
        let taken = take(&self.state, State::log_out);
        let told = self.model.flight.map(|_| Told::Terminated(None));
        self.install(taken, Expected { told, ends: !self.model.is_over, ..Expected::default() });
    }

    fn refresh(&mut self) {
        let taken = take(&self.state, State::refresh);
        let cause = if self.model.key.is_some() { Cause::Forced } else { Cause::Missing };
        let (fate, expected) = match self.model.flight {
            _ if self.model.is_over => (Fate::Fails(ErrorKind::Terminated), Expected::default()),
            Some(flight) => (self.waits(flight), Expected::default()),
            None => {
                (self.next_flight(), Expected { launch: Some((cause, Awaited::No)), ..Expected::default() })
            }
        };
        assert_eq!(
            fate,
            match self.install(taken, expected) {
                Ok(flight) => Fate::Waits(flight.number),
                Err(error) => Fate::Fails(error.kind()),
            }
        );
    }

    fn acquire(&mut self) {
        let now = at(self.now.unsigned_abs());
        let taken = take(&self.state, |state| state.acquire(now));
        let is_usable = self.is_usable();
        let (fate, expected) = match (self.model.key, self.model.flight) {
            _ if self.model.is_over => {
                self.begin(self.model.login.next());
                self.elects(Cause::Missing)
            }
            (_, Some(flight)) => (self.waits(flight), Expected::default()),
            _ if is_usable && self.model.failed.is_none() => (Fate::Sent, Expected::default()),
            _ if is_usable => {
                let launch = Some((Cause::Forced, Awaited::No));
                (self.next_flight(), Expected { launch, ..Expected::default() })
            }
            (Some(_), None) => self.elects(Cause::Expiring),
            (None, None) => self.elects(Cause::Missing),
        };
        let (login, flight) = self.install(taken, expected);
        assert_eq!(login, self.model.login);
        assert_eq!(fate, flight.map_or(Fate::Sent, |flight| Fate::Waits(flight.number)));
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
            assert!(!record.flight.outcome.is_set(), "a flight settles once");
            flight.outcome.set(outcome.clone());
            record.told = Some(Told::of(&outcome));
            assert_eq!(record.told, expected.told);
        }
        assert_eq!(launch.is_some(), expected.launch.is_some(), "nothing but an election starts a flight");
        if let (Some(launch), Some(expected)) = (launch, expected.launch) {
            self.fly(launch, expected);
        }
        assert_eq!(ended.is_some(), expected.ends);
        if let Some(ended) = ended {
            assert_eq!(ended.login, self.model.login);
            assert_eq!(ended.credential.as_ref().map(|key| key.name), self.model.key.map(|(name, _)| name));
            self.ended.push(ended);
            self.model = Model { key: None, is_over: true, failed: None, ..self.model };
        }
        if let Some(next) = next {
            self.state = next;
        }
        answer
    }

    fn fly(&mut self, launch: Launch<Key>, (cause, awaited): (Cause, Awaited)) {
        let Launch { flight, context, running } = launch;
        let (awaited, rejected) = (awaited == Awaited::Yes, cause == Cause::Rejected);
        let number = self.flights.len() as u64 + 1;
        assert_eq!(Leg::of(&flight), Leg { number, cause, awaited, rejected, outcome: None });
        assert_eq!(context.cause(), cause);
        assert_eq!((context.login(), context.generation()), (self.model.login, self.model.generation));
        assert_eq!(context.current().map(|key| key.name), self.model.key.map(|(name, _)| name));
        assert_eq!(context.rejection().is_some(), rejected);
        assert_eq!(context.previous_error().is_some(), self.model.failed.is_some());
        assert_eq!(self.model.flight, None, "one flight at a time");
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
        let expires_at = model.key.and_then(|(_, expires_at)| expires_at);
        assert_eq!(state.credential().map(|key| key.name), model.key.map(|(name, _)| name));
        assert_eq!(state.expires_at(), expires_at.map(|seconds| at(seconds.unsigned_abs())));
        assert_eq!(matches!(state.phase, Phase::Terminated(_)), model.is_over);
        assert_eq!(matches!(state.phase, Phase::Failed(_)), model.failed.is_some() && model.flight.is_none());

        if let Some(key) = state.credential() {
            assert!(!model.is_over, "nothing is left after the end");
            assert_eq!(self.keys[key.name as usize].0, state.login, "no login has the credential of another");
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
        assert_eq!(in_flight, record.map(|record| (record.flight.number, record.awaited, record.rejected)));
        let open = self.flights.iter().filter(|record| !record.flight.outcome.is_set()).count();
        assert!(open <= 1, "one flight at a time");
        assert_eq!(open == 1, in_flight.is_some());
        assert_eq!(state.flights_started, self.flights.len() as u64);
        assert_eq!(state.flights_settled, self.settled());
        assert_eq!(state.flights_started - state.flights_settled, open as u64);

        let is_awaited = record.is_some_and(|record| record.awaited);
        let sendable = state.sendable(|| at(self.now.unsigned_abs())).is_some();
        assert_eq!(sendable, self.is_usable() && !is_awaited && !model.is_over);
    }

    fn check_in_the_end(self) {
        let Self { state, flights, ended, displaced, .. } = self;
        // Of the flights, only their tasks keep a login busy.
        drop(state);
        for Record { flight, told, context, .. } in &flights {
            assert_eq!(flight.outcome.get().as_ref().map(Told::of), *told, "an outcome stands");
            assert_eq!(context.is_fenced(), told.is_some(), "the refresher sees it too");
        }
        for (index, Ended { login, outstanding, .. }) in ended.iter().enumerate() {
            assert!(!displaced.contains(login), "no hook for a login that another one replaced");
            assert!(ended[..index].iter().all(|other| other.login != *login), "one hook for each login");
            let is_busy = flights.iter().any(|record| record.login == *login && record.running.is_some());
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
        self.model = Model { login, key: None, is_over: false, failed: None, ..self.model };
    }

    fn arrive(&mut self, held: &Held<Key>) {
        let name = held.credential.name;
        let (_, expires_at) = self.keys[name as usize];
        let generation = self.model.generation.next();
        self.model = Model { generation, key: Some((name, expires_at)), failed: None, ..self.model };
    }

    fn is_usable(&self) -> bool {
        self.model.key.is_some_and(|(_, expires_at)| expires_at.is_none_or(|at| at > self.now))
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

    fn elects(&self, cause: Cause) -> (Fate, Expected) {
        (self.next_flight(), Expected { launch: Some((cause, Awaited::Yes)), ..Expected::default() })
    }

    // ## What happens

    /// The current login, or any.
    fn login_at(&self, any: Option<Index>) -> Login {
        any.map_or(self.model.login, |any| *any.get(&self.logins))
    }

    fn new_key(&mut self, lifetime: Option<i64>, login: Login) -> Held<Key> {
        let name = u32::try_from(self.keys.len()).expect("a walk is short");
        let expires_at = lifetime.map(|lifetime| (self.now + lifetime).max(0));
        self.keys.push((login, expires_at.filter(|expires_at| *expires_at > self.now)));
        key(name, expires_at.map(|seconds| at(seconds.unsigned_abs())), at(self.now.unsigned_abs()))
    }

    fn bring(
        &mut self,
        landing: Landing,
        login: Login,
    ) -> (Result<Held<Key>, RefreshError>, Option<RefreshError>) {
        match landing {
            Landing::Success { lifetime } => (Ok(self.new_key(lifetime, login)), None),
            Landing::Unchanged => (Ok(self.new_key(None, login)), Some(RefreshError::transient("unchanged"))),
            Landing::Transient => (Err(RefreshError::transient("no")), None),
            Landing::Ambiguous => (Err(RefreshError::ambiguous("no")), None),
            Landing::Terminal => (Err(RefreshError::terminal("no")), None),
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let lifetime = || option::weighted(0.7, -20_i64..120);
    let landing = prop_oneof![
        4 => lifetime().prop_map(|lifetime| Landing::Success { lifetime }),
        2 => Just(Landing::Unchanged),
        2 => Just(Landing::Transient),
        1 => Just(Landing::Ambiguous),
        2 => Just(Landing::Terminal),
    ];
    let rarely = || option::weighted(0.2, any::<Index>());
    prop_oneof![
        8 => (rarely(), any::<bool>()).prop_map(|(login, may_elect)| Event::Request { login, may_elect }),
        6 => any::<Index>().prop_map(|sent| Event::Reject { sent }),
        6 => (rarely(), landing).prop_map(|(flight, landing)| Event::Settle { flight, landing }),
        2 => lifetime().prop_map(|lifetime| Event::LogIn { lifetime }),
        2 => (rarely(), lifetime()).prop_map(|(login, lifetime)| Event::Replace { login, lifetime }),
        1 => Just(Event::LogOut),
        2 => Just(Event::Refresh),
        2 => Just(Event::Acquire),
        3 => (-60_i64..120).prop_map(|seconds| Event::Clock { seconds }),
    ]
}
