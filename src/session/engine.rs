use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{runtime::Handle, sync::watch};

use crate::{
    credential::contract::Credential,
    error::Error,
    session::{
        hook,
        hook::Logout,
        machine::{
            clock::LazyNow,
            entry::Entry,
            state::State,
            transition::{Launch, LoginEnd, Step},
        },
        scope::SessionId,
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
    template: SessionTemplate<C>,
}

/// One of the waiters that `max_waiters` allows.
pub(super) struct WaitPermit<C>(Arc<Engine<C>>);

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

    pub(super) fn changes(&self) -> watch::Receiver<Arc<State<C>>> {
        self.state.subscribe()
    }

    pub(super) fn waiters(&self) -> usize {
        self.waiters.load(Ordering::Relaxed)
    }
}

impl<C: Credential> Engine<C> {
    pub(super) fn new(
        state: State<C>,
        name: Option<Arc<str>>,
        template: SessionTemplate<C>,
    ) -> Self {
        drop(template.runtimes().remember());
        Self {
            id: SessionId::next(),
            state: watch::Sender::new(Arc::new(state)),
            waiters: AtomicUsize::new(0),
            name,
            template,
        }
    }

    /// Remembers the runtime of the caller, for later calls from threads without one.
    pub(super) fn remember_runtime(&self) {
        drop(self.template.runtimes().remember());
    }

    /// Makes the entry for a credential that arrives now. `refreshed_at` is `None` if the
    /// application brings it.
    ///
    /// Runs the user's code: the clock and `Credential::expires_at`.
    pub(super) fn new_entry(
        &self,
        credential: C,
        refreshed_at: Option<tokio::time::Instant>,
    ) -> Arc<Entry<C>> {
        let Settings { clock, renewal, .. } = self.settings();
        let arrival = clock.wall();
        Arc::new(Entry::new(Arc::new(credential), refreshed_at, arrival, |expires_at| {
            renewal.renew_at(arrival, expires_at)
        }))
    }

    pub(super) fn permit(self: &Arc<Self>) -> Result<WaitPermit<C>, Error> {
        let max = self.settings().max_waiters;
        let one_more = |count| (count < max).then(|| count + 1);
        // `Relaxed`: the counter guards no other data.
        match self.waiters.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(WaitPermit(self.clone())),
            Err(_) => Err(Error::overloaded()),
        }
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

        // ## The step, under the lock
        //
        // Another step may have come first, so the first answer is void and the transition decides
        // again on the current state.
        let mut taken = None;
        self.state.send_if_modified(|state| {
            let (step, displaced) = taken.insert((transition(state), None));
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
            *displaced = Some(mem::replace(state, Arc::new(next)));
            true
        });

        // ## The effects, after the lock
        let (Step { answer, effects, .. }, displaced) =
            taken.expect("the closure of `send_if_modified` was called");
        if let Some(launch) = effects.launch {
            start_flight(launch, &runtime.ok_or_else(Error::no_runtime)?);
        }
        let logout = self.run_hook(effects.ended);
        // Last of all: these may hold the last reference to a credential, whose `Drop` may panic or
        // call the session. A panic before this point would leave a flight that never starts.
        drop((look, displaced));
        Ok((answer, logout))
    }

    fn run_hook(&self, ended: Option<LoginEnd<C>>) -> Logout {
        match (ended, &self.settings().on_login_end) {
            (Some(ended), Some(hook)) => {
                let (name, runtime) = (self.name().cloned(), self.template.runtimes().for_hook());
                hook::start(hook.clone(), self.id, name, ended, runtime.as_ref())
            }
            _ => Logout::done(),
        }
    }
}

// === impl WaitPermit ===

impl<C> Drop for WaitPermit<C> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}
