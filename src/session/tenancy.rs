//! The view of a session that a registry of many sessions has.

use std::sync::Arc;

use crate::{
    credential::contract::Credential,
    identity::Login,
    observe::{event::EventKind, observers::Observers},
    refresher::shared::SharedRefresher,
    session::{engine::Engine, handle::Session, template::SessionTemplate},
};

/// A session that was taken apart by the owner of its only handle. Nothing can use it any more.
pub(crate) struct Forgotten<C>(Engine<C>);

// === impl Session ===

impl<C> Session<C> {
    /// The current login. `None` if the session is logged out.
    pub(crate) fn current_login(&self) -> Option<Login> {
        self.0.peek(|state| state.current_login())
    }

    /// Whether another handle, a request or a flight holds the session.
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Takes the session apart if this is its only handle. From then on a weak handle finds it
    /// gone.
    pub(crate) fn forget(self) -> Result<Forgotten<C>, Self> {
        Arc::try_unwrap(self.0).map(Forgotten).map_err(Self)
    }
}

// === impl Forgotten ===

impl<C> Forgotten<C> {
    /// Tells the observers of the session. Runs the user's code.
    pub(crate) fn report(&self, kind: EventKind<'_>) {
        self.0.report(kind);
    }
}

// === impl SessionTemplate ===

impl<C> SessionTemplate<C> {
    /// The observers, for events that belong to no session.
    pub(crate) fn observers(&self) -> &Observers {
        &self.settings().observers
    }
}

impl<C: Credential> SessionTemplate<C> {
    /// Makes a session for a registry, with a refresher of its own if its login is in a store.
    pub(crate) fn tenant(
        &self,
        name: Option<Arc<str>>,
        refresher: Option<Arc<dyn SharedRefresher<C>>>,
    ) -> Session<C> {
        self.make(name, refresher, self.settings().acquire_on_demand)
    }
}
