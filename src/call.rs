use crate::{
    credential::Credential,
    detect::Verdict,
    error::Error,
    head::HeadCopy,
    marker::NoReplay,
    policy::{FailureMode, Policy, Route},
    refresher::{BoxFuture, Rejection},
    replay::{Replay, ReplayBody},
    session::{Admission, Flight, Held, Login, Reaction, Session, Stamped},
    stamp::{Rejects, Stamp},
};
use http::{Request, Response, header::EXPECT, request::Parts};
use http_body::Body;
use std::{fmt, sync::Arc};
use tower::{BoxError, Service};

/// What all calls of a service share.
pub(crate) struct Shared<C> {
    pub(crate) session: Session<C>,
    pub(crate) policy: Policy,
    /// For the stamps, where they are exposed.
    rejects: Option<Arc<dyn Rejects>>,
}

/// One request on its way: what does not change from one attempt to the next.
pub(crate) struct Call<S, C> {
    pub(crate) shared: Arc<Shared<C>>,
    /// Never called, only cloned for the next attempt: each is polled ready by itself.
    pub(crate) inner: S,
    /// In whose name it is sent.
    login: Login,
    /// A request that has waited causes no flight of its own, and its rejection goes to the caller.
    waited: bool,
}

/// What is to be sent next.
pub(crate) struct Message<B> {
    head: Parts,
    body: ReplayBody<B>,
    attempt: Attempt<B>,
}

enum Attempt<B> {
    /// The first, and what its replay takes.
    First(Replay<B>),
    /// The first, and there must not be another.
    Only,
    /// The replay.
    Replay,
}

/// An attempt that is under way.
pub(crate) struct Sent<C, B> {
    held: Held<C>,
    stamped: Stamped,
    if_rejected: IfRejected<B>,
}

/// What is done about a rejection.
#[expect(clippy::large_enum_variant, reason = "the large one is what nearly every request has")]
enum IfRejected<B> {
    /// It is reported, and the request is sent again.
    Replay(HeadCopy, Replay<B>),
    /// It is reported, and goes to the caller.
    Report,
    /// It goes to the caller.
    Respond,
}

/// What becomes of a response.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(crate) enum Reply<B, ResBody> {
    /// It goes to the caller.
    Respond(Response<ResBody>),
    /// It was rejected, and is sent again: after the flight, if there is one.
    Again(Message<B>, Option<Flight>, Response<ResBody>),
    /// It was rejected, and there will be no newer credential.
    Fail(Error, Response<ResBody>),
}

// === impl Shared ===

impl<C: Credential> Shared<C> {
    pub(crate) fn new(session: Session<C>, policy: Policy) -> Self {
        let rejects = policy.expose_stamp.then(|| Arc::new(session.downgrade()) as _);
        Self { session, policy, rejects }
    }

    pub(crate) fn route(&self, request: &Parts) -> Route {
        if self.session.is_recursive() { Route::Pass } else { self.policy.route::<C>(request) }
    }

    fn stamp(&self, stamped: Stamped) -> Option<Stamp> {
        self.rejects.as_ref().map(|rejects| Stamp::new(stamped, rejects.clone()))
    }
}

impl<C> fmt::Debug for Shared<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("session", &self.session).field("policy", &self.policy).finish()
    }
}

// === impl Call ===

impl<S, C: Credential> Call<S, C> {
    pub(crate) fn new(shared: Arc<Shared<C>>, inner: S, login: Login) -> Self {
        Self { shared, inner, login, waited: false }
    }

    /// Asks whether it may be sent now.
    pub(crate) fn admit(&self) -> Admission<C> {
        let admission = self.shared.session.admit(self.login, !self.waited);
        admission.unwrap_or_else(Admission::Fail)
    }

