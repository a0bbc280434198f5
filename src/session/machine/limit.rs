use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

/// How many refreshes may succeed within a window before the next one has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    refreshes: usize,
    window: Duration,
}

/// When the last refreshes of a login succeeded, the oldest first, as many as the limit looks back
/// at.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(Arc<[Instant]>);

/// As many as are remembered at the most.
const MOST: usize = 1000;

// === impl Limit ===

impl Limit {
    pub(in crate::session) const DEFAULT: Self =
        Self { refreshes: 5, window: Duration::from_secs(30) };

    pub(in crate::session) fn new(refreshes: usize, window: Duration) -> Self {
        Self { refreshes: refreshes.clamp(1, MOST), window }
    }

    pub(in crate::session) fn window(self) -> Duration {
        self.window
    }
}

// === impl History ===

impl History {
    /// With one more success.
    pub(in crate::session) fn with(&self, success: Instant, limit: Limit) -> Self {
        let forgotten = (self.0.len() + 1).saturating_sub(limit.refreshes);
        Self(self.0[forgotten..].iter().copied().chain([success]).collect())
    }

    /// How long the next refresh has to wait, if it has to.
    pub(in crate::session) fn wait(&self, limit: Limit, now: Instant) -> Option<Duration> {
        let oldest = self.0.len().checked_sub(limit.refreshes).map(|at| self.0[at])?;
        limit
            .window
            .checked_sub(now.saturating_duration_since(oldest))
            .filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_limit_is_reached_when_that_many_succeeded_within_the_window() {
        let (limit, start) = (Limit::new(2, 10 * SECOND), Instant::now());
        let history = History::default();
        assert_eq!(history.wait(limit, start), None);
        let history = history.with(start, limit);
        assert_eq!(history.wait(limit, start), None);
        let history = history.with(start + 4 * SECOND, limit);
        assert_eq!(history.wait(limit, start + 4 * SECOND), Some(6 * SECOND));
        assert_eq!(history.wait(limit, start + 10 * SECOND), None);
        let history = history.with(start + 10 * SECOND, limit);
        assert_eq!(history.wait(limit, start + 10 * SECOND), Some(4 * SECOND));
    }

    #[test]
    fn no_more_is_remembered_than_the_limit_looks_back_at() {
        let (limit, start) = (Limit::new(3, SECOND), Instant::now());
        let history =
            (0..100).fold(History::default(), |history, n| history.with(start + n * SECOND, limit));
        assert_eq!(history.0.len(), 3);
    }

    #[test]
    fn extreme_limits_are_clamped_and_overflow_nothing() {
        let start = Instant::now();
        let none = Limit::new(0, Duration::MAX);
        let history = History::default();
        assert_eq!(history.wait(none, start), None, "a limit of none allows one");
        assert!(history.with(start, none).wait(none, start + SECOND).is_some());
        let endless = Limit::new(usize::MAX, Duration::ZERO);
        assert_eq!(history.with(start, endless).wait(endless, start), None);
    }
}
