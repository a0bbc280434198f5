use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{
    error::Error,
    identity::{Login, SessionId},
    observe::{
        contract::Observer,
        event::{Event, EventKind},
    },
};

/// The observers of a session, in the order in which they were added.
///
/// `None` if there is none: an event then costs one comparison.
#[derive(Clone)]
pub(crate) struct Observers(Option<Arc<[Watched]>>);

/// The observers of one session together with its identity, for the parts that outlive it or do not
/// know it: hooks, refreshers and stores.
#[derive(Clone)]
pub(crate) struct Reporter {
    observers: Observers,
    session_id: SessionId,
    session_name: Option<Arc<str>>,
}

/// An observer whose panics are caught, also that of its `Drop`.
///
/// `None` only while it is dropped.
#[derive(Clone)]
struct Watched(Option<Arc<dyn Observer>>);

/// Runs code of the application, such as an observer. A panic of it ends here.
pub(crate) fn catch(run: impl FnOnce()) {
    // An observer that panics half-way may be in a state that it does not expect. That is its own
    // concern: the session reads nothing from it.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        // The payload is a value of the observer, and its `Drop` may panic as well.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            mem::forget(second);
        }
    }
}

// === impl Observers ===

impl Observers {
    pub(crate) const NONE: Self = Self(None);

    /// These observers and one more.
    pub(crate) fn with(&self, observer: impl Observer) -> Self {
        let earlier = self.0.iter().flat_map(|observers| observers.iter().cloned());
        Self(Some(earlier.chain([Watched(Some(Arc::new(observer)))]).collect()))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |observers| observers.len())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Tells every observer.
    ///
    /// Runs code of the user. Callers hold no lock, and send nothing afterwards by a decision that
    /// they made before.
    #[inline]
    pub(crate) fn report(
        &self,
        session_id: Option<SessionId>,
        session_name: Option<&str>,
        kind: EventKind<'_>,
    ) {
        if let Some(observers) = &self.0 {
            tell(observers, &Event::new(session_id, session_name, kind));
        }
    }

    /// Tells every observer of a request that fails without a session. Runs code of the user.
    pub(crate) fn report_refused(&self, error: &Error) {
        self.report(None, None, EventKind::RequestRefused { login: Login::NONE, error });
    }
}

#[cold]
fn tell(observers: &[Watched], event: &Event<'_>) {
    for observer in observers {
        if let Watched(Some(observer)) = observer {
            catch(|| observer.on(event));
        }
    }
}

// === impl Reporter ===

impl Reporter {
    pub(crate) fn new(
        observers: Observers,
        session_id: SessionId,
        session_name: Option<Arc<str>>,
    ) -> Self {
        Self { observers, session_id, session_name }
    }

    pub(crate) fn session_id(&self) -> SessionId {
        self.session_id
    }

    pub(crate) fn report(&self, kind: EventKind<'_>) {
        self.observers.report(Some(self.session_id), self.session_name.as_deref(), kind);
    }
}

// === impl Watched ===

impl Drop for Watched {
    fn drop(&mut self) {
        let observer = self.0.take();
        catch(|| drop(observer));
    }
}
