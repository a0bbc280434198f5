//! The time of day, for the client and the servers alike.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

/// Stands still unless a scene moves it, so that hours pass without a sleep. A real program has
/// [`SystemTime::now`] and no such thing.
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
