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
    refresher::RefreshContext,
    session::{
        handle::Session,
        machine::{
            clock::Now, held::Held, outcome::Outcome, outstanding::Running, state::Flight,
            transition::Launch,
        },
        scope::{Role, Scope},
    },
};

/// Settles its flight exactly once: with a result, or when it is dropped without one.
///
/// It keeps the session alive: a flight that nobody waits for any more still brings home what it
/// fetched.
struct Guard<C: Credential> {
    session: Session<C>,
    flight: Flight,
    current: Option<Arc<C>>,
    running: Running<C>,
    settled: bool,
}

/// The refresher gave no answer in time.
#[derive(Debug)]
struct TimedOut(Duration);

/// The refresher panicked, or its task ended with the runtime.
#[derive(Debug)]
struct Interrupted;

/// The refresher brought the credential that was rejected.
#[derive(Debug)]
struct Unchanged;

/// Starts the flight as a task of its own, so that no caller who leaves takes it along.
pub(super) fn launch<C: Credential>(session: &Session<C>, launch: Launch<C>, runtime: &Handle) {
    let guard = Guard {
        session: session.clone(),
        flight: launch.flight,
        current: launch.context.current().cloned(),
        running: launch.running,
        settled: false,
    };
    // Entered here, in the task that caused the flight, and not in the one that runs it: the flight
    // inherits.
    let scope = Scope::enter(session.id(), Role::Flight);
    drop(runtime.spawn(scope.run(fly(guard, launch.context))));
}

/// What a waiter waits for. Subscribes at the call, before it looks at the outcome for the first
/// time: one that is written after that look is a change that the subscription reports.
pub(super) fn settled<C: Credential>(
    session: &Session<C>,
    flight: Flight,
) -> impl Future<Output = Outcome> + use<C> {
    let mut changes = session.changes();
    async move {
        loop {
            if let Some(outcome) = flight.outcome.get() {
                // It is written an instant before the state that belongs to it. Whoever hears of it
                // must find that state; the lock is free once it is there.
                drop(changes.borrow());
                return outcome;
            }
            if changes.changed().await.is_err() {
                // The guard of a flight holds the session, so that the channel closes after it has
                // settled.
                return flight.outcome.get().unwrap_or_else(|| {
                    Outcome::Failed(RefreshError::ambiguous(Interrupted), Duration::ZERO)
                });
            }
        }
    }
}

async fn fly<C: Credential>(guard: Guard<C>, context: RefreshContext<C>) {
    if context.is_fenced() {
        // Overtaken before it began. To use the old refresh token now would be to use it after it
        // was replaced.
        return;
    }
    let limit = guard.session.refresh_timeout();
    // The future of the refresher is gone at the end of this statement: when waiters hear of a
    // time-out, nothing of it runs on.
    let result =
        time::timeout(limit, async { guard.session.refresher().refresh(context).await }).await;
    guard.settle(result.unwrap_or_else(|_| Err(RefreshError::ambiguous(TimedOut(limit)))));
}

// === impl Guard ===

impl<C: Credential> Guard<C> {
    /// User code (`expires_at`, `is_same`) runs here, before the step. If it panics, `drop`
    /// settles.
    fn settle(mut self, result: Result<C, RefreshError>) {
        let result = result.map(|credential| self.session.hold(credential, Some(Instant::now())));
        let unchanged = match (&self.current, &result) {
            (Some(current), Ok(held)) if held.credential().is_same(current) => {
                Some(RefreshError::transient(Unchanged))
            }
            _ => None,
        };
        let now = self.session.now();
        self.finish(result, unchanged, now);
    }

    fn finish(
        &mut self,
        result: Result<Held<C>, RefreshError>,
        unchanged: Option<RefreshError>,
        now: Now,
    ) {
        self.settled = true;
        let requested = result.as_ref().err().and_then(RefreshError::retry_after);
        let wait = self.session.backoff(self.flight.attempt(), requested);
        let (settled, _hook) = self.session.step_without_flight(|state| {
            state.settle(&self.flight, &result, unchanged.as_ref(), wait, now)
        });
        // Overtaken by a replacement, it is not the newest; by a login, it has no hook.
        if let (Err(_), Ok(held), Some(Outcome::Ended(_))) =
            (settled, result, self.flight.outcome.get())
        {
            self.running.bring_late(held.credential().clone());
        }
    }
}

impl<C: Credential> Drop for Guard<C> {
    fn drop(&mut self) {
        if !self.settled {
            // Not the session's own clock: it is the user's code, which may be what has panicked.
            // By the earliest time there is, no credential has expired, and none is given up for an
            // interruption.
            let now = Now { wall: SystemTime::UNIX_EPOCH, instant: Instant::now() };
            self.finish(Err(RefreshError::ambiguous(Interrupted)), None, now);
        }
    }
}

// === impl TimedOut ===

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer within {:?}", self.0)
    }
}

impl error::Error for TimedOut {}

// === impl Interrupted ===

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the refresher panicked, or its runtime has shut down, or has no time enabled")
    }
}

impl error::Error for Interrupted {}

// === impl Unchanged ===

impl fmt::Display for Unchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the refresher brought the rejected credential again")
    }
}

impl error::Error for Unchanged {}
