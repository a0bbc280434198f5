use std::{mem, sync::Arc, time::Duration};

use redis::Client;
use tokio::{sync::watch, time};

use crate::store::{
    contract::Version,
    redis::{
        subscription,
        switchboard::{Hint, Switchboard},
    },
};

/// The hints of one store: one subscription for all of its listeners.
///
/// The subscription is a task that starts with the first listener and ends when none is left.
pub(super) struct Hints(Arc<Switchboard>);

/// Receives the hints of one channel.
pub(super) struct Listener {
    switchboard: Arc<Switchboard>,
    line: watch::Receiver<Hint>,
    /// The hint that this listener has taken in last.
    last: Hint,
}

/// How often a listener looks while its channel is subscribed to. A cluster may lose a message
/// between its nodes.
const POLL: Duration = Duration::from_secs(30);
/// How often a listener looks while there is no subscription.
const POLL_UNSUBSCRIBED: Duration = Duration::from_secs(2);

// === impl Hints ===

impl Hints {
    pub(super) fn new(nodes: Vec<Client>) -> Self {
        Self(Arc::new(Switchboard::new(nodes)))
    }

    /// Listens to a channel.
    pub(super) fn listen(&self, channel: String) -> Listener {
        let mut line = self.0.listen(channel);
        let last = *line.borrow_and_update();
        Listener { switchboard: self.0.clone(), line, last }
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        self.0.abort_task();
    }
}

// === impl Listener ===

impl Listener {
    /// Waits for a sign that the record may have another version. `true` where the sign names a
    /// newer one, and `false` where the caller has to look.
    ///
    /// A sign that comes between two calls is not missed: each call begins where the one before has
    /// ended, and the first one where the listener was made. So a caller that looks between two
    /// calls misses no change.
    pub(super) async fn hears_of_newer_than(&mut self, seen: Option<Version>) -> bool {
        loop {
            self.switchboard.ensure_task(|| {
                tokio::spawn(subscription::run(self.switchboard.clone())).abort_handle()
            });
            let limit = if self.line.borrow().is_subscribed { POLL } else { POLL_UNSUBSCRIBED };
            let Ok(Ok(())) = time::timeout(limit, self.line.changed()).await else {
                return false;
            };
            let hint = *self.line.borrow_and_update();
            let has_turned = hint.turns != mem::replace(&mut self.last, hint).turns;
            if hint.heard.is_some() && hint.heard > seen {
                return true;
            }
            // The echo of the version that the caller has is no news. Where the subscription was
            // lost in between, so may be the message that is.
            if has_turned || hint.heard.is_none() || hint.heard != seen {
                return false;
            }
        }
    }
}
