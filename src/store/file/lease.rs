use std::{
    collections::HashMap,
    fs,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use bytes::{BufMut, Bytes, BytesMut};

use crate::store::{
    clock::millis_since_1970,
    contract::Leased,
    error::StoreError,
    file::directory::{Files, Lock},
    frame::{self, Kind, Reader},
};

/// The leases that holders of this process have.
///
/// A lease is a small file with a holder and a time. Its holder also keeps a lock, which the kernel
/// releases when the process dies, so that no process waits for a dead one.
#[derive(Default)]
pub(super) struct Leases(Mutex<HashMap<(String, String), Option<Lock>>>);

/// Times are milliseconds since 1970: all processes of one directory share a clock.
struct FileLease {
    until: u64,
    ttl: u64,
    holder: String,
}

const KIND: Kind = Kind { tag: *b"leas", format: 1 };

// === impl Leases ===

impl Leases {
    pub(super) fn take(
        &self,
        files: &Files,
        holder: &str,
        ttl: Duration,
    ) -> Result<Leased, StoreError> {
        let _lock = files.lock()?;
        let key = (files.stem().to_owned(), holder.to_owned());
        let now = millis_since_1970(SystemTime::now());
        let mut alive = None;
        // A lease only saves calls, so a damaged one counts as none.
        match read(files).filter(|lease| lease.holder != holder) {
            Some(_) if ttl.is_zero() => return Ok(Leased::Held),
            Some(other) => {
                if let Some(left) = other.left(now) {
                    match files.try_lock_alive()? {
                        None => return Ok(Leased::Busy(left)),
                        lock => alive = lock,
                    }
                }
            }
            None => {}
        }
        let mut held = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if ttl.is_zero() {
            held.remove(&key);
            let _ = fs::remove_file(files.lease());
            return Ok(Leased::Held);
        }
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        let lease = FileLease { until: now.saturating_add(ttl), ttl, holder: holder.to_owned() };
        // A lease that a crash of the machine takes away has no holder any more.
        files.replace_for_now(&files.lease(), &lease.encode()?)?;
        // Holders of this process whose lease is over.
        held.retain(|(stem, other), _| stem != files.stem() || other == holder);
        let lock = held.entry(key).or_default();
        if lock.is_none() {
            // Not to be had where the holder before has overslept its lease.
            *lock = alive.map_or_else(|| files.try_lock_alive(), |alive| Ok(Some(alive)))?;
        }
        Ok(Leased::Held)
    }
}

fn read(files: &Files) -> Option<FileLease> {
    FileLease::decode(&files.read(&files.lease()).ok()??)
}

// === impl FileLease ===

impl FileLease {
    /// The rest of this lease. A lease that would last longer than it was taken for is from before
    /// the clock went back, and has ended.
    fn left(&self, now: u64) -> Option<Duration> {
        let left = self.until.checked_sub(now)?;
        (left > 0 && left <= self.ttl).then(|| Duration::from_millis(left))
    }

    fn encode(&self) -> Result<Bytes, StoreError> {
        let mut body = BytesMut::new();
        body.put_u64_le(self.until);
        body.put_u64_le(self.ttl);
        body.put_slice(self.holder.as_bytes());
        frame::seal(KIND, &body)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut body = Reader(frame::open(KIND, bytes).ok()?);
        let (until, ttl) = (body.u64()?, body.u64()?);
        Some(Self { until, ttl, holder: str::from_utf8(body.0).ok()?.to_owned() })
    }
}
