//! The view of a session that the middleware has.

use std::{
    sync::{Arc, Weak},
    time::SystemTime,
};

use tokio::sync::watch;

use crate::{
    credential::contract::Credential,
    error::Error,
    identity::Login,
    observe::event::EventKind,
    refresher::rejection::Rejection,
    session::{
        engine::Engine,
        flight,
        handle::Session,
        machine::{
            clock::LazyNow,
            state::{Epoch, Flight, State},
            transition::{Admission, Reaction},
        },
        scope,
    },
};

/// A session of any credential type, for an owner that does not know the type. A weak pointer to it
/// does not keep the session alive.
pub(crate) trait ReportRejection: Send + Sync {
    /// Reports the rejection of a request that was sent at `epoch`.
    fn reject(self: Arc<Self>, epoch: Epoch, rejection: Option<Rejection>);
}

// === impl Session ===

impl<C> Session<C> {
    /// The state at present.
    #[inline]
    pub(crate) fn snapshot(&self) -> Arc<State<C>> {
        self.0.snapshot()
    }

    /// Whether the session is still in this state. No other state can be at its address while the
    /// caller holds it.
    #[inline]
    pub(crate) fn is_in(&self, state: &Arc<State<C>>) -> bool {
        self.0.is_in(state)
    }
}

impl<C: Credential> Session<C> {
    pub(crate) fn wall(&self) -> SystemTime {
        self.0.settings().clock.wall()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<Arc<State<C>>> {
        self.0.changes()
    }

    /// Remembers the runtime of the caller, for later calls from threads without one.
    pub(crate) fn remember_runtime(&self) {
        self.0.remember_runtime();
    }

    /// Whether the current task is a flight or a hook of this session. Requests from such a task
    /// pass through untouched (guarantee 11).
    pub(crate) fn is_recursive(&self) -> bool {
        scope::role_in(self.0.id()).is_some()
    }

    /// The session as the target of reports.
    pub(crate) fn rejection_target(&self) -> Weak<dyn ReportRejection> {
        let target: Weak<Engine<C>> = Arc::downgrade(&self.0);
        target
    }

    /// Decides about a request of `login` that is about to be sent.
    pub(crate) fn admit(&self, login: Login, may_elect: bool) -> Admission<C> {
        let now = LazyNow::new(&self.0.settings().clock);
        let step = self.step(Some(&now), |state| state.admit(login, may_elect, || now.get()));
        step.map_or_else(Admission::Fail, |(admission, _)| admission)
    }

    /// Decides about a rejected request that was sent at `epoch`. `may_elect` is false if it had
    /// waited before it was sent.
    pub(crate) fn rejected(
        &self,
        epoch: Epoch,
        may_elect: bool,
        rejection: impl Fn() -> Option<Rejection>,
    ) -> Reaction {
        let now = LazyNow::new(&self.0.settings().clock);
        let step = self
            .step(Some(&now), |state| state.rejected(epoch, may_elect, &rejection, || now.get()));
        step.map_or_else(Reaction::Fail, |(reaction, _)| reaction)
    }

    /// Starts a renewal if one is due and there is a runtime for it.
    pub(crate) fn renew(&self) {
        let now = self.0.settings().clock.now();
        // Without a runtime, requests keep using the current credential. The first one after
        // its expiry reports `NoRuntime`.
        drop(self.step(None, |state| state.renew(now)));
    }

    /// Waits for a flight to settle, as one of the session's waiters.
    ///
    /// The call itself takes the permit and subscribes. It fails as `Overloaded` if there are as
    /// many waiters as `max_waiters` allows.
    pub(crate) fn wait(
        &self,
        login: Login,
        flight: Flight,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<C> {
        let permit = self.0.permit(login, flight.number);
        let settled = flight::settled(&self.0, flight);
        async move {
            let permit = permit?;
            let result = settled.await.into_result();
            permit.end(&result);
            result
        }
    }

    /// Starts the renewal that a request in this state wants. `false` if it wants none.
    #[inline]
    pub(crate) fn renew_if_wanted(
        &self,
        state: &State<C>,
        wall: impl FnOnce() -> SystemTime,
    ) -> bool {
        let wants_renewal = state.wants_renewal(wall);
        if wants_renewal {
            self.renew();
        }
        wants_renewal
    }

    /// Tells the observers. Runs the user's code.
    pub(crate) fn report(&self, kind: EventKind<'_>) {
        self.0.report(kind);
    }
}

// === impl ReportRejection ===

impl<C: Credential> ReportRejection for Engine<C> {
    fn reject(self: Arc<Self>, epoch: Epoch, rejection: Option<Rejection>) {
        // The response has gone to its caller: the reaction is for later requests.
        drop(Session(self).rejected(epoch, true, || rejection.clone()));
    }
}
