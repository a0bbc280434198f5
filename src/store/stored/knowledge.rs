//! The knowledge of a driver, and its judgement of what it finds in the store: pure, without I/O.
//!
//! Three rules keep it right. *Newer* goes by versions and marks, and never by a comparison of
//! credentials. The newest credential that is *known* counts, whether or not it has been saved. An
//! answer of the store only counts if nothing newer was learned since the question.

use crate::store::contract::Version;

/// The newest content that a driver knows of, and how it relates to the store.
pub(super) struct Knowledge<C> {
    content: Content<C>,
    /// The mark of `content`. Nothing that was never stored or exchanged has none.
    mark: Option<Mark>,
    /// The newest record that the store is known to have had.
    stored: Option<(Version, Mark)>,
    /// The record that the next write expects. It is another one than `stored` after the store went
    /// back.
    at: Option<Version>,
    /// Why `content` has to be written. `None` where the store has it.
    pending: Option<Intent>,
    /// The greatest number of any mark that was seen.
    highest: u64,
    /// Counts the changes of everything above.
    changes: u64,
    author: u64,
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

/// The identity of one content, given by its author and stored with it.
///
/// The number grows with every content that follows from another one, and outlives a store that
/// goes back: versions that were lost may be given out again, and marks tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mark {
    pub(super) number: u64,
    pub(super) author: u64,
}

/// Why a content is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// An exchange brought it. A newer content in the store beats it.
    Rotation,
    /// The exchange was refused. A newer content in the store beats it.
    Refusal,
    /// The store had it and went back. A newer content in the store beats it.
    Restore,
    /// The application logged out. It is written over everything.
    Logout,
}

/// The record that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found<C> {
    pub(super) version: Version,
    pub(super) mark: Mark,
    /// Written again after the store went back, so that its version says nothing of its age.
    pub(super) is_restored: bool,
    pub(super) content: Content<C>,
}

/// A moment in the knowledge of a driver: the answer to a question that was asked then is only
/// taken while nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(u64);

/// A write that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Write<C> {
    pub(super) seen: Option<Version>,
    pub(super) mark: Mark,
    pub(super) content: Content<C>,
    pub(super) intent: Intent,
    /// See [`Found::is_restored`].
    pub(super) is_restored: bool,
    moment: Moment,
}

/// The outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Pending,
    Saved,
    /// Another content has taken its place.
    Overtaken,
}

// === impl Knowledge ===

impl<C: Clone> Knowledge<C> {
    pub(super) fn new(author: u64) -> Self {
        Self {
            content: Content::Nothing,
            mark: None,
            stored: None,
            at: None,
            pending: None,
            highest: 0,
            changes: 0,
            author,
        }
    }

    pub(super) fn content(&self) -> &Content<C> {
        &self.content
    }

