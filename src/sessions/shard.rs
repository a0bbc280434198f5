use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    identity::Login,
    observe::event::EventKind,
    session::{EndReason, Forgotten},
    sessions::{
        source::{LoginRecord, Opened},
        table::{PlaceId, Removed, Table, Tier},
        tenant::{Due, Limits, Lookup, Moment, Slot},
    },
};

/// A part of the registry with a lock of its own.
///
/// The lock is held for a few entries at a time, and never over code of the user, except for the
/// `Eq` of a key.
pub(super) struct Shard<K, C>(Mutex<Content<K, C>>);

/// The content of a shard.
pub(super) struct Content<K, C> {
    pub(super) table: Table<K, Slot<C>>,
    /// The place at which the next search for members without a login goes on.
    searched: usize,
}

/// The work that a slice of a sweep leaves for after the lock.
pub(super) struct Swept<K, C> {
    /// Logins that have reached a limit.
    pub(super) ended: Vec<(Opened<C>, Login, EndReason)>,
    /// Dropped without the lock, since the drop of a key or a credential may run the user's code.
    pub(super) forgotten: Vec<ForgottenEntry<K, C>>,
}

/// An entry that was removed, and its session.
pub(super) struct ForgottenEntry<K, C> {
    _key: K,
    session: Forgotten<C>,
    _record: Option<Arc<dyn LoginRecord<C>>>,
}

/// The entries that a sweep visits while it holds a lock once.
pub(super) const SLICE: usize = 64;
/// The entries that the search for one to evict visits while it holds a lock once.
pub(super) const SEARCH: usize = 32;

// === impl Shard ===

impl<K, C> Shard<K, C> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Content { table: Table::new(), searched: 0 }))
    }

    /// The entries of the slice of places that begins at `place`. `None` after the last place.
    pub(super) fn slice(&self, place: usize) -> Option<Vec<(K, Lookup<C>)>>
    where
        K: Clone,
    {
        let content = self.lock();
        let table = &content.table;
        if place >= table.places() {
            return None;
        }
        let ids = (place..place + SLICE).filter_map(|place| table.at(place));
        Some(ids.map(|id| (table.key(id).clone(), table.value(id).lookup())).collect())
    }

    /// Removes the session that was not used for the longest time, among those that may be
    /// forgotten. `None` if the search finds none in this number of slices.
    ///
    /// The lock is released after each slice. As many slices as the shard has are a search of all
    /// its entries, since an entry that has to stay goes to the end of its list.
    pub(super) fn evict(
        &self,
        slices: usize,
        limits: Limits,
        now: Moment,
    ) -> Option<ForgottenEntry<K, C>>
    where
        K: Eq,
    {
        let guest = |_| self.lock().evict_from(Tier::Guest, limits, now);
        let ended = |_| {
            let mut content = self.lock();
            content.demote(now);
            content.evict_from(Tier::Guest, limits, now)
        };
        let member = |_| self.lock().evict_from(Tier::Member, limits, now);
        // Without a load, only members whose login has ended may go, which `ended` finds.
        let members = if limits.loads { slices } else { 0 };
        let found = (0..slices).find_map(guest).or_else(|| (0..slices).find_map(ended));
        found.or_else(|| (0..members).find_map(member))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Content<K, C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Content ===

impl<K: Eq, C> Content<K, C> {
    /// Visits the slice of places that begins at `place`.
    pub(super) fn sweep(&mut self, place: usize, limits: Limits, now: Moment) -> Swept<K, C> {
        let mut swept = Swept { ended: Vec::new(), forgotten: Vec::new() };
        for place in place..place + SLICE {
            let Some(id) = self.table.at(place) else { continue };
            let Slot::Open(tenant) = self.table.value_mut(id) else { continue };
            match tenant.due(limits, now) {
                Due::Nothing => {}
                Due::End(login, reason) => {
                    swept.ended.push((tenant.opened.clone(), login, reason));
                }
                Due::Forget => swept.forgotten.extend(self.forget(id, Tier::Guest)),
            }
        }
        swept
    }

    /// Removes an entry, unless something has come to hold its session.
    ///
    /// Every handle comes from this table, under this lock, or from a weak one. `forget` decides
    /// between this and a weak handle that becomes a strong one at the same time.
    pub(super) fn forget(&mut self, id: PlaceId, tier: Tier) -> Option<ForgottenEntry<K, C>> {
        let hash = self.table.hash(id);
        let Removed { key, value } = self.table.remove(id);
        let value = match value {
            Slot::Open(mut tenant) => {
                let Opened { session, record } = tenant.opened;
                match session.forget() {
                    Ok(session) => {
                        return Some(ForgottenEntry { _key: key, session, _record: record });
                    }
                    Err(session) => {
                        tenant.opened = Opened { session, record };
                        Slot::Open(tenant)
                    }
                }
            }
            opening @ Slot::Opening(_) => opening,
        };
        self.table.insert(hash, key, value, tier);
        None
    }

    fn evict_from(
        &mut self,
        tier: Tier,
        limits: Limits,
        now: Moment,
    ) -> Option<ForgottenEntry<K, C>> {
        let mut next = self.table.oldest(tier);
        for _ in 0..SEARCH {
            let id = next?;
            next = self.table.newer(id);
            let Slot::Open(tenant) = self.table.value_mut(id) else {
                // A load is in use.
                self.table.touch(id, tier);
                continue;
            };
            if tenant.may_be_forgotten(limits, now) {
                let forgotten = self.forget(id, tier);
                if forgotten.is_some() {
                    return forgotten;
                }
                continue;
            }
            let (is_held, present) = (tenant.opened.session.is_held(), tenant.tier());
            if is_held {
                tenant.last_used = now;
            }
            // Out of the way of the next search. A guest that has logged in leaves the list.
            self.table.touch(id, present);
        }
        None
    }

    /// Moves members whose login has ended without a call of the registry to the guests: some of
    /// the next places of a walk over all of them.
    fn demote(&mut self, now: Moment) {
        for _ in 0..SEARCH.min(self.table.places()) {
            self.searched = (self.searched + 1) % self.table.places();
            let Some(id) = self.table.at(self.searched) else { continue };
            let Slot::Open(tenant) = self.table.value_mut(id) else { continue };
            tenant.observe(now);
            if tenant.tier() == Tier::Guest && self.table.tier(id) == Tier::Member {
                self.table.touch(id, Tier::Guest);
            }
        }
    }
}

// === impl ForgottenEntry ===

impl<K, C> ForgottenEntry<K, C> {
    /// Tells the observers that another entry has taken the place of this one.
    pub(super) fn report_evicted(&self) {
        self.session.report(EventKind::SessionEvicted);
    }
}
