use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder, ExponentialBuilder};

/// How long before its expiry a credential is renewed.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct RenewalMargin {
    pub(in crate::session) margin: Duration,
    /// The fraction of the margin over which the start is spread.
    pub(in crate::session) jitter: f64,
    /// The shortest time between the arrival of a credential and its renewal: the pace that the
    /// refresh limit allows.
    pub(in crate::session) min_age: Duration,
}

/// How long a failed flight delays the next one.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct Backoff {
    min: Duration,
    max: Duration,
}

/// The pause between two attempts of one flight: short enough for a request that waits, and spread
/// so that a fleet does not try again together.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_millis(300);
/// The longest `Retry-After` that a flight waits for itself.
const MAX_REQUESTED_PAUSE: Duration = Duration::from_secs(2);

const MIN_BACKOFF: Duration = Duration::from_millis(1);
/// The longest delay, even when the server asks for more.
const MAX_BACKOFF: Duration = Duration::from_secs(60 * 60);

/// The pause before the next attempt of a flight. `None` if the server has asked for a longer one
/// than a flight waits for.
pub(in crate::session) fn attempt_pause(requested: Option<Duration>) -> Option<Duration> {
    let spread = (MAX_PAUSE - MIN_PAUSE).mul_f64(fastrand::f64());
    match requested {
        Some(requested) if requested > MAX_REQUESTED_PAUSE => None,
        Some(requested) => Some(requested.max(MIN_PAUSE + spread)),
        None => Some(MIN_PAUSE + spread),
    }
}

// === impl RenewalMargin ===

impl RenewalMargin {
    pub(in crate::session) const DEFAULT: Self =
        Self { margin: Duration::ZERO, jitter: 0.2, min_age: Duration::ZERO };

    /// The start of the renewal of a credential: never in the first half of its lifetime, and never
    /// before its minimum age. Renewals that used the refresh limit up would leave none for the
    /// expiry itself.
    pub(in crate::session) fn renew_at(
        self,
        arrival: SystemTime,
        expires_at: SystemTime,
    ) -> SystemTime {
        let lifetime = expires_at.duration_since(arrival).unwrap_or_default();
        let margin = self.margin.min(lifetime / 2).min(lifetime.saturating_sub(self.min_age));
        let jitter = margin.mul_f64(self.jitter * fastrand::f64());
        expires_at - margin + jitter
    }
}

// === impl Backoff ===

impl Backoff {
    pub(in crate::session) const DEFAULT: Self =
        Self { min: Duration::from_secs(1), max: Duration::from_secs(60) };

    pub(in crate::session) fn new(min: Duration, max: Duration) -> Self {
        let min = min.clamp(MIN_BACKOFF, MAX_BACKOFF);
        Self { min, max: max.clamp(min, MAX_BACKOFF) }
    }

    /// The delay after this many consecutive failures. `requested` is the delay that the server has
    /// asked for.
    pub(in crate::session) fn wait(self, failures: u32, requested: Option<Duration>) -> Duration {
        if let Some(requested) = requested {
            return requested.clamp(self.min, MAX_BACKOFF);
        }
        let mut waits = ExponentialBuilder::new()
            .with_min_delay(self.min)
            .with_max_delay(self.max)
            .with_jitter()
            .without_max_times()
            .build();
        // 32 doublings of the shortest delay are far beyond the longest one.
        let nth = failures.clamp(1, 32) as usize - 1;
        waits.nth(nth).map_or(self.max, |wait| wait.min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn renewals_start_within_the_margin_and_spread_over_its_fraction() {
        let arrival = SystemTime::UNIX_EPOCH;
        let expires_at = arrival + 60 * MINUTE;
        let margin = RenewalMargin { margin: 10 * MINUTE, jitter: 0.5, ..RenewalMargin::DEFAULT };
        let due: Vec<_> = (0..1000).map(|_| margin.renew_at(arrival, expires_at)).collect();
        let (first, last) = (*due.iter().min().unwrap(), *due.iter().max().unwrap());
        assert!(first >= arrival + 50 * MINUTE && last < arrival + 55 * MINUTE);
        assert!(last.duration_since(first).unwrap() > 4 * MINUTE, "a fleet is spread");
    }

    #[test]
    fn the_margin_is_at_most_half_the_lifetime() {
        let arrival = SystemTime::UNIX_EPOCH;
        let margin = RenewalMargin { margin: Duration::MAX, jitter: 0.0, ..RenewalMargin::DEFAULT };
        assert_eq!(margin.renew_at(arrival, arrival + MINUTE), arrival + MINUTE / 2);
        // The expiry is before the arrival: the clock has jumped back, or the credential is old.
        assert_eq!(margin.renew_at(arrival + MINUTE, arrival), arrival);
    }

    #[test]
    fn a_renewal_never_starts_before_the_minimum_age() {
        let arrival = SystemTime::UNIX_EPOCH;
        let of_age = |min_age| RenewalMargin { margin: Duration::MAX, jitter: 0.0, min_age };
        let renew_at = |min_age| of_age(min_age).renew_at(arrival, arrival + MINUTE);
        assert_eq!(renew_at(MINUTE / 3), arrival + MINUTE / 2);
        assert_eq!(renew_at(MINUTE / 3 * 2), arrival + MINUTE / 3 * 2);
        assert_eq!(renew_at(MINUTE), arrival + MINUTE);
        assert_eq!(renew_at(Duration::MAX), arrival + MINUTE);
    }

    #[test]
    fn a_flight_pauses_briefly_between_attempts_and_waits_for_two_requested_seconds_at_most() {
        for _ in 0..100 {
            let pause = attempt_pause(None).unwrap();
            assert!((MIN_PAUSE..MAX_PAUSE).contains(&pause), "{pause:?}");
            assert!(attempt_pause(Some(Duration::ZERO)).unwrap() >= MIN_PAUSE);
        }
        let two_seconds = Duration::from_secs(2);
        assert_eq!(attempt_pause(Some(two_seconds)), Some(two_seconds));
        assert_eq!(attempt_pause(Some(two_seconds + Duration::from_nanos(1))), None);
        assert_eq!(attempt_pause(Some(MINUTE)), None);
    }

    #[test]
    fn back_off_grows_from_min_to_max_with_jitter() {
        let backoff = Backoff::new(Duration::from_secs(1), MINUTE);
        for (failures, least, most) in
            [(1, 1, 2), (2, 2, 4), (3, 4, 8), (7, 60, 60), (u32::MAX, 60, 60)]
        {
            for _ in 0..100 {
                let wait = backoff.wait(failures, None).as_secs_f64();
                assert!((f64::from(least)..=f64::from(most)).contains(&wait), "{failures}: {wait}");
            }
        }
    }

    #[test]
    fn a_requested_delay_is_clamped_to_the_minimum_and_an_hour() {
        let backoff = Backoff::DEFAULT;
        assert_eq!(backoff.wait(9, Some(Duration::ZERO)), Backoff::DEFAULT.min);
        assert_eq!(backoff.wait(1, Some(5 * MINUTE)), 5 * MINUTE);
        assert_eq!(backoff.wait(1, Some(365 * 24 * 60 * MINUTE)), 60 * MINUTE);
    }

    #[test]
    fn extreme_back_offs_are_clamped() {
        let none = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert_eq!(none.wait(1, None), MIN_BACKOFF);
        let endless = Backoff::new(Duration::MAX, Duration::MAX);
        assert_eq!(endless.wait(u32::MAX, None), MAX_BACKOFF);
    }
}