    pub(super) fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// The version that the store was last seen with.
    pub(super) fn at(&self) -> Option<Version> {
        self.at
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    pub(super) fn moment(&self) -> Moment {
        Moment(self.changes)
    }

    pub(super) fn fate(&self, mark: Mark) -> Fate {
        match (self.mark == Some(mark), self.pending) {
            (false, _) => Fate::Overtaken,
            (true, Some(_)) => Fate::Pending,
            (true, None) => Fate::Saved,
        }
    }

    /// Takes in what the store answered to a question that was asked at that moment. `false` where
    /// the answer is too old to count.
    pub(super) fn observe(&mut self, asked: Moment, found: Option<Found<C>>) -> bool {
        if asked != self.moment() {
            return false;
        }
        match found {
            Some(found) => self.found(found),
            None => self.found_nothing(),
        }
        true
    }

    /// ## An exchange brought this credential
    ///
    /// The credential is newer than everything that is known, and the store does not have it yet.
    /// `None` where another content was learned during the exchange: that content counts, because a
    /// login, a logout or another replica has put it there.
    pub(super) fn exchanged(
        &mut self,
        from: Option<Mark>,
        credential: C,
        now: u64,
    ) -> Option<Mark> {
        // Where it follows from nothing, it begins a login.
        let mark = match self.content {
            Content::Live(_) => self.next_mark(),
            Content::Nothing | Content::Ended => self.user_mark(now),
        };
        self.follow_up(from, Content::Live(credential), mark, Intent::Rotation)
    }

    /// ## An exchange was refused
    ///
    /// The login is over, unless the store has a newer content: then this driver was only late.
    pub(super) fn refused(&mut self, from: Option<Mark>) -> Option<Mark> {
        self.follow_up(from, Content::Ended, self.next_mark(), Intent::Refusal)
    }

    /// The application logged out.
    pub(super) fn logged_out(&mut self, now: u64) {
        self.become_content(Content::Ended, self.user_mark(now), Some(Intent::Logout));
    }

    /// The mark of a write that lost against this one, and is made again nevertheless.
    pub(super) fn mark_beyond(&mut self, lost_to: Mark, now: u64) -> Mark {
        self.highest = self.highest.max(lost_to.number);
        self.user_mark(now)
    }

    /// The mark of a login or a logout: greater than every mark that was seen, and by the clock, so
    /// that it also beats what the store lost before it went back.
    pub(super) fn user_mark(&self, now: u64) -> Mark {
        let Mark { number, author } = self.next_mark();
        Mark { number: number.max(now), author }
    }

    /// A login was written.
    pub(super) fn logged_in(&mut self, version: Version, mark: Mark, credential: C) {
        self.become_content(Content::Live(credential), mark, None);
        self.stored = Some((version, mark));
        self.at = Some(version);
    }

    /// The write that has to be made, if any.
    pub(super) fn write(&self) -> Option<Write<C>> {
        let intent = self.pending?;
        let went_back = self.at.is_some() && self.at != self.stored.map(|(version, _)| version);
        Some(Write {
            seen: self.at,
            intent,
            // A logout is newer than whatever it is written over.
            is_restored: went_back && intent != Intent::Logout,
            mark: self.mark.expect("a content that has to be written has a mark"),
            content: self.content.clone(),
            moment: self.moment(),
        })
    }

    /// A write was acknowledged.
    pub(super) fn written(&mut self, write: &Write<C>, version: Version) {
        if self.mark == Some(write.mark) {
            self.changes += 1;
            self.at = Some(version);
            self.stored = Some((version, write.mark));
            self.pending = None;
        } else if self.stored.is_none_or(|(known, _)| known < version) {
            // Something newer was learned since, and what was written is known to be older.
            let Write { mark, content, .. } = write.clone();
            self.found(Found { version, mark, is_restored: true, content });
        }
    }

    /// A write was refused, because something else is in the store.
    pub(super) fn lost(&mut self, write: &Write<C>, found: Option<Found<C>>) {
        // Where it is too old to count, the next write finds out what is there now.
        self.observe(write.moment, found);
    }

    /// A write was refused, because of a record that cannot be read. A logout is written over it.
    pub(super) fn lost_to_unreadable(&mut self, write: &Write<C>, version: Version) {
        if write.moment == self.moment() {
            self.changes += 1;
            self.at = Some(version);
        }
    }

    fn follow_up(
        &mut self,
        from: Option<Mark>,
        content: Content<C>,
        mark: Mark,
        intent: Intent,
    ) -> Option<Mark> {
        if self.mark != from {
            return None;
        }
        self.become_content(content, mark, Some(intent));
        Some(mark)
    }

    fn become_content(&mut self, content: Content<C>, mark: Mark, pending: Option<Intent>) {
        self.changes += 1;
        self.highest = self.highest.max(mark.number);
        self.content = content;
        self.mark = Some(mark);
        self.pending = pending;
    }

    fn found(&mut self, found: Found<C>) {
        let Found { version, mark, is_restored, content } = found;
        let is_lower = mark.number < self.highest;
        self.highest = self.highest.max(mark.number);
        if self.mark == Some(mark) && self.pending.is_some() {
            // A write whose acknowledgement was lost.
            self.changes += 1;
            self.pending = None;
            self.stored = Some((version, mark));
            self.at = Some(version);
            return;
        }
        let Some((known_version, known)) = self.stored else {
            return self.take_over(version, mark, content);
        };
        if known == mark {
            let has_vanished = self.pending.is_none() && self.mark != Some(mark);
            match content {
                // It vanished, which was a logout, and is back.
                Content::Live(_) if has_vanished => self.went_back(version),
                _ if has_vanished => self.take_over(version, mark, content),
                _ => self.move_to(version, mark),
            }
        } else if is_lower && (version <= known_version || is_restored) {
            // The store went back: what is known is newer than what is stored, and is written
            // again. A lower number alone does not show it: a record that was deleted and made anew
            // may have one, by a slow clock. Nor does a lower version: another replica may have
            // restored something newer than what is known here.
            self.went_back(version);
        } else {
            self.take_over(version, mark, content);
        }
    }

    /// The record that is known, possibly under another version.
    fn move_to(&mut self, version: Version, mark: Mark) {
        if self.at != Some(version) || self.stored != Some((version, mark)) {
            self.changes += 1;
            self.at = Some(version);
            self.stored = Some((version, mark));
        }
    }

    fn went_back(&mut self, at: Version) {
        if self.at == Some(at) && self.pending.is_some() {
            return;
        }
        self.changes += 1;
        self.at = Some(at);
        if self.pending.is_none() {
            self.pending = Some(Intent::Restore);
            if self.mark.is_some_and(|mark| mark.number < self.highest) {
                // Above all that was seen, so that every replica takes it over.
                let mark = self.next_mark();
                self.highest = mark.number;
                self.mark = Some(mark);
            }
        }
    }

    fn take_over(&mut self, version: Version, mark: Mark, content: Content<C>) {
        if self.pending == Some(Intent::Logout) {
            // With a number beyond the one that it is written over.
            self.become_content(Content::Ended, self.next_mark(), Some(Intent::Logout));
        } else {
            self.become_content(content, mark, None);
        }
        self.at = Some(version);
        self.stored = Some((version, mark));
    }

    /// A record that has vanished is a logout elsewhere. It stays known: when it comes back, the
    /// store went back.
    fn found_nothing(&mut self) {
        if self.at.is_none() {
            return;
        }
        self.changes += 1;
        self.at = None;
        if self.pending != Some(Intent::Logout) {
            self.become_content(Content::Ended, self.next_mark(), None);
        }
    }

    fn next_mark(&self) -> Mark {
        Mark { number: self.highest.saturating_add(1), author: self.author }
    }
}

#[cfg(test)]
mod tests;
