use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::watch, time::Instant};

use crate::{
    refresher::contract::BoxFuture,
    store::{
        contract::{Leased, Record, Store, Swapped},
        error::StoreError,
        frame,
        version::Version,
    },
};

/// A [`Store`] in memory: for tests, and for many sessions of one process.
///
/// Share it by an [`Arc`](std::sync::Arc). Names are kept until the store is dropped, since a
/// deleted record's version must not be used again.
pub struct Memory {
    shelves: Mutex<HashMap<String, Shelf>>,
    /// Counts the writes to all records, as the hint for [`Store::changed`].
    writes: watch::Sender<u64>,
}

/// The record and the lease of one name.
#[derive(Default)]
struct Shelf {
    last: u64,
    bytes: Option<Bytes>,
    lease: Option<(String, Instant)>,
}

/// A longer lease could end beyond the clock.
const MAX_TTL: Duration = Duration::from_secs(u32::MAX as u64);

// === impl Memory ===

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self { shelves: Mutex::default(), writes: watch::Sender::new(0) }
    }

    fn shelves(&self) -> MutexGuard<'_, HashMap<String, Shelf>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, name: &str) -> Option<Record> {
        self.shelves().get(name).and_then(Shelf::record)
    }

    fn write(
        &self,
        name: &str,
        seen: Option<Version>,
        next: Option<Bytes>,
    ) -> Result<Swapped, StoreError> {
        frame::check_size(next.as_ref().map_or(0, Bytes::len))?;
        let mut shelves = self.shelves();
        let shelf = shelves.entry(name.to_owned()).or_default();
        let found = shelf.record();
        if found.as_ref().map(Record::version) != seen {
            return Ok(Swapped::Lost(found));
        }
        shelf.last += 1;
        shelf.bytes = next;
        let version = Version::from_u64(shelf.last);
        drop(shelves);
        self.writes.send_modify(|writes| *writes += 1);
        Ok(Swapped::Done(version))
    }

    fn take(&self, name: &str, holder: &str, ttl: Duration) -> Leased {
        let now = Instant::now();
        let mut shelves = self.shelves();
        let lease = &mut shelves.entry(name.to_owned()).or_default().lease;
        match lease {
            Some((other, until)) if other != holder && *until > now => {
                if ttl.is_zero() {
                    Leased::Held
                } else {
                    Leased::Busy(*until - now)
                }
            }
            _ => {
                let until = now + ttl.min(MAX_TTL);
                *lease = (!ttl.is_zero()).then(|| (holder.to_owned(), until));
                Leased::Held
            }
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for Memory {
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async { Ok(self.record(name)) })
    }

    fn swap<'a>(
        &'a self,
        name: &'a str,
        seen: Option<Version>,
        next: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Swapped, StoreError>> {
        Box::pin(async move { self.write(name, seen, next) })
    }

    fn lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Leased, StoreError>> {
        Box::pin(async move { Ok(self.take(name, holder, ttl)) })
    }

    fn changed<'a>(&'a self, name: &'a str, seen: Option<Version>) -> BoxFuture<'a, ()> {
        let mut writes = self.writes.subscribe();
        Box::pin(async move {
            while self.record(name).map(|record| record.version()) == seen {
                if writes.changed().await.is_err() {
                    return;
                }
            }
        })
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

// === impl Shelf ===

impl Shelf {
    fn record(&self) -> Option<Record> {
        let bytes = self.bytes.clone()?;
        Some(Record::new(Version::from_u64(self.last), bytes))
    }
}
