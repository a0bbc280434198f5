//! Which task runs on behalf of which session.
//!
//! A flight whose refresher sends a request through a client that wears the same session must not
//! wait for itself. The session recognises such requests by the task that they are sent from. What
//! a flight causes inherits its scope, so that the flight of a second session does not wait for the
//! first one either.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

tokio::task_local! {
    static SCOPE: Scope;
}

/// Tells sessions apart. Unlike an address it is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionId(u64);

/// What a task does for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Flight,
    Hook,
}

/// What a task does for each session that has caused it: one entry a session, so that it does not
/// grow with what causes one another in turn.
#[derive(Clone)]
pub(crate) struct Scope(Arc<[(SessionId, Role)]>);

/// What the current task does for this session, if anything.
pub(crate) fn role_in(session: SessionId) -> Option<Role> {
    SCOPE.try_with(|scope| scope.role_in(session)).ok().flatten()
}

// === impl SessionId ===

impl SessionId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

// === impl Scope ===

impl Scope {
    /// Within what the current task is in already.
    pub(crate) fn enter(session: SessionId, role: Role) -> Self {
        let outer = SCOPE.try_with(Self::clone).ok();
        let outer =
            outer.iter().flat_map(|scope| scope.0.iter().copied()).filter(|(id, _)| *id != session);
        Self(outer.chain([(session, role)]).collect())
    }

    pub(crate) async fn run<T>(self, task: impl Future<Output = T>) -> T {
        SCOPE.scope(self, task).await
    }

    fn role_in(&self, session: SessionId) -> Option<Role> {
        self.0.iter().find(|(id, _)| *id == session).map(|(_, role)| *role)
    }
}
