use std::sync::{Arc, Weak};

use tokio::sync::watch;

/// Counts the flights of one login that still run, fenced ones included. It also keeps the newest
/// credential that a fenced one of them brought.
///
/// The hook of an ended login waits for these flights: a credential that such a flight still
/// brings is the one to revoke.
///
/// The flights own the channel, and the state of the session only refers to it. A session whose
/// flights are over therefore holds no channel.
pub(in crate::session) struct FlightTracker<C>(Weak<LateCredential<C>>);

/// One running flight of a [`FlightTracker`].
pub(in crate::session) struct FlightToken<C> {
    late: Arc<LateCredential<C>>,
    /// `wait` returns when the last receiver is gone.
    _running: watch::Receiver<Option<Arc<C>>>,
}

/// The flights of an ended login that ran at its end.
pub(in crate::session) struct RunningFlights<C>(Option<Arc<LateCredential<C>>>);

/// The newest credential that a fenced flight brought. Each running flight has a receiver.
type LateCredential<C> = watch::Sender<Option<Arc<C>>>;

// === impl FlightTracker ===

impl<C> FlightTracker<C> {
    pub(in crate::session) fn new() -> Self {
        Self(Weak::new())
    }

    /// Makes the token of one more flight. The next state needs the token's
    /// [`tracker`](FlightToken::tracker), since the flight may be the first to run.
    pub(in crate::session) fn token(&self) -> FlightToken<C> {
        let late = self.0.upgrade().unwrap_or_else(|| Arc::new(watch::Sender::new(None)));
        let running = late.subscribe();
        FlightToken { late, _running: running }
    }

    /// The flights that run now.
    ///
    /// A flight drops its token after it has settled. A flight that the end of the login fences has
    /// not settled before, so it is among these.
    pub(in crate::session) fn running(&self) -> RunningFlights<C> {
        RunningFlights(self.0.upgrade())
    }
}

impl<C> Clone for FlightTracker<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

// === impl FlightToken ===

impl<C> FlightToken<C> {
    /// The tracker that counts this flight.
    pub(in crate::session) fn tracker(&self) -> FlightTracker<C> {
        FlightTracker(Arc::downgrade(&self.late))
    }

    /// Hands over the credential that a flight brought after a logout had fenced it.
    pub(in crate::session) fn bring_late(&self, credential: Arc<C>) {
        drop(self.late.send_replace(Some(credential)));
    }
}

// === impl RunningFlights ===

impl<C> RunningFlights<C> {
    /// Waits until none of the flights runs. Returns the credential that the last fenced one of
    /// them brought, if any.
    pub(in crate::session) async fn wait(&self) -> Option<Arc<C>> {
        let late = self.0.as_ref()?;
        late.closed().await;
        late.send_replace(None)
    }
}
