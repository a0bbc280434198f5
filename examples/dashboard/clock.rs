//! The time of day in the client and in the servers.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

/// A clock that moves only when a scene advances it, so that hours pass without a sleep. A real
/// program uses [`SystemTime::now`].
#[derive(Clone)]
pub(crate) struct WallClock(Arc<Mutex<SystemTime>>);

impl WallClock {
    pub(crate) fn start() -> Self {
        Self(Arc::new(Mutex::new(SystemTime::now())))
    }

    pub(crate) fn now(&self) -> SystemTime {
        *self.time()
    }

    pub(crate) fn advance(&self, by: Duration) {
        *self.time() += by;
    }

    fn time(&self) -> MutexGuard<'_, SystemTime> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
