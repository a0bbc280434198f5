//! The steps of one refresh: pure, and without I/O.
//!
//! Look, adopt, lease, look again, exchange, save, answer: the driver carries out the step that
//! [`RefreshRun::next`] names, reports what came of it, and asks again.

use crate::store::stored::{
    knowledge::{Content, Knowledge},
    rank::Rank,
};

/// Where a refresh stands.
#[derive(Clone, Debug)]
pub(super) struct RefreshRun {
    /// A stored credential will not do.
    forced: bool,
    /// A login that began after the end that this driver reported: a tombstone does not end it.
    fresh: bool,
    looked: bool,
    leased: bool,
    /// The store is down, and the session goes on without it.
    alone: bool,
}

/// The next step of a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RunStep<C> {
    /// Load the record.
    Look,
    /// Write what the store does not have yet.
    Save,
    /// Take the lease.
    Lease,
    /// Exchange this credential, or the session's own where none is known.
    Exchange { from: Option<Rank>, credential: Option<C> },
    /// Hand the newest credential to the session.
    Adopt { rank: Rank, credential: C },
    /// End the login.
    End,
}

// === impl RefreshRun ===

impl RefreshRun {
    pub(super) fn new(forced: bool, fresh: bool) -> Self {
        Self { forced, fresh, looked: false, leased: false, alone: false }
    }

    /// The next step. `is_news` tells whether a credential is unknown to the session and usable.
    pub(super) fn next<C: Clone>(
        &self,
        knowledge: &Knowledge<C>,
        is_news: impl FnOnce(Rank, &C) -> bool,
    ) -> RunStep<C> {
        if !self.looked && !self.alone {
            return RunStep::Look;
        }
        if knowledge.is_pending() && !self.alone {
            // Before all else: to exchange a credential that is not stored yet would leave the
            // other replicas two steps behind, with a used one.
            return RunStep::Save;
        }
        let credential = match knowledge.content() {
            Content::Ended if !self.fresh => return RunStep::End,
            Content::Ended | Content::Nothing => None,
            Content::Live(credential) => Some(credential),
        };
        if let (Some(credential), Some(rank), false) = (credential, knowledge.rank(), self.forced)
            && is_news(rank, credential)
        {
            return RunStep::Adopt { rank, credential: credential.clone() };
        }
        if !self.leased && !self.alone {
            return RunStep::Lease;
        }
        RunStep::Exchange { from: knowledge.rank(), credential: credential.cloned() }
    }

    pub(super) fn has_looked(&mut self) {
        self.looked = true;
    }

    /// The lease is ours. Another replica may have used it until now, so look again.
    pub(super) fn has_leased(&mut self) {
        self.leased = true;
        self.looked = false;
    }

    /// The lease is another's, or was lost.
    pub(super) fn has_no_lease(&mut self) {
        self.leased = false;
        self.looked = false;
    }

    /// The store is down.
    pub(super) fn goes_alone(&mut self) {
        self.alone = true;
    }

    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }
}
