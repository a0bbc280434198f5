use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use http::{Response, request::Parts};
use tokio::sync::watch;

use crate::{
    credential::contract::Credential,
    middleware::{binding::Shared, policy::Policy},
    session::{Entry, State, handle::Session},
};

/// What a call takes along, behind one `Arc`: the state in which it is sent, and all that does not
/// change from one attempt to the next.
///
/// An instance of the service has one of its own, so that calls on different threads have no
/// counter in common: taking turns at one costs a processor more than all else that a call does.
/// Hence the alignment, too: neighbours on a cache line take turns as well, and processors fetch
/// lines in pairs of 128 bytes.
#[repr(align(128))]
pub(crate) struct Snapshot<S, C> {
    pub(crate) shared: Arc<Shared<C>>,
    pub(crate) state: Arc<State<C>>,
    /// What requests are sent with, if a copy of the state's credential may stand for it.
    unshared: Option<C>,
    /// Has seen that state.
    changes: watch::Receiver<Arc<State<C>>>,
    /// Never called, only cloned: each attempt after the first goes to an instance that was polled
    /// ready for it. In a lock, so that the inner service need not be `Sync`. None before the first
    /// call of the service.
    pristine: Mutex<Option<S>>,
}

/// The latest snapshot, as one instance of the service knows it. The lock is for its clones; calls
/// need none.
pub(crate) struct View<S, C>(Mutex<Latest<S, C>>);

struct Latest<S, C> {
    snapshot: Arc<Snapshot<S, C>>,
    tenure: Tenure,
}

/// Whose the snapshot is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tenure {
    /// Another is needed before the next call.
    Stale,
    /// The one of which this instance is a clone. Good enough for one call: most clones don't see a
    /// second one.
    Borrowed,
    Own,
}

// === impl Snapshot ===

impl<S, C> Snapshot<S, C> {
    /// The credential that requests are sent with in this state.
    pub(crate) fn entry(&self) -> &Entry<C> {
        self.state.entry().expect("no request is sent without a credential")
    }

    /// Whether the session is still in this state.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        // It can't be closed: the snapshot holds the session. One atomic load.
        !self.changes.has_changed().unwrap_or(true)
    }
}

impl<S: Clone, C: Credential> Snapshot<S, C> {
    /// Another instance of the inner service.
    pub(crate) fn inner(&self) -> S {
        let pristine = self.pristine.lock().unwrap_or_else(PoisonError::into_inner);
        pristine.clone().expect("a call takes a snapshot along that has one")
    }

    /// One of the session as it is now.
    fn at_present(&self, inner: &S) -> Arc<Self> {
        let mut changes = self.changes.clone();
        let state = changes.borrow_and_update().clone();
        let unshared = state.credential().and_then(|credential| credential.unshared());
        let pristine = Mutex::new(Some(inner.clone()));
        Arc::new(Self { shared: self.shared.clone(), state, unshared, changes, pristine })
    }
}

impl<S, C: Credential> Snapshot<S, C> {
    /// Puts the credential of this state on a request.
    #[inline]
    pub(crate) fn apply(&self, head: &mut Parts) {
        let credential = self.unshared.as_ref().unwrap_or_else(|| self.entry().credential());
        self.shared.apply(credential, || self.state.epoch(), head);
    }

    /// Looks at the response to a request that was sent in this state: whether it is one to hand on
    /// as it is.
    #[inline]
    pub(crate) fn accepts<ResBody>(&self, response: &mut Response<ResBody>) -> bool {
        self.shared.accepts(self.entry(), || self.state.epoch(), response)
    }
}

// === impl View ===

impl<S, C: Credential> View<S, C> {
    pub(crate) fn new(session: Session<C>, policy: Policy) -> Self {
        let mut changes = session.changes();
        let state = changes.borrow_and_update().clone();
        let shared = Arc::new(Shared::new(session, policy));
        let snapshot = Arc::new(Snapshot {
            shared,
            state,
            unshared: None,
            changes,
            pristine: Mutex::new(None),
        });
        Self(Mutex::new(Latest { snapshot, tenure: Tenure::Stale }))
    }
}

impl<S: Clone, C: Credential> View<S, C> {
    /// The latest snapshot.
    #[inline]
    pub(crate) fn latest(&mut self, inner: &S) -> &Arc<Snapshot<S, C>> {
        self.get_mut().update(inner)
    }

    /// The snapshot for a request that is sent now, after the start of a renewal that is due.
    #[inline]
    pub(crate) fn for_call(&mut self, inner: &S, wall: Option<SystemTime>) -> Arc<Snapshot<S, C>> {
        let latest = self.get_mut();
        let Snapshot { shared, state, .. } = &**latest.update(inner);
        if state.wants_renewal(|| wall.unwrap_or_else(|| shared.session.wall())) {
            shared.session.renew();
            latest.update(inner);
        }
        if latest.tenure == Tenure::Borrowed {
            latest.tenure = Tenure::Stale;
        }
        latest.snapshot.clone()
    }

    /// For a clone of the service. Brings this one up to date as well: an instance that is only
    /// ever cloned would leave that to each of its clones.
    pub(crate) fn borrow(&self, inner: &S) -> Self {
        let mut latest = self.lock().clone();
        if !latest.is_current() {
            latest.make(inner);
            // Dropped outside the lock: it may be the last that holds a credential.
            let displaced = mem::replace(&mut *self.lock(), latest.clone());
            drop(displaced);
        }
        Self(Mutex::new(Latest { snapshot: latest.snapshot, tenure: Tenure::Borrowed }))
    }
}

impl<S, C> View<S, C> {
    /// The inner service may be another from now on.
    pub(crate) fn invalidate(&mut self) {
        self.get_mut().tenure = Tenure::Stale;
    }

    pub(crate) fn shared(&self) -> Arc<Shared<C>> {
        self.lock().snapshot.shared.clone()
    }

    fn get_mut(&mut self) -> &mut Latest<S, C> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Latest<S, C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Latest ===

impl<S, C> Latest<S, C> {
    fn is_current(&self) -> bool {
        self.tenure != Tenure::Stale && self.snapshot.is_current()
    }
}

impl<S: Clone, C: Credential> Latest<S, C> {
    #[inline]
    fn update(&mut self, inner: &S) -> &Arc<Snapshot<S, C>> {
        if !self.is_current() {
            self.make(inner);
        }
        &self.snapshot
    }

    #[cold]
    fn make(&mut self, inner: &S) {
        self.snapshot = self.snapshot.at_present(inner);
        self.tenure = Tenure::Own;
    }
}

impl<S, C> Clone for Latest<S, C> {
    fn clone(&self) -> Self {
        Self { snapshot: self.snapshot.clone(), tenure: self.tenure }
    }
}
