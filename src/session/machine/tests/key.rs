use std::{
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use http::request::Parts;
use tokio::time::Instant;

use crate::{
    credential::contract::Credential,
    session::machine::{clock::Now, held::Held, timing::Ahead},
};

/// A credential with a name and an expiry, and nothing else.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: u32,
    expires_at: Option<SystemTime>,
}

/// When the test began, by the monotonic clock.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// So many seconds into the test, by the wall clock.
pub(super) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

/// So long into the test, by the monotonic clock.
pub(super) fn after(elapsed: Duration) -> Instant {
    *START + elapsed
}

/// So many seconds into the test, by both clocks.
pub(super) fn both(seconds: u64) -> Now {
    Now { wall: at(seconds), instant: after(Duration::from_secs(seconds)) }
}

/// A key that the application brings, and that isn't renewed ahead of its expiry.
pub(super) fn key(name: u32, expires_at: Option<SystemTime>, arrival: SystemTime) -> Held<Key> {
    Held::new(Arc::new(Key { name, expires_at }), None, arrival, |expires_at| expires_at)
}

/// A key that a flight has brought, if it says when, and whose renewal is due ahead of its expiry.
pub(super) fn key_with(
    name: u32,
    expires_at: Option<SystemTime>,
    arrival: SystemTime,
    refreshed_at: Option<Instant>,
    ahead: Ahead,
) -> Held<Key> {
    let key = Arc::new(Key { name, expires_at });
    Held::new(key, refreshed_at, arrival, |expires_at| ahead.renew_at(arrival, expires_at))
}

// === impl Key ===

impl Credential for Key {
    fn apply(&self, _: &mut Parts) {}

    fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }
}
