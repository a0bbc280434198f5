use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

/// How many refreshes may succeed within a window before the next one has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefreshLimit {
    refreshes: usize,
    window: Duration,
}

/// The times of the last successful refreshes of a login, oldest first. As many as the limit looks
/// back at.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefreshHistory(Arc<[Instant]>);

/// The longest history that a session keeps.
const MAX_HISTORY: usize = 1000;

// === impl RefreshLimit ===

impl RefreshLimit {
    pub(in crate::session) const DEFAULT: Self =
        Self { refreshes: 5, window: Duration::from_secs(30) };

    pub(in crate::session) fn new(refreshes: usize, window: Duration) -> Self {
        Self { refreshes: refreshes.clamp(1, MAX_HISTORY), window }
    }

    pub(in crate::session) fn window(self) -> Duration {
        self.window
    }

    /// The time between two refreshes that the limit allows for any length of time.
    pub(in crate::session) fn pace(self) -> Duration {
        self.window / u32::try_from(self.refreshes).expect("the number of refreshes is clamped")
    }
}

// === impl RefreshHistory ===

impl RefreshHistory {
    /// This history with one more success.
    pub(in crate::session) fn with(&self, success: Instant, limit: RefreshLimit) -> Self {
        let forgotten = (self.0.len() + 1).saturating_sub(limit.refreshes);
        Self(self.0[forgotten..].iter().copied().chain([success]).collect())
    }

    /// The time until the limit allows the next refresh. `None` if it does so now.
    pub(in crate::session) fn wait(&self, limit: RefreshLimit, now: Instant) -> Option<Duration> {
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
    fn the_next_refresh_waits_when_the_limit_is_reached_within_the_window() {
        let (limit, start) = (RefreshLimit::new(2, 10 * SECOND), Instant::now());
        let history = RefreshHistory::default();
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
    fn the_history_is_no_longer_than_the_limit_needs() {
        let (limit, start) = (RefreshLimit::new(3, SECOND), Instant::now());
        let history = (0..100)
            .fold(RefreshHistory::default(), |history, n| history.with(start + n * SECOND, limit));
        assert_eq!(history.0.len(), 3);
    }

    #[test]
    fn extreme_limits_are_clamped_and_do_not_overflow() {
        let start = Instant::now();
        let none = RefreshLimit::new(0, Duration::MAX);
        let history = RefreshHistory::default();
        assert_eq!(history.wait(none, start), None, "a limit of zero allows one refresh");
        assert!(history.with(start, none).wait(none, start + SECOND).is_some());
        let endless = RefreshLimit::new(usize::MAX, Duration::ZERO);
        assert_eq!(history.with(start, endless).wait(endless, start), None);
    }
}
