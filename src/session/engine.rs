use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{runtime::Handle, sync::watch, time::Instant};

use crate::{
    credential::contract::Credential,
    error::{Error, RefreshError},
    identity::{Login, SessionId},
    observe::{event::EventKind, observers::Reporter, outcome::WaitOutcome},
    refresher::{context::RefreshContext, shared::SharedRefresher},
    session::{
        hook,
        hook::Logout,
        machine::{
            clock::LazyNow,
            entry::Entry,
            state::State,
            transition::{Findings, Launch, LoginEnd, Step},
        },
        report,
        report::Change,
        template::{SessionTemplate, Settings},
    },
};

/// The shared core of a session: its state, and the one way to change it.
///
/// The engine knows nothing about flights except that a step may ask for one. `flight` starts them,
/// and `handle` has the public methods.
pub(super) struct Engine<C> {
    id: SessionId,
    /// The lock of this channel guards the whole state. The inner `Arc` makes a snapshot cheap: one
    /// reference count, however large the state is.
    state: watch::Sender<Arc<State<C>>>,
    waiters: AtomicUsize,
    name: Option<Arc<str>>,
    /// The refresher of this session alone. `None`: that of the template.
    refresher: Option<Arc<dyn SharedRefresher<C>>>,
    template: SessionTemplate<C>,
}

/// One of the waiters that `max_waiters` allows.
pub(super) struct WaitPermit<C> {
    engine: Arc<Engine<C>>,
    login: Login,
    flight: u64,
    /// The start of the wait. `None` if it is not observed.
    since: Option<Instant>,
    outcome: WaitOutcome,
}

// === impl Engine ===

impl<C> Engine<C> {
    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    pub(super) fn settings(&self) -> &Settings<C> {
        self.template.settings()
    }

    /// The name of this session, or else that of its template.
    pub(super) fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref().or(self.settings().name.as_ref())
    }

    pub(super) fn snapshot(&self) -> Arc<State<C>> {
        self.state.borrow().clone()
    }

    /// Reads the state under the lock, without a reference that could become its last: the drop of
    /// a credential may run code of the user. `read` must not block.
    pub(super) fn peek<T>(&self, read: impl FnOnce(&Arc<State<C>>) -> T) -> T {
        read(&self.state.borrow())
    }

    /// Whether this is still the state.
    pub(super) fn is_in(&self, state: &Arc<State<C>>) -> bool {
        self.peek(|current| Arc::ptr_eq(current, state))
    }

    pub(super) fn changes(&self) -> watch::Receiver<Arc<State<C>>> {
        self.state.subscribe()
    }

    pub(super) fn waiters(&self) -> usize {
        self.waiters.load(Ordering::Relaxed)
    }

    /// Tells the observers. Runs the user's code, so never under the lock of the state.
    pub(super) fn report(&self, kind: EventKind<'_>) {
        self.settings().observers.report(Some(self.id), self.name().map(|name| &**name), kind);
    }

    /// `None` if the session has no observer.
    pub(super) fn reporter(&self) -> Option<Reporter> {
        let observers = &self.settings().observers;
        self.is_observed().then(|| Reporter::new(observers.clone(), self.id, self.name().cloned()))
    }

    pub(super) fn is_observed(&self) -> bool {
        !self.settings().observers.is_empty()
    }
}

impl<C: Credential> Engine<C> {
    pub(super) fn new(
        state: State<C>,
        name: Option<Arc<str>>,
        refresher: Option<Arc<dyn SharedRefresher<C>>>,
        template: SessionTemplate<C>,
    ) -> Self {
        let login = state.current_login();
        let engine = Self {
            id: SessionId::next(),
            state: watch::Sender::new(Arc::new(state)),
            waiters: AtomicUsize::new(0),
            name,
            refresher,
            template,
        };
        engine.remember_runtime();
        engine.report(EventKind::SessionCreated);
        if let Some(login) = login {
            engine.report(EventKind::LoggedIn { login, generation: None });
        }
        engine
    }

    /// Calls the refresher of this session, or else that of its template.
    pub(super) async fn call_refresher(
        &self,
        context: RefreshContext<C>,
    ) -> Result<Arc<C>, RefreshError> {
        match &self.refresher {
            Some(refresher) => refresher.clone().refresh(context).await,
            None => self.settings().refresher.refresh(context).await.map(Arc::new),
        }
    }

    /// Whether the refresher reads what others obtain.
    pub(super) fn is_read_only(&self) -> bool {
        match &self.refresher {
            Some(refresher) => refresher.is_read_only(),
            None => self.settings().refresher.is_read_only(),
        }
    }

    /// Remembers the runtime of the caller, for later calls from threads without one.
    pub(super) fn remember_runtime(&self) {
        drop(self.template.runtimes().remember());
    }

    /// Makes the entry for a credential that arrives now. See [`Entry::unproven_since`].
    ///
    /// Runs the user's code: the clock and `Credential::expires_at`.
    pub(super) fn new_entry(
        &self,
        credential: Arc<C>,
        unproven_since: Option<Instant>,
    ) -> Arc<Entry<C>> {
        let Settings { clock, renewal, .. } = self.settings();
        let arrival = clock.wall();
        Arc::new(Entry::new(credential, unproven_since, arrival, |expires_at| {
            renewal.renew_at(arrival, expires_at)
        }))
    }

    /// Counts one more waiter for this flight.
    pub(super) fn permit(
        self: &Arc<Self>,
        login: Login,
        flight: u64,
    ) -> Result<WaitPermit<C>, Error> {
        let max = self.settings().max_waiters;
        let one_more = |count| (count < max).then(|| count + 1);
        // `Relaxed`: the counter guards no other data.
        let others = self
            .waiters
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .map_err(|_| Error::overloaded())?;
        let since = self.is_observed().then(Instant::now);
        let outcome = WaitOutcome::Dropped;
        let permit = WaitPermit { engine: self.clone(), login, flight, since, outcome };
        self.report(EventKind::WaitStarted { login, flight, waiters: others + 1 });
        Ok(permit)
    }

