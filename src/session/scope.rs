//! Task-local record of which flights and hooks the current task belongs to.
//!
//! A refresher may send a request through a client of its own session. That request must not wait
//! for the flight that sent it. The session recognises it by the task: a flight and a hook run
//! within a [`Scope`] that names their session.
//!
//! A scope is inherited. When the flight of session A causes a flight of session B, for example by
//! sending a request through a client of B, the flight of B runs in the scopes of both. Otherwise
//! the two flights could wait for each other. `flight::start` therefore calls [`Scope::enter`] in
//! the task that causes the flight, not in the new task.

use std::sync::Arc;

use crate::identity::SessionId;

tokio::task_local! {
    static SCOPE: Scope;
}

/// The role of a task for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Flight,
    Hook,
}

/// The role of a task for every session that caused it, directly or not.
///
/// One entry per session, so sessions that refresh each other in turn cannot make it grow.
#[derive(Clone)]
pub(super) struct Scope(Arc<[(SessionId, Role)]>);

/// The role of the current task for this session, if it has one.
pub(super) fn role_in(session: SessionId) -> Option<Role> {
    SCOPE.try_with(|scope| scope.role_in(session)).ok().flatten()
}

// === impl Scope ===

impl Scope {
    /// The scope of the current task, with this role added. An earlier role for the same session is
    /// replaced.
    pub(super) fn enter(session: SessionId, role: Role) -> Self {
        let outer = SCOPE.try_with(Self::clone).ok();
        let outer =
            outer.iter().flat_map(|scope| scope.0.iter().copied()).filter(|(id, _)| *id != session);
        Self(outer.chain([(session, role)]).collect())
    }

    /// Runs a future in this scope.
    pub(super) async fn run<T>(self, task: impl Future<Output = T>) -> T {
        SCOPE.scope(self, task).await
    }

    fn role_in(&self, session: SessionId) -> Option<Role> {
        self.0.iter().find(|(id, _)| *id == session).map(|(_, role)| *role)
    }
}
