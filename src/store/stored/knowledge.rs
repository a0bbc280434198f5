//! The knowledge of a driver, and its judgement of what it finds in the store: pure, without I/O.
//!
//! The content of the greatest [`Rank`] is the newest one, whether or not it is saved. A driver
//! merges what it learns by keeping the greater rank. The result does not depend on the order in
//! which it learns, and no answer of the store makes a driver forget a newer content. Where the
//! store has a lower rank, it went back, and the driver writes the newest content again, with the
//! rank that it had. Versions decide nothing: they name the record that the next write expects.

use std::cmp::Ordering;

use crate::{
    identity::Generation,
    store::{stored::rank::Rank, version::Version},
};

/// The newest content that a driver knows of, and how it relates to the store.
pub(super) struct Knowledge<C> {
    content: Content<C>,
    /// The rank of `content`. `None` where that is [`Content::Nothing`].
    rank: Option<Rank>,
    /// The generation of the session before it was given `content`.
    handed: Option<Generation>,
    /// The record that the next write expects.
    at: Option<Version>,
    /// The store is not known to have `content`.
    is_pending: bool,
    /// Counts the changes of everything above, apart from `handed`.
    changes: u32,
}

/// The content of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content<C> {
    /// No login yet.
    Nothing,
    /// A login with this credential.
    Live(C),
    /// The tombstone of a login.
    Ended,
}

/// The record that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found<C> {
    pub(super) version: Version,
    pub(super) rank: Rank,
    pub(super) content: Content<C>,
}

/// A moment in the knowledge of a driver: the answer to a question that was asked then is only
/// taken while nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(u32);

/// A write that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Write<C> {
    pub(super) seen: Option<Version>,
    pub(super) rank: Rank,
    pub(super) content: Content<C>,
    moment: Moment,
}

/// The outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Pending,
    Saved,
    /// A newer content has taken its place.
    Overtaken,
}

// === impl Knowledge ===

impl<C: Clone> Knowledge<C> {
    pub(super) fn new() -> Self {
        Self {
            content: Content::Nothing,
            rank: None,
            handed: None,
            at: None,
            is_pending: false,
            changes: 0,
        }
    }

    pub(super) fn content(&self) -> &Content<C> {
        &self.content
    }

    pub(super) fn rank(&self) -> Option<Rank> {
        self.rank
    }

    /// The generation of the session before it was given the newest content. `None` where it was
    /// not.
    pub(super) fn handed(&self) -> Option<Generation> {
        self.handed
    }

    /// The session of this generation is given the content of this rank, which may be the newest
    /// one or an older one.
    pub(super) fn hand(&mut self, rank: Rank, generation: Generation) {
        self.handed = (self.rank == Some(rank)).then_some(generation);
    }

    /// The session was given an older content instead.
    pub(super) fn take_back(&mut self) {
        self.handed = None;
    }

    /// The version that the store was last seen with.
    pub(super) fn at(&self) -> Option<Version> {
        self.at
    }

    pub(super) fn is_pending(&self) -> bool {
        self.is_pending
    }

    pub(super) fn moment(&self) -> Moment {
        Moment(self.changes)
    }

    pub(super) fn fate(&self, rank: Rank) -> Fate {
        match (self.rank == Some(rank), self.is_pending) {
            (false, _) => Fate::Overtaken,
            (true, true) => Fate::Pending,
            (true, false) => Fate::Saved,
        }
    }

    /// Takes in what the store answered to a question that was asked at that moment.
    ///
    /// A newer content always counts. `false` where the answer is older than what is known, and
    /// something has changed since the question: an old "there is no record" would pass for a
    /// logout, and an old record for a store that went back.
    ///
    /// The caller keeps the record, and drops it after its lock is released.
    pub(super) fn observe(&mut self, asked: Moment, found: Option<&Found<C>>) -> bool {
        let rank = found.map(|found| found.rank);
        if asked != self.moment() && rank <= self.rank {
            return false;
        }
        match found {
            Some(found) => self.found(found),
            None => self.found_nothing(),
        }
        true
    }

    /// ## The store has this record, or had it when it acknowledged a write
    ///
    /// A greater rank is taken over. A lower one shows that the store went back, or that another
    /// driver, which knew less, has written: the newest content is written again.
    pub(super) fn found(&mut self, found: &Found<C>) {
        let Found { version, rank, ref content } = *found;
        let order = Some(rank).cmp(&self.rank);
        if order == Ordering::Greater {
            self.become_content(rank, content.clone());
        }
        let is_pending = order == Ordering::Less;
        if (self.at, self.is_pending) != (Some(version), is_pending) {
            self.count_change();
            self.at = Some(version);
            self.is_pending = is_pending;
        }
    }

