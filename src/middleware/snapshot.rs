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

/// Everything that a call needs, behind one `Arc`: the state in which the request is sent, and the
/// parts that are the same for all of its attempts.
///
/// Each instance of the service has a snapshot of its own, so that calls on different threads share
/// no counter: a counter that moves between cores costs more than the rest of the call. The padding
/// keeps the counters of two snapshots off one cache line, since processors fetch lines in pairs of
/// 128 bytes. An alignment would do so too, and makes the allocator slower by more than the rest of
/// a snapshot of one request.
pub(super) struct Snapshot<S, C> {
    pub(super) binding: Binding<C>,
    pub(super) state: Arc<State<C>>,
    /// A copy of the credential ([`Credential::unshared`]), whose counters no other clone touches.
    unshared: Option<C>,
    /// Has seen `state`, so that any later state is a change. `None` in the snapshot of one request
    /// with a session of its own, which asks the session.
    changes: Option<watch::Receiver<Arc<State<C>>>>,
    pristine: Pristine<S>,
    _padding: Padding,
}

type Padding = MaybeUninit<[u8; 128]>;

/// An instance of the inner service that is cloned for replays and never called: every attempt
/// after the first goes to an instance that was polled ready for it (guarantee 13). The lock spares
/// the inner service from being `Sync`.
enum Pristine<S> {
    /// The instance of one snapshot. `None` before the first call.
    Own(Mutex<Option<S>>),
    /// The instance of all requests of a service and of its clones.
    Shared(Arc<SharedPristine<S>>),
}

/// An instance of the inner service for the snapshots of single requests. The first call puts it
/// there.
pub(super) type SharedPristine<S> = OnceLock<Mutex<S>>;

/// The latest snapshot that one instance of the service knows. Its own calls have `&mut self` and
/// take no lock; the lock is for [`borrow`](Self::borrow), which has `&self`.
pub(super) struct LatestSnapshot<S, C>(Mutex<Latest<S, C>>);

/// The content of a [`LatestSnapshot`].
struct Latest<S, C> {
    snapshot: Arc<Snapshot<S, C>>,
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
    /// The credential of this state.
    pub(super) fn entry(&self) -> &Entry<C> {
        self.state.entry().expect("no request is sent without a credential")
    }

    /// Whether the session is still in this state: one atomic load, or a short read lock in the
    /// snapshot of one request.
    ///
    /// The load pairs with the version that the channel raises under its lock, together with the
    /// new state. `true` means that no login, logout or settlement had completed when the load was
    /// made (guarantee 4). A change after the load overlaps the call, and counts as later.
    #[inline]
    pub(super) fn is_current(&self) -> bool {
        match &self.changes {
            // The channel cannot be closed, since the binding holds the session.
            Some(changes) => !changes.has_changed().unwrap_or(true),
            None => self.binding.session.is_in(&self.state),
        }
    }
}

impl<S: Clone, C: Credential> Snapshot<S, C> {
    /// A snapshot for one request with a session of its own.
    pub(super) fn of_request(
        binding: Binding<C>,
        state: Arc<State<C>>,
        pristine: Arc<SharedPristine<S>>,
    ) -> Arc<Self> {
        let pristine = Pristine::Shared(pristine);
        Arc::new(Self {
            binding,
            state,
            unshared: None,
            changes: None,
            pristine,
            _padding: Padding::uninit(),
        })
    }

    /// Clones the inner service.
    pub(super) fn inner(&self) -> S {
        match &self.pristine {
            Pristine::Own(own) => locked(own).clone(),
            Pristine::Shared(shared) => shared.get().map(|pristine| locked(pristine).clone()),
        }
        .expect("the snapshot of a call has an instance of the inner service")
    }

    /// Takes a snapshot of the session's present state.
    fn at_present(&self, inner: &S) -> Arc<Self> {
        let binding = self.binding.clone();
        let mut changes = self.changes.clone().unwrap_or_else(|| binding.session.changes());
        let state = changes.borrow_and_update().clone();
        let unshared = state.credential().and_then(|credential| C::unshared(credential));
        let pristine = Pristine::Own(Mutex::new(Some(inner.clone())));
        Arc::new(Self {
            binding,
            state,
            unshared,
            changes: Some(changes),
            pristine,
            _padding: Padding::uninit(),
        })
    }
}

impl<S, C: Credential> Snapshot<S, C> {
    /// Applies the credential of this state to a request.
    #[inline]
    pub(super) fn apply(&self, head: &mut Parts) {
        let credential = self.unshared.as_ref().unwrap_or_else(|| self.entry().credential());
        self.binding.apply(credential, || self.state.epoch(), head);
    }

    /// Inspects the response to a request that was sent in this state.
    #[inline]
    pub(super) fn inspect<ResBody>(
        &self,
        request: RequestHead<'_>,
        response: &mut Response<ResBody>,
    ) -> Verdict {
        self.binding.inspect(self.entry(), || self.state.epoch(), request, response)
    }
}

// === impl LatestSnapshot ===

impl<S, C: Credential> LatestSnapshot<S, C> {
    pub(super) fn new(session: Session<C>, policy: Policy) -> Self {
        let mut changes = session.changes();
        let state = changes.borrow_and_update().clone();
        let snapshot = Arc::new(Snapshot {
            binding: Binding::new(session, Arc::new(policy)),
            state,
            unshared: None,
            changes: Some(changes),
            pristine: Pristine::Own(Mutex::new(None)),
            _padding: Padding::uninit(),
        });
        Self(Mutex::new(Latest { snapshot, ownership: Ownership::Outdated }))
    }
}

impl<S: Clone, C: Credential> LatestSnapshot<S, C> {
    /// The snapshot of the present state.
    #[inline]
    pub(super) fn update(&mut self, inner: &S) -> &Arc<Snapshot<S, C>> {
        self.get_mut().update(inner)
    }

    /// The snapshot for a request that is called now. Starts a renewal that is due.
    #[inline]
    pub(super) fn for_call(&mut self, inner: &S, wall: Option<SystemTime>) -> Arc<Snapshot<S, C>> {
        let latest = self.get_mut();
        let Snapshot { binding, state, .. } = &**latest.update(inner);
        let wall = || wall.unwrap_or_else(|| binding.session.wall());
        if binding.session.renew_if_wanted(state, wall) {
            latest.update(inner);
        }
        if latest.ownership == Ownership::Borrowed {
            latest.ownership = Ownership::Outdated;
        }
        latest.snapshot.clone()
    }

    /// The latest snapshot for a clone of the service. Updates this one as well: an instance that
    /// is cloned and never called would otherwise make each of its clones take a snapshot.
    pub(super) fn borrow(&self, inner: &S) -> Self {
        let mut latest = self.lock().clone();
        // A fresh request does not tell the session on which runtime it runs, so its client does.
        latest.snapshot.binding.session.remember_runtime();
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

    pub(super) fn binding(&self) -> Binding<C> {
        self.lock().snapshot.binding.clone()
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
    fn update(&mut self, inner: &S) -> &Arc<Snapshot<S, C>> {
        if !self.is_current() {
            self.make(inner);
        }
        &self.snapshot
    }

    #[cold]
    fn make(&mut self, inner: &S) {
        self.snapshot.binding.session.remember_runtime();
        self.snapshot = self.snapshot.at_present(inner);
        self.ownership = Ownership::Own;
    }
}

impl<S, C> Clone for Latest<S, C> {
    fn clone(&self) -> Self {
        Self { snapshot: self.snapshot.clone(), ownership: self.ownership }
    }
}
