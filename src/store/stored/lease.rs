use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{task::AbortHandle, time::Instant};

/// A lease that is held: extended by a task of its own, and given up when it is dropped.
pub(super) struct Lease {
    term: Arc<Term>,
    keeper: AbortHandle,
    _give_up: GiveUp,
}

/// The term of a lease, which its holder and the task that extends it share.
pub(super) struct Term(Mutex<TermState>);

struct TermState {
    /// The end. `None` once another holder may have had the lease: it stays lost even where it is
    /// taken again, since its holder acts on what it has read before.
    until: Option<Instant>,
    is_loss_reported: bool,
}

/// Gives a lease up when it is dropped: also one that was asked for, and whose answer was lost.
pub(super) struct GiveUp(Option<Box<dyn FnOnce() + Send + Sync>>);

// === impl Lease ===

impl Lease {
    /// A lease with this term, which the task `keeper` extends.
    pub(super) fn new(term: Arc<Term>, keeper: AbortHandle, give_up: GiveUp) -> Self {
        Self { term, keeper, _give_up: give_up }
    }

    /// Whether no other holder can have it, as far as this process can tell.
    pub(super) fn is_held(&self) -> bool {
        self.term.lasts()
    }

    pub(super) fn term(&self) -> &Term {
        &self.term
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("is_held", &self.is_held()).finish()
    }
}

// === impl Term ===

impl Term {
    pub(super) fn new(until: Instant) -> Self {
        Self(Mutex::new(TermState { until: Some(until), is_loss_reported: false }))
    }

    pub(super) fn lasts(&self) -> bool {
        self.state().lasts()
    }

    /// An answer that comes after the end does not tell whether another holder was there before
    /// it. `false` where the lease is lost.
    pub(super) fn extend(&self, until: Instant) -> bool {
        let mut state = self.state();
        state.until = Some(until).filter(|_| state.lasts());
        state.until.is_some()
    }

    pub(super) fn end(&self) {
        self.state().until = None;
    }

    /// `true` once: the loss of the lease is to be reported.
    pub(super) fn takes_loss(&self) -> bool {
        !mem::replace(&mut self.state().is_loss_reported, true)
    }

    fn state(&self) -> MutexGuard<'_, TermState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl TermState ===

impl TermState {
    fn lasts(&self) -> bool {
        self.until.is_some_and(|until| until > Instant::now())
    }
}

// === impl GiveUp ===

impl GiveUp {
    pub(super) fn new(give_up: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(give_up)))
    }

    /// There is nothing to give up.
    pub(super) fn cancel(mut self) {
        self.0 = None;
    }
}

impl Drop for GiveUp {
    fn drop(&mut self) {
        if let Some(give_up) = self.0.take() {
            give_up();
        }
    }
}
