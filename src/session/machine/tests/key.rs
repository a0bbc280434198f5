use std::{
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use http::request::Parts;
use tokio::time::Instant;

use crate::{
    credential::contract::Credential,
    session::machine::{clock::Now, entry::Entry, timing::RenewalMargin},
};

/// A credential with a name and an expiry.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: u32,
    expires_at: Option<SystemTime>,
}

/// The start of the tests by the monotonic clock.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A time of the wall clock, in seconds from the start.
pub(super) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

/// A time of the monotonic clock, counted from the start.
pub(super) fn after(elapsed: Duration) -> Instant {
    *START + elapsed
}

/// A time of both clocks, in seconds from the start.
pub(super) fn both(seconds: u64) -> Now {
    Now { wall: at(seconds), instant: after(Duration::from_secs(seconds)) }
}

/// An entry for a key that the application brings, without a renewal margin.
pub(super) fn key(
    name: u32,
    expires_at: Option<SystemTime>,
    arrival: SystemTime,
) -> Arc<Entry<Key>> {
    let key = Arc::new(Key { name, expires_at });
    Arc::new(Entry::new(key, None, arrival, |expires_at| expires_at))
}

/// An entry for a key with a renewal margin. A flight brought it if `unproven_since` is set.
pub(super) fn key_with(
    name: u32,
    expires_at: Option<SystemTime>,
    arrival: SystemTime,
    unproven_since: Option<Instant>,
    margin: RenewalMargin,
) -> Arc<Entry<Key>> {
    let key = Arc::new(Key { name, expires_at });
    Arc::new(Entry::new(key, unproven_since, arrival, |expires_at| {
        margin.renew_at(arrival, expires_at)
    }))
}

// === impl Key ===

impl Credential for Key {
    fn apply(&self, _: &mut Parts) {}

    fn expires_at(&self, _: SystemTime) -> Option<SystemTime> {
        self.expires_at
    }
}
