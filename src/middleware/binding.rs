use std::fmt;

use http::{Response, request::Parts};

use crate::{
    credential::{contract::Credential, origins::Destination},
    detect::Verdict,
    error::Error,
    head::{RequestHead, ResponseHead},
    middleware::{
        extension::{Rejected, Stamp, TargetUri},
        policy::{FailureMode, Policy, Route},
    },
    observe::event::EventKind,
    session::{Entry, Epoch, Login, handle::Session},
};

/// The session and the settings with which a request is sent, the same for all of its attempts.
pub(super) struct Binding<'a, C> {
    pub(super) session: &'a Session<C>,
    pub(super) policy: &'a Policy,
}

// === impl Binding ===

impl<C: Credential> Binding<'_, C> {
    #[inline]
    pub(super) fn route(&self, request: &Parts) -> Route {
        if self.session.is_recursive() { Route::Pass } else { self.policy.route::<C>(request) }
    }

    /// Applies a credential to a request that is about to be sent.
    #[inline]
    pub(super) fn apply(&self, credential: &C, epoch: impl FnOnce() -> Epoch, head: &mut Parts) {
        credential.apply(head);
        if self.policy.expose_stamp {
            head.extensions.insert(self.stamp(epoch()));
        }
    }

    /// Inspects the response to a request that was sent with this credential, and records an
    /// acceptance.
    #[inline]
    pub(super) fn inspect<ResBody>(
        &self,
        entry: &Entry<C>,
        epoch: impl FnOnce() -> Epoch,
        request: RequestHead<'_>,
        response: &mut Response<ResBody>,
    ) -> Verdict {
        if self.is_foreign(response) {
            return Verdict::Accepted;
        }
        if self.policy.expose_stamp {
            response.extensions_mut().insert(self.stamp(epoch()));
        }
        // Removed, since it is about this credential: a layer above may have another session.
        let is_marked = response.extensions_mut().remove::<Rejected>().is_some();
        let head = ResponseHead::of(response, request.relative_to(self.policy.origins.base()));
        entry.credential().observe(&head);
        if is_marked {
            return Verdict::Rejected;
        }
        let verdict = self.policy.detect.inspect(&head);
        // A server error says nothing about the credential.
        if verdict == Verdict::Accepted && !response.status().is_server_error() {
            entry.accept();
        }
        verdict
    }

    fn stamp(&self, epoch: Epoch) -> Stamp {
        Stamp::new(epoch, self.session.rejection_target())
    }

    #[cold]
    pub(super) fn report_refused(&self, login: Login, error: &Error) {
        self.session.report(EventKind::RequestRefused { login, error });
    }

    /// Whether the inner service has followed a redirect to an origin that gets no credential.
    #[inline]
    fn is_foreign<ResBody>(&self, response: &Response<ResBody>) -> bool {
        let target = response.extensions().get::<TargetUri>();
        target.is_some_and(|target| {
            self.policy.origins.destination_of(&target.0) != Destination::Allowed
        })
    }

    /// Whether a replay may interrupt the upload of its first attempt. Not if the response may
    /// still go to the caller, since it arrives on the connection of that upload.
    pub(super) fn may_interrupt(&self) -> bool {
        self.policy.failure_mode == FailureMode::Error
    }
}

impl<C> Clone for Binding<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Binding<'_, C> {}

impl<C> fmt::Debug for Binding<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding")
            .field("session", self.session)
            .field("policy", self.policy)
            .finish()
    }
}
