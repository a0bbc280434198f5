use std::{fmt, sync::Arc};

use http::{Response, request::Parts};

use crate::{
    credential::contract::Credential,
    detect::Verdict,
    error::Error,
    middleware::{
        extension::{Rejects, Stamp},
        policy::{FailureMode, Policy, Route},
    },
    refresher::Rejection,
    replay::{Replay, ReplayBody, head::HeadCopy},
    session::{Entry, Epoch, Flight, Reaction, handle::Session},
};

/// What all calls of a service share.
pub(crate) struct Shared<C> {
    pub(crate) session: Session<C>,
    pub(crate) policy: Policy,
    /// For the stamps, where they are exposed.
    rejects: Option<Arc<dyn Rejects>>,
}

/// What is kept of a request that is under way, to send it again.
pub(crate) struct Spare<B> {
    pub(crate) head: HeadCopy,
    pub(crate) replay: Replay<B>,
}

/// A request that is to be sent again.
pub(crate) struct Again<B> {
    pub(crate) head: HeadCopy,
    pub(crate) body: ReplayBody<B>,
}

/// What becomes of a rejected response.
pub(crate) enum Reply<B, ResBody> {
    /// It goes to the caller.
    Respond(Response<ResBody>),
    /// The request is sent again: after the flight, if there is one.
    Again(Again<B>, Option<Flight>, Response<ResBody>),
    /// There will be no newer credential.
    Fail(Error, Response<ResBody>),
}

// === impl Shared ===

impl<C: Credential> Shared<C> {
    pub(crate) fn new(session: Session<C>, policy: Policy) -> Self {
        let rejects = policy.expose_stamp.then(|| Arc::new(session.downgrade()) as _);
        Self { session, policy, rejects }
    }

    #[inline]
    pub(crate) fn route(&self, request: &Parts) -> Route {
        if self.session.is_recursive() { Route::Pass } else { self.policy.route::<C>(request) }
    }

    /// Puts the credential on a request.
    #[inline]
    pub(crate) fn apply(&self, credential: &C, epoch: impl FnOnce() -> Epoch, head: &mut Parts) {
        credential.apply(head);
        if let Some(rejects) = &self.rejects {
            head.extensions.insert(Stamp::new(epoch(), rejects.clone()));
        }
    }

    /// Looks at the response to a request that was sent with this credential: whether it is one to
    /// hand on as it is.
    #[inline]
    pub(crate) fn accepts<ResBody>(
        &self,
        entry: &Entry<C>,
        epoch: impl FnOnce() -> Epoch,
        response: &mut Response<ResBody>,
    ) -> bool {
        entry.credential().observe(response.status(), response.headers());
        if let Some(rejects) = &self.rejects {
            response.extensions_mut().insert(Stamp::new(epoch(), rejects.clone()));
        }
        if self.policy.detect.inspect(response.status(), response.headers()) == Verdict::Rejected {
            return false;
        }
        // An upstream that is broken has said nothing about it.
        if !response.status().is_server_error() {
            entry.accept();
        }
        true
    }

    /// Decides what becomes of a request whose credential was rejected. With nothing to spare, its
    /// response goes to the caller.
    pub(crate) fn react<B, ResBody>(
        &self,
        epoch: Epoch,
        spare: Option<Spare<B>>,
        response: Response<ResBody>,
    ) -> Reply<B, ResBody> {
        let rejection = || Rejection::new(response.status(), response.headers().clone());
        let reaction = self.session.rejected(epoch, rejection);
        // An upload is cut off only for a replay: where the response goes to the caller, it may
        // need the connection.
        let again = match reaction {
            Reaction::Respond => None,
            _ => spare.and_then(|spare| spare.take_over(self.may_interrupt())),
        };
        match (again, reaction) {
            (None, _) | (_, Reaction::Respond) => Reply::Respond(response),
            (Some(again), Reaction::Replay) => Reply::Again(again, None, response),
            (Some(again), Reaction::Wait(flight)) => Reply::Again(again, Some(flight), response),
            (Some(_), Reaction::Fail(error)) => Reply::Fail(error, response),
        }
    }

    /// Whether an upload in progress may be cut off for its replay. Not where its response may
    /// still be needed: that travels on the same connection.
    fn may_interrupt(&self) -> bool {
        self.policy.failure_mode == FailureMode::Error
    }
}

impl<C> fmt::Debug for Shared<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("session", &self.session)
            .field("policy", &self.policy)
            .finish()
    }
}

// === impl Spare ===

impl<B> Spare<B> {
    fn take_over(self, interrupt: bool) -> Option<Again<B>> {
        let body = self.replay.take_over(interrupt)?;
        Some(Again { head: self.head, body })
    }
}
