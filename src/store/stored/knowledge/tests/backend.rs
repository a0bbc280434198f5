//! The store and the token endpoint of a simulated world.

use crate::store::{
    stored::{
        knowledge::{Content, Found},
        rank::Rank,
    },
    version::Version,
};

/// A write on its way to the store.
#[derive(Clone)]
pub(super) struct Order {
    pub(super) seen: Option<Version>,
    pub(super) rank: Rank,
    pub(super) content: Content<u32>,
}

/// The answer to a write: the new version, or what is there instead.
pub(super) type Answer = Result<Version, Option<Found<u32>>>;

/// A set of tokens, which are small numbers.
#[derive(Clone, Copy, Default)]
pub(super) struct Tokens(u128);

/// The store.
#[derive(Default)]
pub(super) struct Shop {
    last: u64,
    pub(super) record: Option<Found<u32>>,
    past: Vec<Option<Found<u32>>>,
    /// The holder of the lease.
    pub(super) lease: Option<u64>,
    /// All credentials that were ever stored.
    pub(super) stored: Tokens,
}

/// The token endpoint. Tokens are numbers.
#[derive(Default)]
pub(super) struct Issuer {
    pub(super) parents: Vec<Option<u32>>,
    /// The first token of the login of each token.
    families: Vec<u32>,
    pub(super) presented: Tokens,
    /// Tokens whose successor has died with the process that got it, so that they may be presented
    /// again.
    pub(super) in_grace: Tokens,
    /// Families that were revoked.
    pub(super) revoked: Tokens,
    pub(super) expired: Tokens,
}

// === impl Tokens ===

impl Tokens {
    pub(super) fn insert(&mut self, token: u32) {
        self.0 |= 1 << token;
    }

    pub(super) fn remove(&mut self, token: u32) {
        self.0 &= !(1 << token);
    }

    pub(super) fn contains(self, token: u32) -> bool {
        self.0 >> token & 1 == 1
    }

    pub(super) fn any(self, is_wanted: impl Fn(u32) -> bool) -> bool {
        (0..u128::BITS - self.0.leading_zeros())
            .any(|token| self.contains(token) && is_wanted(token))
    }
}

// === impl Shop ===

impl Shop {
    pub(super) fn version(&self) -> Option<Version> {
        self.record.as_ref().map(|record| record.version)
    }

    pub(super) fn swap(&mut self, order: &Order) -> Answer {
        let Order { seen, rank, content } = order.clone();
        if self.version() != seen {
            return Err(self.record.clone());
        }
        if let Content::Live(token) = content {
            self.stored.insert(token);
        }
        self.past.push(self.record.clone());
        self.last += 1;
        let version = Version::from_u64(self.last);
        self.record = Some(Found { version, rank, content });
        Ok(version)
    }

    /// Loses the last writes. The versions of lost writes may be given out again.
    pub(super) fn go_back(&mut self, writes: usize, reuses_versions: bool) {
        for _ in 0..writes {
            if let Some(record) = self.past.pop() {
                self.record = record;
            }
        }
        if reuses_versions {
            self.last = self.version().map_or(0, Version::as_u64);
        }
    }

    pub(super) fn delete(&mut self) {
        let record = self.record.take();
        self.past.push(record);
        self.last += 1;
    }
}

// === impl Issuer ===

impl Issuer {
    pub(super) fn log_in(&mut self) -> u32 {
        let token = u32::try_from(self.parents.len()).unwrap();
        self.parents.push(None);
        self.families.push(token);
        token
    }

    pub(super) fn family(&self, token: u32) -> u32 {
        self.families[token as usize]
    }

    /// The next token, or `None` for a refusal.
    pub(super) fn rotate(&mut self, token: u32) -> Option<u32> {
        self.presented.insert(token);
        self.in_grace.remove(token);
        if self.revoked.contains(self.family(token)) {
            return None;
        }
        let next = u32::try_from(self.parents.len()).unwrap();
        self.parents.push(Some(token));
        self.families.push(self.family(token));
        self.expired.insert(token);
        Some(next)
    }

    pub(super) fn is_reuse(&self, token: u32) -> bool {
        self.presented.contains(token) && !self.in_grace.contains(token)
    }

    pub(super) fn is_ancestor(&self, old: u32, mut new: u32) -> bool {
        while let Some(parent) = self.parents[new as usize] {
            if parent == old {
                return true;
            }
            new = parent;
        }
        false
    }
}