    /// Takes a step that never starts a flight.
    pub(super) fn step_without_flight<A>(
        &self,
        transition: impl Fn(&State<C>) -> Step<C, A>,
    ) -> (A, Logout) {
        self.step(None, transition, |_, _| debug_assert!(false, "the step starts no flight"))
            .expect("a step that starts no flight needs no runtime")
    }

    /// Takes one step of the state machine. The state changes nowhere else.
    ///
    /// `now` is the time that the transition reads, if it reads one. `start_flight` starts the
    /// flight that the step asks for.
    ///
    /// # Errors
    ///
    /// `NoRuntime` if the step starts a flight and there is no runtime for it. Nothing has changed
    /// then.
    pub(super) fn step<A>(
        &self,
        now: Option<&LazyNow<'_>>,
        transition: impl Fn(&State<C>) -> Step<C, A>,
        start_flight: impl FnOnce(Launch<C>, &Handle),
    ) -> Result<(A, Logout), Error> {
        // ## A look at a snapshot
        //
        // Most steps change nothing: of a herd of a thousand rejections, one starts the flight and
        // 999 join it. For those, the transition on a snapshot is the whole step, and the moment of
        // the snapshot is its linearisation point. Taking the snapshot holds the read lock only to
        // clone an `Arc`; the transition runs outside of it.
        let mut look = transition(&self.snapshot());
        if now.is_some_and(LazyNow::is_read) {
            // The clock is user code and may take any time, so the snapshot may be old. Look again:
            // the time is known now, and nothing between this snapshot and the answer can block.
            look = transition(&self.snapshot());
        }
        if look.next.is_none() {
            self.report_findings(&look.effects.findings);
            return Ok((look.answer, Logout::done()));
        }
        if let Some(now) = now {
            // The transition runs again under the lock. No user code may run there, so the clock
            // is read before.
            now.get();
        }
        // Chosen before the lock, since the search spawns a task. If the step under the lock starts
        // a flight and this look did not, the flight gets a runtime that may be gone, and fails.
        let runtime = self.template.runtimes().for_flight(look.effects.launch.is_some());
        // Read before the waiters are woken.
        let waiters = self.waiters();

        // ## The step, under the lock
        //
        // Another step may have come first, so the first answer is void and the transition decides
        // again on the current state.
        let mut taken = None;
        self.state.send_if_modified(|state| {
            let (step, change) = taken.insert((transition(state), None));
            if step.effects.launch.is_some() && runtime.is_none() {
                return false;
            }
            let Some(next) = step.next.take() else { return false };
            // First the outcome, then the state, then the wake-up. Waiters look at the outcome, so
            // it has to be there when they wake. They also rely on the state being no older than
            // the outcome: both happen under this lock, and `flight::settled` takes it once before
            // it returns the outcome.
            if let Some((flight, outcome)) = step.effects.settled.take() {
                flight.outcome.set(outcome);
            }
            let after = Arc::new(next);
            let before = mem::replace(state, after.clone());
            *change = Some(Change { before, after });
            true
        });

        // ## The effects, after the lock
        //
        // The observers come first: a flight or a hook that runs already could report something
        // before its own start. A panic of an observer is caught. It would leave a flight that
        // never starts.
        let (Step { answer, effects, .. }, change) =
            taken.expect("the closure of `send_if_modified` was called");
        self.report_findings(&effects.findings);
        if let (Some(change), true) = (&change, self.is_observed()) {
            report::change(change, waiters, |kind| self.report(kind));
        }
        if let Some(launch) = effects.launch {
            let runtime = runtime.ok_or_else(Error::no_runtime)?;
            report::launch(&launch, |kind| self.report(kind));
            start_flight(launch, &runtime);
        }
        let logout = self.run_hook(effects.ended);
        // Last of all: these may hold the last reference to a credential, whose `Drop` may panic or
        // call the session. A panic before this point would leave a flight that never starts.
        drop((look, change));
        Ok((answer, logout))
    }

    fn report_findings(&self, findings: &Findings) {
        if self.is_observed() {
            report::findings(findings, |kind| self.report(kind));
        }
    }

    fn run_hook(&self, ended: Option<LoginEnd<C>>) -> Logout {
        match (ended, &self.settings().on_login_end) {
            (Some(ended), Some(hook)) => {
                let (name, runtime) = (self.name().cloned(), self.template.runtimes().for_hook());
                hook::start(hook.clone(), self.id, name, self.reporter(), ended, runtime.as_ref())
            }
            _ => Logout::done(),
        }
    }
}

impl<C> Drop for Engine<C> {
    fn drop(&mut self) {
        self.report(EventKind::SessionDropped);
    }
}

// === impl WaitPermit ===

impl<C> WaitPermit<C> {
    /// Ends the wait with this result of the flight.
    pub(super) fn end(mut self, result: &Result<(), Error>) {
        self.outcome = match result {
            Ok(()) => WaitOutcome::Released,
            Err(error) => WaitOutcome::Failed { kind: error.kind() },
        };
    }
}

impl<C> Drop for WaitPermit<C> {
    fn drop(&mut self) {
        let Self { ref engine, login, flight, since, outcome } = *self;
        let waiters = engine.waiters.fetch_sub(1, Ordering::Relaxed) - 1;
        if let Some(since) = since {
            let duration = since.elapsed();
            engine.report(EventKind::WaitEnded { login, flight, waiters, duration, outcome });
        }
    }
}
