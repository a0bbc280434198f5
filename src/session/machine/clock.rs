use std::{cell::OnceCell, fmt, sync::Arc, time::SystemTime};

use tokio::time::Instant;

/// The current time by both clocks.
///
/// Expiry goes by the wall clock, which continues while a machine sleeps but may jump. Back-off and
/// limits go by the monotonic clock, which does neither.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) wall: SystemTime,
    pub(crate) instant: Instant,
}

/// The current time, read on first use and constant from then on.
pub(in crate::session) struct LazyNow<'a> {
    clock: &'a Clock,
    now: OnceCell<Now>,
}

/// The wall clock of a session. The session reads the wall clock only through this type.
#[derive(Clone)]
pub(in crate::session) struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

// === impl LazyNow ===

impl<'a> LazyNow<'a> {
    pub(in crate::session) fn new(clock: &'a Clock) -> Self {
        Self { clock, now: OnceCell::new() }
    }

    pub(in crate::session) fn is_read(&self) -> bool {
        self.now.get().is_some()
    }

    /// Reads the clock on the first call. This runs the user's code.
    pub(in crate::session) fn get(&self) -> Now {
        *self.now.get_or_init(|| self.clock.now())
    }
}

// === impl Clock ===

impl Clock {
    pub(in crate::session) fn new(wall: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(wall))
    }

    /// The clock as a function, for the context of a refresher.
    pub(in crate::session) fn as_fn(&self) -> Arc<dyn Fn() -> SystemTime + Send + Sync> {
        self.0.clone()
    }

    pub(in crate::session) fn wall(&self) -> SystemTime {
        (self.0)()
    }

    pub(in crate::session) fn now(&self) -> Now {
        Now { wall: self.wall(), instant: Instant::now() }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").finish_non_exhaustive()
    }
}
