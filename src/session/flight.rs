use std::{
    error, fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    runtime::Handle,
    time::{self, Instant},
};

use crate::{
    credential::contract::Credential,
    error::RefreshError,
    identity::{Generation, Login},
    observe::{event::EventKind, outcome::FlightOutcome},
    refresher::context::RefreshContext,
    session::{
        engine::Engine,
        machine::{
            clock::Now,
            entry::Entry,
            outcome::Outcome,
            state::Flight,
            timing::attempt_pause,
            tracker::FlightToken,
            transition::{Fenced, Launch},
        },
        report,
        scope::{Role, Scope},
    },
};

/// Settles a flight exactly once: with the result of its refresher, or on drop if there is none.
///
/// A task can end at any `.await`: its runtime shuts down, or the refresher panics. The guard is
/// what makes guarantee 5 hold in these cases.
///
/// The guard keeps the session alive. A flight that has lost its last waiter and its last handle
/// still completes.
struct FlightGuard<C: Credential> {
    engine: Arc<Engine<C>>,
    flight: Flight,
    login: Login,
    generation: Generation,
    /// The credential to replace.
    entry: Option<Arc<Entry<C>>>,
    token: FlightToken<C>,
    /// Whether an attempt is under way or over with an unknown outcome. Otherwise the refresh has
    /// certainly not happened.
    called: bool,
    settled: bool,
}

/// The refresher did not return before the time-out.
#[derive(Debug)]
struct TimedOut(Duration);

/// The task of the flight ended while the refresher was running.
#[derive(Debug)]
struct Interrupted;

/// The task of the flight ended while no attempt was under way.
#[derive(Debug)]
struct NotStarted;

/// The refresher returned the rejected credential.
#[derive(Debug)]
struct Unchanged;

/// Starts the flight in its own task, so that no caller can cancel it (guarantee 6).
pub(super) fn start<C: Credential>(engine: &Arc<Engine<C>>, launch: Launch<C>, runtime: &Handle) {
    let settings = engine.settings();
    let context = launch.context.for_session(
        engine.name().cloned(),
        settings.clock.as_fn(),
        engine.reporter(),
    );
    let guard = FlightGuard {
        engine: engine.clone(),
        flight: launch.flight,
        login: context.login(),
        generation: context.generation(),
        entry: launch.entry,
        token: launch.token,
        called: false,
        settled: false,
    };
    // Entered here and not in the new task, so that the flight inherits the scopes of the task that
    // causes it.
    let scope = Scope::enter(engine.id(), Role::Flight);
    // If the runtime is shutting down, `spawn` drops the task, and the guard settles the flight.
    drop(runtime.spawn(scope.run(fly(guard, context))));
}

/// Waits for the outcome of a flight.
///
/// The call itself subscribes, and only then the future looks at the outcome: an outcome that is
/// written after that look is a change that the subscription reports. The other order would miss an
/// outcome written in between, and the waiter would wait for the *next* change of the session.
pub(super) fn settled<C: Credential>(
    engine: &Engine<C>,
    flight: Flight,
) -> impl Future<Output = Outcome> + use<C> {
    let mut changes = engine.changes();
    async move {
        loop {
            if let Some(outcome) = flight.outcome.get() {
                // The engine writes the outcome and then the state, both under the lock of the
                // channel. `borrow` takes that lock, so it returns after the state is in place. The
                // caller then finds a state that is no older than its outcome.
                drop(changes.borrow());
                return outcome;
            }
            if changes.changed().await.is_err() {
                // The channel is closed, so the guard is gone, and the guard settles first.
                return flight.outcome.get().unwrap_or_else(|| {
                    Outcome::Failed(RefreshError::ambiguous(Interrupted), Duration::ZERO)
                });
            }
        }
    }
}

/// The task of a flight.
async fn fly<C: Credential>(mut guard: FlightGuard<C>, context: RefreshContext<C>) {
    if context.is_fenced() {
        // Fenced before the first poll. The refresh token has a successor now, and using it would
        // look like theft to the server.
        return;
    }
    let engine = guard.engine.clone();
    let limit = engine.settings().refresh_timeout;
    // `timeout` panics on a runtime without a timer, so `called` is set inside of it.
    let refresh = attempt(&engine, &guard.flight, context, &mut guard.called);
    // The future of the refresher is dropped at the end of this statement. When the waiters learn
    // about a time-out, no part of the refresher is running any more.
    let result = time::timeout(limit, refresh).await;
    guard.settle(result.unwrap_or_else(|_| Err(RefreshError::ambiguous(TimedOut(limit)))));
}

