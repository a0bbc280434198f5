use std::sync::Arc;

use tokio::sync::watch;

/// The flights of one login that are not over yet, those that were fenced off included, and the
/// newest credential that one of them brought too late.
///
/// The hook that ends a login waits for them: what a flight still brings home is what must be
/// revoked.
pub(crate) struct Outstanding<C>(Arc<watch::Sender<Option<Arc<C>>>>);

/// Held by a flight of the login until it is over.
pub(crate) struct Running<C> {
    login: Outstanding<C>,
    _running: watch::Receiver<Option<Arc<C>>>,
}

// === impl Outstanding ===

impl<C> Outstanding<C> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    pub(crate) fn enter(&self) -> Running<C> {
        Running { login: self.clone(), _running: self.0.subscribe() }
    }

    /// Waits until no flight of the login runs any more, and hands out what the last one brought
    /// too late.
    pub(crate) async fn finished(&self) -> Option<Arc<C>> {
        self.0.closed().await;
        self.0.send_replace(None)
    }
}

impl<C> Clone for Outstanding<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

// === impl Running ===

impl<C> Running<C> {
    /// The credential of a flight that a logout overtook.
    pub(crate) fn bring_late(&self, credential: Arc<C>) {
        drop(self.login.0.send_replace(Some(credential)));
    }
}