    /// Waits for a flight, as one of the session's waiters.
    pub(crate) fn wait(&mut self, flight: Flight) -> BoxFuture<'static, Result<(), Error>> {
        self.waited = true;
        Box::pin(self.shared.session.wait(flight))
    }

    /// Sends it now, to an instance of the inner service that was polled ready.
    pub(crate) fn send<B>(
        &self,
        service: &mut S,
        message: Message<B>,
        held: Held<C>,
        stamped: Stamped,
    ) -> (S::Future, Sent<C, B>)
    where
        S: Service<Request<ReplayBody<B>>>,
    {
        let Message { mut head, body, attempt } = message;
        let if_rejected = match attempt {
            Attempt::Replay => IfRejected::Respond,
            Attempt::First(_) | Attempt::Only if self.waited => IfRejected::Respond,
            Attempt::First(replay) => IfRejected::Replay(HeadCopy::of(&head), replay),
            Attempt::Only => IfRejected::Report,
        };
        held.credential().apply(&mut head);
        if let Some(stamp) = self.shared.stamp(stamped) {
            head.extensions.insert(stamp);
        }
        (service.call(Request::from_parts(head, body)), Sent { held, stamped, if_rejected })
    }

    /// Decides what becomes of the response to an attempt.
    pub(crate) fn reply<B, ResBody>(
        &self,
        sent: Sent<C, B>,
        mut response: Response<ResBody>,
    ) -> Reply<B, ResBody> {
        let Sent { held, stamped, if_rejected } = sent;
        held.credential().observe(response.status(), response.headers());
        if let Some(stamp) = self.shared.stamp(stamped) {
            response.extensions_mut().insert(stamp);
        }
        if !self.is_rejection(&response) {
            // An upstream that is broken has said nothing about it.
            if !response.status().is_server_error() {
                held.accept();
            }
            return Reply::Respond(response);
        }
        if let IfRejected::Respond = if_rejected {
            return Reply::Respond(response);
        }
        let rejection = || Rejection::new(response.status(), response.headers().clone());
        let reaction = self.shared.session.rejected(stamped, rejection).unwrap_or_else(Reaction::Fail);
        // An upload is cut off only for a replay: where the response goes to the caller, it may need the connection.
        let again = match (&reaction, if_rejected) {
            (Reaction::Respond, _) | (_, IfRejected::Report | IfRejected::Respond) => None,
            (_, IfRejected::Replay(head, replay)) => replay
                .take_over(self.may_interrupt())
                .map(|body| Message { head: head.restore(), body, attempt: Attempt::Replay }),
        };
        match (again, reaction) {
            (None, _) | (_, Reaction::Respond) => Reply::Respond(response),
            (Some(message), Reaction::Replay) => Reply::Again(message, None, response),
            (Some(message), Reaction::Wait(flight)) => Reply::Again(message, Some(flight), response),
            (Some(_), Reaction::Fail(error)) => Reply::Fail(error, response),
        }
    }

    fn is_rejection<ResBody>(&self, response: &Response<ResBody>) -> bool {
        let verdict = self.shared.policy.detect.inspect(response.status(), response.headers());
        verdict == Verdict::Rejected
    }

    /// Whether an upload in progress may be cut off for its replay. Not where its response may still be needed: that
    /// travels on the same connection.
    fn may_interrupt(&self) -> bool {
        self.shared.policy.failure_mode == FailureMode::Error
    }
}

// === impl Message ===

impl<B> Message<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    /// A request that was not sent yet.
    ///
    /// Its body may be polled here, except where polling it promises that the upstream has agreed (RFC 9110 §10.1.1).
    pub(crate) fn new(head: Parts, body: B, replay_limit: usize) -> Self {
        if head.extensions.get::<NoReplay>().is_some() {
            return Self { head, body: ReplayBody::passthrough(body), attempt: Attempt::Only };
        }
        let may_poll_early = !head.headers.contains_key(EXPECT);
        let (body, replay) = ReplayBody::recording(body, replay_limit, may_poll_early);
        Self { head, body, attempt: Attempt::First(replay) }
    }
}
