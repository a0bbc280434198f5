use std::sync::Arc;

use tokio::sync::watch;

/// Counts the flights of one login that still run, fenced ones included. It also keeps the newest
/// credential that a fenced one of them brought.
///
/// The hook of an ended login waits for these flights: a credential that such a flight still
/// brings is the one to revoke.
pub(crate) struct FlightTracker<C>(Arc<watch::Sender<Option<Arc<C>>>>);

/// One running flight of a [`FlightTracker`].
pub(crate) struct FlightToken<C> {
    tracker: FlightTracker<C>,
    /// `wait` returns when the last receiver is gone.
    _running: watch::Receiver<Option<Arc<C>>>,
}

// === impl FlightTracker ===

impl<C> FlightTracker<C> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    pub(crate) fn token(&self) -> FlightToken<C> {
        FlightToken { tracker: self.clone(), _running: self.0.subscribe() }
    }

    /// Waits until no flight of the login runs. Returns the credential that the last fenced one of
    /// them brought, if any.
    pub(crate) async fn wait(&self) -> Option<Arc<C>> {
        self.0.closed().await;
        self.0.send_replace(None)
    }
}

impl<C> Clone for FlightTracker<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

// === impl FlightToken ===

impl<C> FlightToken<C> {
    /// Hands over the credential that a flight brought after a logout had fenced it.
    pub(crate) fn bring_late(&self, credential: Arc<C>) {
        drop(self.tracker.0.send_replace(Some(credential)));
    }
}