    /// ## A record that was there has vanished
    ///
    /// The login was ended elsewhere, as by a logout. When the record comes back, the store went
    /// back, and a tombstone is written over it. An empty store ends nothing where no record was
    /// seen before.
    fn found_nothing(&mut self) {
        if self.at.take().is_none() {
            return;
        }
        self.count_change();
        if let (Content::Live(_), Some(rank)) = (&self.content, self.rank) {
            self.become_content(Rank::logout(rank.login), Content::Ended);
            self.is_pending = false;
        }
    }

    /// ## An exchange of the content of rank `from` brought this credential
    ///
    /// The store does not have it yet. `None` where a newer content was learned during the
    /// exchange: a login, a logout, or the credential of another driver. `began` is the time before
    /// the exchange, so that a logout elsewhere that came during it ranks above the login that an
    /// exchange from nothing begins.
    pub(super) fn exchanged(
        &mut self,
        from: Option<Rank>,
        credential: C,
        began: u64,
        author: u64,
    ) -> Option<Rank> {
        let rank = match from {
            Some(rank) if !rank.is_end => rank.exchanged(author),
            // It follows from nothing, and begins a login.
            _ if self.rank == from => Rank::login(self.next_login(began), author),
            _ => return None,
        };
        self.bring(rank, Content::Live(credential))
    }

    /// ## The exchange of the content of rank `from` was refused
    ///
    /// The login is over, unless another driver has got a newer credential: then this one was only
    /// late. `None` where a newer content is known already.
    pub(super) fn refused(&mut self, from: Option<Rank>) -> Option<Rank> {
        let rank = from.map_or(Rank::LOWEST_END, Rank::refused);
        if self.rank == Some(rank) {
            return Some(rank);
        }
        self.bring(rank, Content::Ended)
    }

    /// The application logged out.
    pub(super) fn logged_out(&mut self, now: u64) {
        let rank = Rank::logout(now.max(self.rank.map_or(0, |rank| rank.login)));
        self.become_content(rank, Content::Ended);
        self.is_pending = true;
    }

    /// The number of a login that begins now: greater than that of every login that is known.
    pub(super) fn next_login(&self, now: u64) -> u64 {
        self.rank.map_or(now, |rank| now.max(rank.login.saturating_add(1)))
    }

    /// The write that has to be made, if any.
    pub(super) fn write(&self) -> Option<Write<C>> {
        let rank = self.rank.filter(|_| self.is_pending)?;
        let (content, moment) = (self.content.clone(), self.moment());
        Some(Write { seen: self.at, rank, content, moment })
    }

    /// The store has acknowledged the write of this record.
    pub(super) fn written(&mut self, record: &Found<C>) {
        // The acknowledgement of an older content may come after a newer record was seen. Then that
        // record is the one to write over.
        if Some(record.rank) >= self.rank || self.at.is_none_or(|at| at < record.version) {
            self.found(record);
        }
    }

    /// A write was refused, because something else is in the store.
    pub(super) fn lost(&mut self, write: &Write<C>, found: Option<&Found<C>>) {
        // Where it is too old to count, the next write finds out what is there now.
        self.observe(write.moment, found);
    }

    /// A write was refused, because of a record that cannot be read. A logout is written over it.
    pub(super) fn lost_to_unreadable(&mut self, write: &Write<C>, version: Version) {
        if write.moment == self.moment() {
            self.count_change();
            self.at = Some(version);
        }
    }

    /// Takes in a content that the store does not have yet.
    fn bring(&mut self, rank: Rank, content: Content<C>) -> Option<Rank> {
        if self.rank >= Some(rank) {
            return None;
        }
        self.become_content(rank, content);
        self.is_pending = true;
        Some(rank)
    }

    fn count_change(&mut self) {
        // A wrong "nothing has changed" would take 2^32 changes during one operation of the store.
        self.changes = self.changes.wrapping_add(1);
    }

    fn become_content(&mut self, rank: Rank, content: Content<C>) {
        self.count_change();
        self.rank = Some(rank);
        self.content = content;
        self.handed = None;
    }
}

// === impl Write ===

impl<C> Write<C> {
    /// The record that is there after this write.
    pub(super) fn found(self, version: Version) -> Found<C> {
        Found { version, rank: self.rank, content: self.content }
    }
}

#[cfg(test)]
mod tests;
