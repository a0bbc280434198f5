//! The steps of a login's write: pure, and without I/O.

use crate::store::{
    stored::{
        knowledge::{Content, Found, Knowledge},
        rank::Rank,
    },
    version::Version,
};

/// The write of a new login, which goes over whatever is stored.
pub(super) struct LoginWrite<C> {
    /// The record that the next attempt expects.
    pub(super) seen: Option<Version>,
    /// The rank of the next attempt.
    pub(super) rank: Rank,
    pub(super) content: Content<C>,
    /// An attempt at this rank got no answer, and may have been executed.
    is_uncertain: bool,
}

// === impl LoginWrite ===

impl<C: Clone> LoginWrite<C> {
    /// `author` belongs to this login alone, so that two logins of one driver have different ranks.
    pub(super) fn new(
        seen: Option<Version>,
        credential: C,
        author: u64,
        knowledge: &Knowledge<C>,
        now: u64,
    ) -> Self {
        let rank = Rank::login(knowledge.next_login(now), author);
        Self { seen, rank, content: Content::Live(credential), is_uncertain: false }
    }

    /// An attempt got no answer.
    pub(super) fn failed(&mut self) {
        self.is_uncertain = true;
    }

    /// Takes in the record that an attempt lost against, or its absence. `true` where the record
    /// ends the write.
    ///
    /// A login takes the place of everything that was stored before it. Where an earlier attempt
    /// got no answer, a newer record may have followed from it: another process may have refreshed
    /// this login, or ended it. Then the login took place, and its credential, which may be used
    /// up, is not written again.
    pub(super) fn lost(
        &mut self,
        found: Option<&Found<C>>,
        knowledge: &mut Knowledge<C>,
        now: u64,
    ) -> bool {
        self.seen = found.map(|found| found.version);
        let Some(found) = found else { return false };
        let is_newer = found.rank >= self.rank;
        if is_newer && self.is_uncertain {
            return true;
        }
        knowledge.found(found);
        if is_newer {
            self.rank = Rank::login(knowledge.next_login(now), self.rank.author);
        }
        false
    }

    /// The record that is there after an attempt that was acknowledged.
    pub(super) fn found(self, version: Version) -> Found<C> {
        Found { version, rank: self.rank, content: self.content }
    }
}
