use crate::{credential::Credential, session::state::Held};
use http::request::Parts;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A credential with a name and an expiry, and nothing else.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: u32,
    expires_at: Option<SystemTime>,
}

/// So many seconds into the test.
pub(super) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

/// A key that arrives now.
pub(super) fn key(name: u32, expires_at: Option<SystemTime>, now: SystemTime) -> Held<Key> {
    Held::new(Arc::new(Key { name, expires_at }), now)
}

// === impl Key ===

impl Credential for Key {
    fn apply(&self, _: &mut Parts) {}

    fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }
}
