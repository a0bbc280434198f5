use std::{
    hash::{BuildHasher, Hash, RandomState},
    iter, mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::time::Instant;

use crate::{
    credential::contract::Credential,
    error::Error,
    observe::{event::EventKind, observers::Observers},
    sessions::{
        opening::Opening,
        settings::RegistrySettings,
        shard::{Content, SEARCH, Shard},
        source::Opened,
        table::{PlaceId, Tier},
        tenant::{Due, Limits, Lookup, Moment, Slot, Tenant},
    },
};

/// The shared core of a registry.
pub(super) struct Registry<K, C> {
    settings: RegistrySettings<K, C>,
    hasher: RandomState,
    shards: Box<[Shard<K, C>]>,
    /// The entries of all shards, and places that are reserved for entries to come.
    len: AtomicUsize,
    built_at: Instant,
}

/// A place for an entry that is not inserted yet.
struct Reservation<'a>(&'a AtomicUsize);

/// A registry of up to this size is exact in what it evicts, and has one shard.
const EXACT: usize = 4096;
const SHARDS: usize = 64;

// === impl Registry ===

impl<K, C> Registry<K, C> {
    pub(super) fn new(settings: RegistrySettings<K, C>) -> Self {
        let shards = if settings.capacity > EXACT { SHARDS } else { 1 };
        Self {
            settings,
            hasher: RandomState::new(),
            shards: iter::repeat_with(Shard::new).take(shards).collect(),
            len: AtomicUsize::new(0),
            built_at: Instant::now(),
        }
    }

    pub(super) fn settings(&self) -> &RegistrySettings<K, C> {
        &self.settings
    }

    /// The observers of the registry and of all its sessions.
    pub(super) fn observers(&self) -> &Observers {
        self.settings.template.observers()
    }

    pub(super) fn shards(&self) -> &[Shard<K, C>] {
        &self.shards
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Counts entries that were removed.
    pub(super) fn removed(&self, entries: usize) {
        self.len.fetch_sub(entries, Ordering::Relaxed);
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            idle_timeout: self.settings.idle_timeout,
            lifetime: self.settings.lifetime,
            loads: self.settings.source.is_some(),
        }
    }

