use std::{
    mem::{self, MaybeUninit},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::SystemTime,
};

use http::{Response, request::Parts};
use tokio::sync::watch;

use crate::{
    credential::contract::Credential,
    detect::Verdict,
    head::RequestHead,
    middleware::{binding::Binding, policy::Policy},
    session::{Entry, State, handle::Session},
};

/// The state in which a request is called, and everything that all of its attempts need.
pub(super) enum Snapshot<S, C> {
    /// The snapshot of the calls of one service, and of the first calls of its clones.
    Shared(Arc<SharedSnapshot<S, C>>),
    /// The snapshot of one request with a session of its own.
    Own(OwnSnapshot<S, C>),
}

/// Everything that a call needs, behind one `Arc`: the state in which the request is sent, and the
/// parts that are the same for all of its attempts.
///
/// Each instance of the service has a snapshot of its own, so that calls on different threads share
/// no counter: a counter that moves between cores costs more than the rest of the call. The padding
/// keeps the counters of two snapshots off one cache line, since processors fetch lines in pairs of
/// 128 bytes.
pub(super) struct SharedSnapshot<S, C> {
    session: Session<C>,
    policy: Arc<Policy>,
    state: Arc<State<C>>,
    /// A copy of the credential ([`Credential::unshared`]), whose counters no other clone touches.
    unshared: Option<C>,
    /// Has seen `state`, so that any later state is a change.
    changes: watch::Receiver<Arc<State<C>>>,
    /// An instance of the inner service that is cloned for replays and never called: every attempt
    /// after the first goes to an instance that was polled ready for it (guarantee 13). `None`
    /// before the first call. The lock spares the inner service from being `Sync`.
    pristine: Mutex<Option<S>>,
    _padding: MaybeUninit<[u8; 128]>,
}

/// The session and the state of one request. They take no allocation, unlike a shared snapshot,
/// since no other request uses them.
pub(super) struct OwnSnapshot<S, C> {
    session: Session<C>,
    state: Arc<State<C>>,
    common: Arc<Common<S>>,
}

/// The parts that are the same for all sessions of a service and of its clones.
pub(super) struct Common<S> {
    pub(super) policy: Policy,
    /// The pristine instance of the inner service, as in a [`SharedSnapshot`]. The first call puts
    /// it there.
    pristine: OnceLock<Mutex<S>>,
}

/// The latest snapshot that one instance of the service knows. Its own calls have `&mut self` and
/// take no lock; the lock is for [`borrow`](Self::borrow), which has `&self`.
pub(super) struct LatestSnapshot<S, C>(Mutex<Latest<S, C>>);

/// The content of a [`LatestSnapshot`].
struct Latest<S, C> {
    snapshot: Arc<SharedSnapshot<S, C>>,
    ownership: Ownership,
}

/// The relation of an instance of the service to its snapshot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ownership {
    /// The next call needs another snapshot.
    Outdated,
    /// The snapshot belongs to the instance from which this one was cloned. It serves one call,
    /// since most clones see no second one.
    Borrowed,
    Own,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Snapshot ===

impl<S, C> Snapshot<S, C> {
    #[inline]
    pub(super) fn binding(&self) -> Binding<'_, C> {
        match self {
            Self::Shared(shared) => shared.binding(),
            Self::Own(own) => Binding { session: &own.session, policy: &own.common.policy },
        }
    }

    #[inline]
    pub(super) fn state(&self) -> &State<C> {
        match self {
            Self::Shared(shared) => &shared.state,
            Self::Own(own) => &own.state,
        }
    }

    /// The credential of this state.
    pub(super) fn entry(&self) -> &Entry<C> {
        self.state().entry().expect("no request is sent without a credential")
    }

    /// Whether the session is still in this state: one atomic load, or a short read lock in the
    /// snapshot of one request.
    #[inline]
    pub(super) fn is_current(&self) -> bool {
        match self {
            Self::Shared(shared) => shared.is_current(),
            Self::Own(own) => own.session.is_in(&own.state),
        }
    }
}

impl<S: Clone, C> Snapshot<S, C> {
    /// Clones the inner service.
    pub(super) fn inner(&self) -> S {
        match self {
            Self::Shared(shared) => locked(&shared.pristine).clone(),
            Self::Own(own) => own.common.pristine.get().map(|pristine| locked(pristine).clone()),
        }
        .expect("the snapshot of a call has an instance of the inner service")
    }
}

impl<S, C: Credential> Snapshot<S, C> {
    /// Applies the credential of this state to a request.
    #[inline]
    pub(super) fn apply(&self, head: &mut Parts) {
        let credential = match self {
            Self::Shared(shared) => shared.unshared.as_ref(),
            Self::Own(_) => None,
        };
        let credential = credential.unwrap_or_else(|| self.entry().credential());
        self.binding().apply(credential, || self.state().epoch(), head);
    }

    /// Inspects the response to a request that was sent in this state.
    #[inline]
    pub(super) fn inspect<ResBody>(
        &self,
        request: RequestHead<'_>,
        response: &mut Response<ResBody>,
    ) -> Verdict {
        self.binding().inspect(self.entry(), || self.state().epoch(), request, response)
    }
}

// === impl SharedSnapshot ===