/// Calls the refresher, and calls it again after a failure that certainly changed nothing.
///
/// The waiters of the flight prefer a short pause to a failure. A flight without waiters has the
/// time to wait for the back-off, and a fenced one must not use the refresh token again.
async fn attempt<C: Credential>(
    engine: &Engine<C>,
    flight: &Flight,
    mut context: RefreshContext<C>,
    called: &mut bool,
) -> Result<Arc<C>, RefreshError> {
    let settings = engine.settings();
    let deadline = Instant::now() + settings.refresh_timeout;
    loop {
        *called = true;
        let error = match engine.call_refresher(context.clone()).await {
            Ok(credential) => return Ok(credential),
            Err(error) => error,
        };
        if !error.is_unprocessed() || context.attempt() >= settings.refresh_attempts {
            return Err(error);
        }
        // If the runtime shuts down during the pause, the refresh has certainly not happened.
        *called = false;
        // Without the time for another attempt, the flight ends now, with this error. To run into
        // the time-out would make the failure ambiguous.
        let pause = attempt_pause(error.retry_after())
            .filter(|pause| Instant::now() + *pause < deadline)
            .filter(|_| engine.snapshot().awaits(flight));
        let Some(pause) = pause else { return Err(error) };
        engine.report(EventKind::AttemptFailed {
            flight: flight.number,
            login: context.login(),
            attempt: context.attempt(),
            error: &error,
            pause,
        });
        time::sleep(pause).await;
        if !engine.snapshot().awaits(flight) {
            return Err(error);
        }
        context = context.next_attempt(error);
    }
}

// === impl FlightGuard ===

impl<C: Credential> FlightGuard<C> {
    /// Runs the user's code (`is_same`, `is_read_only`, `expires_at`, the clock) before the step.
    /// If that panics, `drop` settles the flight.
    fn settle(mut self, result: Result<Arc<C>, RefreshError>) {
        let mut unchanged = None;
        let result = result.map(|credential| {
            let same = self.entry.as_ref().filter(|it| credential.is_same(it.credential()));
            unchanged = same.map(|_| RefreshError::transient(Unchanged));
            let unproven_since = match same {
                // The upstream treats both alike, so its acceptance of the one counts for the
                // other. An acceptance that comes later and is for the old entry counts for none:
                // a rejection before the next acceptance may go to the caller.
                Some(entry) => entry.unproven_since(),
                None => (!self.engine.is_read_only()).then(Instant::now),
            };
            self.engine.new_entry(credential, unproven_since)
        });
        let now = self.engine.settings().clock.now();
        self.finish(result, unchanged, now);
    }

    fn finish(
        &mut self,
        result: Result<Arc<Entry<C>>, RefreshError>,
        unchanged: Option<RefreshError>,
        now: Now,
    ) {
        self.settled = true;
        let requested = result.as_ref().err().and_then(RefreshError::retry_after);
        let wait = self.engine.settings().backoff.wait(self.flight.attempt(), requested);
        let (settled, _hook) = self.engine.step_without_flight(|state| {
            state.settle(&self.flight, &result, unchanged.as_ref(), wait, now)
        });
        if let Err(Fenced) = settled {
            self.report_fenced();
        }
        // A credential of a fenced flight goes to the hook if a logout has fenced the flight. After
        // a replacement it is dropped: a later hook gets the replacement, which is newer. Another
        // login runs no hook.
        if let (Err(Fenced), Ok(entry), Some(Outcome::Ended(_))) =
            (settled, result, self.flight.outcome.get())
        {
            self.token.bring_late(entry.credential().clone());
        }
    }

    /// Tells the observers that the flight is over, and was fenced before.
    ///
    /// The step that fences a flight cannot tell them: on another thread it may run before the
    /// start of the flight is reported. This guard exists only after that report.
    fn report_fenced(&self) {
        if self.engine.is_observed() {
            let Self { engine, flight, login, generation, .. } = self;
            let outcome = FlightOutcome::Fenced;
            report::settled(flight, *login, *generation, 0, outcome, |kind| engine.report(kind));
        }
    }
}

impl<C: Credential> Drop for FlightGuard<C> {
    fn drop(&mut self) {
        if !self.settled {
            // The session's clock is user code, and it may be what has just panicked. Any earlier
            // time serves as well: no credential has expired by then, so an interrupted renewal
            // ends no login.
            let now = Now { wall: SystemTime::UNIX_EPOCH, instant: Instant::now() };
            let error = if self.called {
                RefreshError::ambiguous(Interrupted)
            } else {
                RefreshError::transient(NotStarted)
            };
            self.finish(Err(error), None, now);
        }
    }
}

// === impl TimedOut ===

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the refresher did not return within {:?}", self.0)
    }
}

impl error::Error for TimedOut {}

// === impl Interrupted ===

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the refresher panicked, or its runtime has shut down")
    }
}

impl error::Error for Interrupted {}

// === impl NotStarted ===

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the runtime of the refresh has shut down, or has no timer")
    }
}

impl error::Error for NotStarted {}

// === impl Unchanged ===

impl fmt::Display for Unchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the refresher returned the rejected credential")
    }
}

impl error::Error for Unchanged {}
