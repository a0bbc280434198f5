//! A map whose entries are in two lists, each in the order of last use: pure, and without a clock.
//!
//! Entries are at fixed places in a slab. A walk over the places visits each entry that is there
//! for the whole walk, in slices of any length, however the lists change in between.

use std::mem;

use hashbrown::{HashTable, hash_table::Entry as TableEntry};

/// A map from keys to values with two lists of its entries.
pub(super) struct Table<K, V> {
    /// The places of the entries, by the hash of their keys.
    index: HashTable<u32>,
    places: Vec<Place<K, V>>,
    /// The first free place. Each free place names the next.
    free: Option<u32>,
    lists: [List; 2],
}

/// The list of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// Entries that can probably be evicted.
    Guest,
    /// Entries that can probably not be evicted.
    Member,
}

/// The place of an entry in its table, valid until the entry is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlaceId(u32);

/// An entry that was removed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Removed<K, V> {
    pub(super) key: K,
    pub(super) value: V,
}

enum Place<K, V> {
    Free { next: Option<u32> },
    Taken(Entry<K, V>),
}

struct Entry<K, V> {
    hash: u64,
    key: K,
    value: V,
    tier: Tier,
    older: Option<u32>,
    newer: Option<u32>,
}

/// The ends of a list.
#[derive(Clone, Copy, Default)]
struct List {
    oldest: Option<u32>,
    newest: Option<u32>,
}

const TAKEN: &str = "the place of an entry is taken";
const FULL: &str = "a table has fewer than 2^32 entries";

// === impl Table ===

impl<K, V> Table<K, V> {
    pub(super) const fn new() -> Self {
        let list = List { oldest: None, newest: None };
        Self { index: HashTable::new(), places: Vec::new(), free: None, lists: [list, list] }
    }

    pub(super) fn value(&self, id: PlaceId) -> &V {
        &self.entry(id.0).value
    }

    pub(super) fn value_mut(&mut self, id: PlaceId) -> &mut V {
        &mut self.entry_mut(id.0).value
    }

    pub(super) fn key(&self, id: PlaceId) -> &K {
        &self.entry(id.0).key
    }

    pub(super) fn tier(&self, id: PlaceId) -> Tier {
        self.entry(id.0).tier
    }

    pub(super) fn hash(&self, id: PlaceId) -> u64 {
        self.entry(id.0).hash
    }

    /// The entry of a list that was not used for the longest time.
    pub(super) fn oldest(&self, tier: Tier) -> Option<PlaceId> {
        self.lists[tier as usize].oldest.map(PlaceId)
    }

    /// The entry of the same list that was used next.
    pub(super) fn newer(&self, id: PlaceId) -> Option<PlaceId> {
        self.entry(id.0).newer.map(PlaceId)
    }

    /// The number of places, taken or free: the end of a walk.
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    /// The entry at a place of a walk, if the place is taken.
    pub(super) fn at(&self, place: usize) -> Option<PlaceId> {
        self.places.get(place)?.entry()?;
        Some(PlaceId(u32::try_from(place).expect(FULL)))
    }

    /// Puts an entry at the end of a list that was used last.
    pub(super) fn touch(&mut self, id: PlaceId, tier: Tier) {
        self.unlink(id.0);
        self.link(id.0, tier);
    }

    pub(super) fn remove(&mut self, id: PlaceId) -> Removed<K, V> {
        self.unlink(id.0);
        let free = Place::Free { next: self.free };
        let taken = mem::replace(&mut self.places[id.0 as usize], free);
        let entry = taken.into_entry().expect(TAKEN);
        self.free = Some(id.0);
        if let Ok(found) = self.index.find_entry(entry.hash, |place| *place == id.0) {
            found.remove();
        }
        Removed { key: entry.key, value: entry.value }
    }

    fn entry(&self, place: u32) -> &Entry<K, V> {
        self.places[place as usize].entry().expect(TAKEN)
    }

    fn entry_mut(&mut self, place: u32) -> &mut Entry<K, V> {
        match &mut self.places[place as usize] {
            Place::Taken(entry) => Some(entry),
            Place::Free { .. } => None,
        }
        .expect(TAKEN)
    }

    fn link(&mut self, place: u32, tier: Tier) {
        let older = self.lists[tier as usize].newest.replace(place);
        let entry = self.entry_mut(place);
        (entry.tier, entry.older, entry.newer) = (tier, older, None);
        match older {
            Some(older) => self.entry_mut(older).newer = Some(place),
            None => self.lists[tier as usize].oldest = Some(place),
        }
    }

    fn unlink(&mut self, place: u32) {
        let entry = self.entry_mut(place);
        let (tier, older, newer) = (entry.tier, entry.older.take(), entry.newer.take());
        match older {
            Some(older) => self.entry_mut(older).newer = newer,
            None => self.lists[tier as usize].oldest = newer,
        }
        match newer {
            Some(newer) => self.entry_mut(newer).older = older,
            None => self.lists[tier as usize].newest = older,
        }
    }
}

impl<K: Eq, V> Table<K, V> {
    pub(super) fn find(&self, hash: u64, key: &K) -> Option<PlaceId> {
        self.index.find(hash, |place| self.entry(*place).key == *key).copied().map(PlaceId)
    }

    /// Inserts an entry as the one that was used last.
    ///
    /// # Panics
    ///
    /// If the key is there already, or with 2³² entries.
    pub(super) fn insert(&mut self, hash: u64, key: K, value: V, tier: Tier) -> PlaceId {
        let places = &self.places;
        let entry_at = |place: &u32| places[*place as usize].entry().expect(TAKEN);
        let place = self.free.unwrap_or_else(|| u32::try_from(places.len()).expect(FULL));
        match self.index.entry(hash, |at| entry_at(at).key == key, |at| entry_at(at).hash) {
            TableEntry::Vacant(vacant) => drop(vacant.insert(place)),
            TableEntry::Occupied(_) => panic!("the key is in the table already"),
        }
        let entry = Entry { hash, key, value, tier, older: None, newer: None };
        if place as usize == self.places.len() {
            self.places.push(Place::Taken(entry));
        } else {
            let free = mem::replace(&mut self.places[place as usize], Place::Taken(entry));
            if let Place::Free { next } = free {
                self.free = next;
            }
        }
        self.link(place, tier);
        PlaceId(place)
    }
}

// === impl Place ===

impl<K, V> Place<K, V> {
    fn entry(&self) -> Option<&Entry<K, V>> {
        match self {
            Self::Free { .. } => None,
            Self::Taken(entry) => Some(entry),
        }
    }

    fn into_entry(self) -> Option<Entry<K, V>> {
        match self {
            Self::Free { .. } => None,
            Self::Taken(entry) => Some(entry),
        }
    }
}

#[cfg(test)]
mod tests;