impl<S, C> SharedSnapshot<S, C> {
    #[inline]
    pub(super) fn binding(&self) -> Binding<'_, C> {
        Binding { session: &self.session, policy: &self.policy }
    }

    #[inline]
    pub(super) fn state(&self) -> &State<C> {
        &self.state
    }

    /// Whether the session is still in this state: one atomic load.
    ///
    /// The load pairs with the version that the channel raises under its lock, together with the
    /// new state. `true` means that no login, logout or settlement had completed when the load was
    /// made (guarantee 4). A change after the load overlaps the call, and counts as later.
    #[inline]
    fn is_current(&self) -> bool {
        // The channel cannot be closed, since the snapshot holds the session.
        !self.changes.has_changed().unwrap_or(true)
    }
}

impl<S: Clone, C: Credential> SharedSnapshot<S, C> {
    /// Takes a snapshot of the session's present state.
    fn at_present(&self, inner: &S) -> Arc<Self> {
        let Self { session, policy, .. } = self;
        let mut changes = self.changes.clone();
        let state = changes.borrow_and_update().clone();
        let unshared = state.credential().and_then(|credential| C::unshared(credential));
        Arc::new(Self {
            session: session.clone(),
            policy: policy.clone(),
            state,
            unshared,
            changes,
            pristine: Mutex::new(Some(inner.clone())),
            _padding: MaybeUninit::uninit(),
        })
    }
}

// === impl OwnSnapshot ===

impl<S: Clone, C: Credential> OwnSnapshot<S, C> {
    /// Takes a snapshot of the session for a request that is called now. Starts a renewal that is
    /// due.
    #[inline]
    pub(super) fn for_call(session: Session<C>, common: Arc<Common<S>>, inner: &S) -> Self {
        common.pristine.get_or_init(|| Mutex::new(inner.clone()));
        let mut state = session.snapshot();
        if session.renew_if_wanted(&state, || session.wall()) {
            state = session.snapshot();
        }
        Self { session, state, common }
    }
}

// === impl Common ===

impl<S> Common<S> {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, pristine: OnceLock::new() }
    }
}

// === impl LatestSnapshot ===

impl<S, C: Credential> LatestSnapshot<S, C> {
    pub(super) fn new(session: Session<C>, policy: Policy) -> Self {
        let mut changes = session.changes();
        let state = changes.borrow_and_update().clone();
        let snapshot = Arc::new(SharedSnapshot {
            session,
            policy: Arc::new(policy),
            state,
            unshared: None,
            changes,
            pristine: Mutex::new(None),
            _padding: MaybeUninit::uninit(),
        });
        Self(Mutex::new(Latest { snapshot, ownership: Ownership::Outdated }))
    }
}

impl<S: Clone, C: Credential> LatestSnapshot<S, C> {
    /// The snapshot of the present state.
    #[inline]
    pub(super) fn update(&mut self, inner: &S) -> &Arc<SharedSnapshot<S, C>> {
        self.get_mut().update(inner)
    }

    /// The snapshot for a request that is called now. Starts a renewal that is due.
    #[inline]
    pub(super) fn for_call(&mut self, inner: &S, wall: Option<SystemTime>) -> Snapshot<S, C> {
        let latest = self.get_mut();
        let SharedSnapshot { session, state, .. } = &**latest.update(inner);
        let wall = || wall.unwrap_or_else(|| session.wall());
        if session.renew_if_wanted(state, wall) {
            latest.update(inner);
        }
        if latest.ownership == Ownership::Borrowed {
            latest.ownership = Ownership::Outdated;
        }
        Snapshot::Shared(latest.snapshot.clone())
    }

    /// The latest snapshot for a clone of the service. Updates this one as well: an instance that
    /// is cloned and never called would otherwise make each of its clones take a snapshot.
    pub(super) fn borrow(&self, inner: &S) -> Self {
        let mut latest = self.lock().clone();
        // A fresh request does not tell the session on which runtime it runs, so its client does.
        latest.snapshot.session.remember_runtime();
        if !latest.is_current() {
            latest.make(inner);
            // Dropped outside the lock: this may be the last handle of a credential, whose `Drop`
            // is user code and may call this service.
            let displaced = mem::replace(&mut *self.lock(), latest.clone());
            drop(displaced);
        }
        Self(Mutex::new(Latest { snapshot: latest.snapshot, ownership: Ownership::Borrowed }))
    }
}

impl<S, C> LatestSnapshot<S, C> {
    /// Makes the next call take a new snapshot, with a clone of the service that `get_mut` left.
    pub(super) fn invalidate(&mut self) {
        self.get_mut().ownership = Ownership::Outdated;
    }

    /// The latest snapshot, without an update.
    pub(super) fn peek(&self) -> Arc<SharedSnapshot<S, C>> {
        self.lock().snapshot.clone()
    }

    fn get_mut(&mut self) -> &mut Latest<S, C> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Latest<S, C>> {
        locked(&self.0)
    }
}

// === impl Latest ===

impl<S, C> Latest<S, C> {
    fn is_current(&self) -> bool {
        self.ownership != Ownership::Outdated && self.snapshot.is_current()
    }
}

impl<S: Clone, C: Credential> Latest<S, C> {
    #[inline]
    fn update(&mut self, inner: &S) -> &Arc<SharedSnapshot<S, C>> {
        if !self.is_current() {
            self.make(inner);
        }
        &self.snapshot
    }

    #[cold]
    fn make(&mut self, inner: &S) {
        self.snapshot.session.remember_runtime();
        self.snapshot = self.snapshot.at_present(inner);
        self.ownership = Ownership::Own;
    }
}

impl<S, C> Clone for Latest<S, C> {
    fn clone(&self) -> Self {
        Self { snapshot: self.snapshot.clone(), ownership: self.ownership }
    }
}
