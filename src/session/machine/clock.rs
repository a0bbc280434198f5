use std::{cell::OnceCell, fmt, time::SystemTime};

use tokio::time::Instant;

/// What time it is, by both clocks.
///
/// Credentials expire by the wall clock, which goes on while a machine sleeps, and which may jump.
/// Back-off and limits go by the monotonic one, which does neither.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) wall: SystemTime,
    pub(crate) instant: Instant,
}

/// What time it is, read when somebody asks for the first time.
pub(in crate::session) struct LazyNow<'a> {
    clock: &'a Clock,
    read: OnceCell<Now>,
}

/// The wall clock of a session: the one seam through which it is read.
pub(in crate::session) struct Clock(Box<dyn Fn() -> SystemTime + Send + Sync>);

// === impl LazyNow ===

impl<'a> LazyNow<'a> {
    pub(in crate::session) fn new(clock: &'a Clock) -> Self {
        Self { clock, read: OnceCell::new() }
    }

    /// So that it is not read later.
    pub(in crate::session) fn read(&self) {
        self.get();
    }

    pub(in crate::session) fn is_read(&self) -> bool {
        self.read.get().is_some()
    }

    pub(in crate::session) fn get(&self) -> Now {
        *self.read.get_or_init(|| self.clock.now())
    }
}

// === impl Clock ===

impl Clock {
    pub(in crate::session) fn new(wall: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Box::new(wall))
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