    pub(super) fn now(&self) -> Moment {
        let elapsed = Instant::now().saturating_duration_since(self.built_at);
        Moment(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    fn shard_number(&self, hash: u64) -> usize {
        // The table of a shard uses the upper bits and the lower ones.
        (hash >> 32) as usize % self.shards.len()
    }
}

impl<K: Hash, C> Registry<K, C> {
    /// The hash of a key, and its shard. Runs the user's code.
    pub(super) fn shard_of(&self, key: &K) -> (u64, &Shard<K, C>) {
        let hash = self.hasher.hash_one(key);
        (hash, &self.shards[self.shard_number(hash)])
    }
}

impl<K, C> Registry<K, C>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    C: Credential,
{
    /// Finds the session of a key, or its load, without making either. The session counts as used.
    pub(super) fn find(&self, key: &K) -> Option<Lookup<C>> {
        let (hash, shard) = self.shard_of(key);
        let now = self.now();
        let mut content = shard.lock();
        let id = content.table.find(hash, key)?;
        let (lookup, due) = self.hit(&mut content, id, now);
        drop(content);
        Self::end(&lookup, &due);
        Some(lookup)
    }

    /// Makes the session of a key without a load, unless the registry has come to have the key.
    pub(super) fn insert_new(&self, key: &K) -> Result<Lookup<C>, Error> {
        let opened = self.settings.make(key);
        let entry = Slot::Open(Tenant::new(opened.clone(), self.now()));
        Ok(self.insert(key, entry, Tier::Guest)?.unwrap_or(Lookup::Open(opened)))
    }

    /// Finds the session of a key, and makes sure that a load in progress ends logged out.
    pub(super) fn find_to_log_out(&self, key: &K) -> Option<Lookup<C>> {
        let (hash, shard) = self.shard_of(key);
        let content = shard.lock();
        let id = content.table.find(hash, key)?;
        let slot = content.table.value(id);
        if let Slot::Opening(opening) = slot {
            opening.log_out();
        }
        Some(slot.lookup())
    }

    /// Forgets the session of a key, if nothing uses it and its login is over or can be loaded
    /// again. `false` if the registry still has the key.
    pub(super) fn remove(&self, key: &K) -> bool {
        let (hash, shard) = self.shard_of(key);
        let (limits, now) = (self.limits(), self.now());
        let mut content = shard.lock();
        let Some(id) = content.table.find(hash, key) else { return true };
        let tier = content.table.tier(id);
        let may_go = match content.table.value_mut(id) {
            Slot::Opening(_) => false,
            Slot::Open(tenant) => tenant.may_be_forgotten(limits, now),
        };
        let forgotten = if may_go { content.forget(id, tier) } else { None };
        // The entry is dropped without the lock.
        drop(content);
        let is_gone = forgotten.is_some();
        self.removed(usize::from(is_gone));
        is_gone
    }

    /// Sweeps a slice of a shard. `false` if the shard has no such place.
    pub(super) fn sweep(&self, shard: usize, place: usize) -> bool {
        let (limits, now) = (self.limits(), self.now());
        let mut content = self.shards[shard].lock();
        if place >= content.table.places() {
            return false;
        }
        let swept = content.sweep(place, limits, now);
        drop(content);
        for (opened, login, reason) in swept.ended {
            opened.end_login(login, &reason);
        }
        self.removed(swept.forgotten.len());
        true
    }

    /// Notes that the session of a key has been used, and whether it has a login now.
    pub(super) fn note(&self, key: &K) {
        drop(self.find(key));
    }

    /// A load has ended.
    pub(super) fn opened(
        &self,
        key: &K,
        opening: &Arc<Opening<C>>,
        outcome: Result<Opened<C>, Error>,
    ) {
        let (hash, shard) = self.shard_of(key);
        let mut must_end = false;
        let removed = loop {
            if let (true, Ok(opened)) = (must_end, &outcome) {
                drop(opened.log_out());
            }
            let mut content = shard.lock();
            // Read under the lock under which a logout writes it: a logout that comes later finds
            // the session.
            if opening.is_logged_out() && !must_end {
                must_end = true;
                continue;
            }
            let Some(id) = content.table.find(hash, key) else { break None };
            break match &outcome {
                Ok(opened) => {
                    let tenant = Tenant::new(opened.clone(), self.now());
                    let tier = tenant.tier();
                    *content.table.value_mut(id) = Slot::Open(tenant);
                    content.table.touch(id, tier);
                    None
                }
                Err(_) => Some(content.table.remove(id)),
            };
        };
        if removed.is_some() {
            self.removed(1);
        }
        opening.settle(outcome);
    }

    /// Inserts an entry, unless the key has one: then that one is the answer.
    pub(super) fn insert(
        &self,
        key: &K,
        slot: Slot<C>,
        tier: Tier,
    ) -> Result<Option<Lookup<C>>, Error> {
        let (hash, shard) = self.shard_of(key);
        let reservation = self.reserve(hash)?;
        let (owned, now) = (key.clone(), self.now());
        let mut content = shard.lock();
        if let Some(id) = content.table.find(hash, key) {
            let (lookup, due) = self.hit(&mut content, id, now);
            drop(content);
            Self::end(&lookup, &due);
            return Ok(Some(lookup));
        }
        content.table.insert(hash, owned, slot, tier);
        drop(content);
        reservation.keep();
        Ok(None)
    }

    /// The answer for an entry that is there, and what is due for it.
    fn hit(&self, content: &mut Content<K, C>, id: PlaceId, now: Moment) -> (Lookup<C>, Due) {
        let due = match content.table.value_mut(id) {
            Slot::Opening(_) => Due::Nothing,
            Slot::Open(tenant) => {
                let due = tenant.due(self.limits(), now);
                tenant.last_used = now;
                let tier = tenant.tier();
                content.table.touch(id, tier);
                due
            }
        };
        (content.table.value(id).lookup(), due)
    }

    /// Ends a login that has reached a limit, before its session is handed out. Without a lock: the
    /// end of a login may run the user's code.
    fn end(lookup: &Lookup<C>, due: &Due) {
        if let (Lookup::Open(opened), Due::End(login, reason)) = (lookup, due) {
            opened.end_login(*login, reason);
        }
    }

    /// A place for one more entry, if necessary that of another one.
    fn reserve(&self, hash: u64) -> Result<Reservation<'_>, Error> {
        let one_more = |len| (len < self.settings.capacity).then(|| len + 1);
        // `Relaxed`: the counter guards no other data.
        if self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok() {
            return Ok(Reservation(&self.len));
        }
        // The shard of the key first: an attacker does not choose which keys share one.
        let first = self.shard_number(hash);
        let is_exact = self.shards.len() == 1;
        let slices = if is_exact { self.settings.capacity.div_ceil(SEARCH) } else { 1 };
        let (limits, now) = (self.limits(), self.now());
        for next in 0..self.shards.len() {
            let shard = &self.shards[(first + next) % self.shards.len()];
            let evicted = shard.evict(slices, limits, now);
            if let Some(evicted) = evicted {
                // The new entry takes over the place of the old one.
                let reservation = Reservation(&self.len);
                // Without the lock, like the drop of the entry.
                evicted.report_evicted();
                return Ok(reservation);
            }
        }
        let capacity = self.settings.capacity;
        self.observers().report(None, None, EventKind::SessionsFull { capacity });
        Err(Error::overloaded())
    }
}

// === impl Reservation ===

impl Reservation<'_> {
    /// The entry is in the registry.
    fn keep(self) {
        mem::forget(self);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
