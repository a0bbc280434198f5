//! What a request goes through that can't be sent at once, or whose credential was rejected: boxed, so that a request
//! which needs none of it takes no room for it.

use crate::{
    call::{Again, Reply, Sent, Spare},
    credential::Credential,
    drain::Drain,
    error::Error,
    head::HeadCopy,
    policy::FailureMode,
    refresher::BoxFuture,
    replay::{Replay, ReplayBody},
    session::{Admission, Flight},
    view::Snapshot,
};
use http::{Request, Response, request::Parts};
use http_body::Body;
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tower::{BoxError, Service};

pin_project! {
    /// A request that is admitted, waits, or is sent again.
    pub(crate) struct Detour<S, F, C, B, ResBody> {
        call: Call<S, C>,
        #[pin]
        stage: Stage<S, F, C, B, ResBody>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<S, F, C, B, ResBody> {
        Admitting { pending: Option<Pending<B, ResBody>> },
        Waiting { wait: BoxFuture<'static, Result<(), Error>>, pending: Option<Pending<B, ResBody>> },
        Readying { service: S, pending: Option<Pending<B, ResBody>> },
        Calling {
            #[pin] future: F,
            sent: Sent<C>,
            if_rejected: Option<IfRejected<B>>,
            rest: Option<Drain<ResBody>>,
        },
    }
}

/// What does not change from one attempt to the next.
pub(crate) struct Call<S, C> {
    /// Of its call: it is sent in the name of that login.
    snapshot: Arc<Snapshot<S, C>>,
    /// A request that has waited causes no flight of its own, and its rejection goes to the caller.
    waited: bool,
}

/// A request that is to be sent, and what is left of the response that rejected it the first time.
struct Pending<B, ResBody> {
    errand: Errand<B>,
    rejected: Rejected<ResBody>,
}

enum Errand<B> {
    /// Boxed, because it is much larger than what is left after a rejection, which comes in herds.
    Whole(Box<Whole<B>>),
    Again(Again<B>),
}

/// A request that was not copied yet.
struct Whole<B> {
    head: Parts,
    body: ReplayBody<B>,
    /// `None` if its rejection will go to the caller.
    replay: Option<Replay<B>>,
}

/// A request that is ready to be sent, but for its credential.
struct Outbound<B> {
    head: Parts,
    body: ReplayBody<B>,
    if_rejected: IfRejected<B>,
}

/// What is done about the rejection of a request that is under way.
enum IfRejected<B> {
    /// It is reported, and the request is sent again if that is possible.
    Report(Option<Spare<B>>),
    /// It goes to the caller.
    Respond,
}

/// A rejected response, while its request waits.
enum Rejected<ResBody> {
    /// Nothing is left of it, or the request was never sent.
    Gone,
    /// It is read to its end.
    Draining(Drain<ResBody>),
    /// It is what the caller gets if there will be no newer credential.
    Held(Response<ResBody>),
}

/// Why what is pending can be taken out of its stage.
const TAKEN_ONCE: &str = "a stage is left when its request is taken";

// === impl Detour ===

impl<S, F, C, B, ResBody> Detour<S, F, C, B, ResBody>
where
    C: Credential,
    ResBody: Body,
{
    /// A request that the session has to admit first.
    pub(crate) fn admitting(call: Call<S, C>, head: Parts, body: ReplayBody<B>, replay: Replay<B>) -> Self {
        let errand = Errand::Whole(Box::new(Whole { head, body, replay: Some(replay) }));
        Self { call, stage: Stage::Admitting { pending: Some(Pending { errand, rejected: Rejected::Gone }) } }
    }

    /// A request that was rejected, and is sent again: after the flight, if there is one.
    pub(crate) fn again(
        mut call: Call<S, C>,
        again: Again<B>,
        flight: Option<Flight>,
        response: Response<ResBody>,
    ) -> Self
    where
        S: Clone,
    {
        let stage = Stage::again(&mut call, again, flight, response);
        Self { call, stage }
    }
}

impl<S, C, B, ResBody> Future for Detour<S, S::Future, C, B, ResBody>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    C: Credential,
    ResBody: Body,
{
    type Output = Result<Response<ResBody>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (call, mut stage) = (this.call, this.stage);
        loop {
            let next = match stage.as_mut().project() {
                // ## Admitting => (Readying | Waiting | done)
                StageProj::Admitting { pending } => {
                    let pending = pending.take().expect(TAKEN_ONCE);
                    match call.admit() {
                        Admission::Send(..) => Stage::readying(call, pending),
                        Admission::Wait(flight) => Stage::waiting(call, flight, pending),
                        Admission::Fail(error) => return Poll::Ready(pending.rejected.or(error)),
                    }
                }
                // ## Waiting => (Readying | done)
                StageProj::Waiting { wait, pending } => {
                    if let Some(pending) = pending {
                        pending.rejected.drain(cx);
                    }
                    let renewed = ready!(wait.as_mut().poll(cx));
                    let pending = pending.take().expect(TAKEN_ONCE);
                    match renewed {
                        Ok(()) => Stage::readying(call, pending),
                        Err(error) => return Poll::Ready(pending.rejected.or(error)),
                    }
                }
                // ## Readying => (Calling | Waiting | done)
                StageProj::Readying { service, pending } => {
                    if let Some(pending) = pending {
                        pending.rejected.drain(cx);
                    }
                    if service.poll_ready(cx).map_err(Into::into)?.is_pending() {
                        // The login may change while the inner service holds the request up. Where it has to wait after
                        // all, the instance is given up with this stage.
                        match call.admit() {
                            Admission::Send(..) => return Poll::Pending,
                            Admission::Wait(flight) => {
                                Stage::waiting(call, flight, pending.take().expect(TAKEN_ONCE))
                            }
                            Admission::Fail(error) => {
                                return Poll::Ready(pending.take().expect(TAKEN_ONCE).rejected.or(error));
                            }
                        }
                    } else {
                        let Pending { errand, rejected } = pending.take().expect(TAKEN_ONCE);
                        // Before the session is asked: what is cloned or dropped here may be anybody's, and take its time.
                        let Outbound { mut head, body, if_rejected } = errand.outbound(call.waited);
                        match call.admit() {
                            Admission::Send(held, stamped) => {
                                call.snapshot.shared.apply(held.credential(), || stamped, &mut head);
                                let future = service.call(Request::from_parts(head, body));
                                let sent = Sent { held, stamped };
                                let if_rejected = Some(if_rejected);
                                Stage::Calling { future, sent, if_rejected, rest: rejected.into_rest() }
                            }
                            Admission::Wait(flight) => {
                                let errand = Errand::Whole(Box::new(Whole { head, body, replay: None }));
                                Stage::waiting(call, flight, Pending { errand, rejected })
                            }
                            Admission::Fail(error) => return Poll::Ready(rejected.or(error)),
                        }
                    }
                }
                // ## Calling => (Waiting | Readying | done)
                StageProj::Calling { future, sent, if_rejected, rest } => {
                    if rest.as_mut().is_some_and(|rest| rest.poll(cx).is_ready()) {
                        *rest = None;
                    }
                    let mut response = ready!(future.poll(cx)).map_err(Into::into)?;
                    let if_rejected = if_rejected.take().expect("polled after its end");
                    let (shared, stamped) = (&call.snapshot.shared, sent.stamped);
                    if shared.accepts(&sent.held, || stamped, &mut response) {
                        return Poll::Ready(Ok(response));
                    }
                    let IfRejected::Report(spare) = if_rejected else { return Poll::Ready(Ok(response)) };
                    match shared.react(stamped, spare, response) {
                        Reply::Respond(response) => return Poll::Ready(Ok(response)),
                        Reply::Again(again, flight, response) => Stage::again(call, again, flight, response),
                        Reply::Fail(error, response) => return Poll::Ready(call.fail(error, response)),
                    }
                }
            };
            stage.set(next);
        }
    }
}

// === impl Stage ===

impl<S, F, C, B, ResBody> Stage<S, F, C, B, ResBody>
where
    S: Clone,
    C: Credential,
    ResBody: Body,
{
    fn readying(call: &Call<S, C>, pending: Pending<B, ResBody>) -> Self {
        Self::Readying { service: call.snapshot.inner(), pending: Some(pending) }
    }

    /// From here on the request has let go of the inner service, and of all but the body of its response.
    fn waiting(call: &mut Call<S, C>, flight: Flight, pending: Pending<B, ResBody>) -> Self {
        Self::Waiting { wait: call.wait(flight), pending: Some(pending) }
    }

    fn again(
        call: &mut Call<S, C>,
        again: Again<B>,
        flight: Option<Flight>,
        response: Response<ResBody>,
    ) -> Self {
        let rejected = Rejected::new(response, call.snapshot.shared.policy.failure_mode);
        let pending = Pending { errand: Errand::Again(again), rejected };
        match flight {
            Some(flight) => Self::waiting(call, flight, pending),
            None => Self::readying(call, pending),
        }
    }
}

// === impl Call ===

impl<S, C> Call<S, C> {
    pub(crate) fn new(snapshot: Arc<Snapshot<S, C>>) -> Self {
        Self { snapshot, waited: false }
    }
}

impl<S, C: Credential> Call<S, C> {
    /// Asks whether it may be sent now.
    fn admit(&self) -> Admission<C> {
        let Snapshot { shared, state, .. } = &*self.snapshot;
        let admission = shared.session.admit(state.login(), !self.waited);
        admission.unwrap_or_else(Admission::Fail)
    }

    /// Waits for a flight, as one of the session's waiters.
    fn wait(&mut self, flight: Flight) -> BoxFuture<'static, Result<(), Error>> {
        self.waited = true;
        Box::pin(self.snapshot.shared.session.wait(flight))
    }

    /// What a rejected request gets where there will be no newer credential.
    pub(crate) fn fail<ResBody: Body>(
        &self,
        error: Error,
        response: Response<ResBody>,
    ) -> Result<Response<ResBody>, BoxError> {
        Rejected::new(response, self.snapshot.shared.policy.failure_mode).or(error)
    }
}

// === impl Errand ===

impl<B> Errand<B> {
    /// Copies the head of a first attempt, or makes that of a second one from its copy.
    fn outbound(self, waited: bool) -> Outbound<B> {
        match self {
            Self::Whole(whole) => {
                let Whole { head, body, replay } = *whole;
                let if_rejected = match replay {
                    Some(replay) if !waited => {
                        let copy = replay.is_possible().then(|| HeadCopy::of(&head));
                        IfRejected::Report(copy.map(|head| Spare { head, replay }))
                    }
                    _ => IfRejected::Respond,
                };
                Outbound { head, body, if_rejected }
            }
            Self::Again(Again { head, body }) => {
                Outbound { head: head.restore(), body, if_rejected: IfRejected::Respond }
            }
        }
    }
}

// === impl Rejected ===

impl<ResBody: Body> Rejected<ResBody> {
    fn new(response: Response<ResBody>, mode: FailureMode) -> Self {
        match mode {
            FailureMode::Error if response.body().is_end_stream() => Self::Gone,
            FailureMode::Error => Self::Draining(Drain::new(response.into_body())),
            FailureMode::Response => Self::Held(response),
        }
    }

    fn drain(&mut self, cx: &mut Context<'_>) {
        if let Self::Draining(drain) = self
            && drain.poll(cx).is_ready()
        {
            *self = Self::Gone;
        }
    }

    /// What is still to be read of it while the replay is under way. Dropped unread, it would cost an HTTP/1 connection,
    /// and a herd of resets an HTTP/2 one.
    fn into_rest(self) -> Option<Drain<ResBody>> {
        match self {
            Self::Gone => None,
            Self::Draining(drain) => Some(drain),
            Self::Held(response) => Some(Drain::new(response.into_body())),
        }
    }

    /// The response, where it was held for the caller; otherwise the error.
    fn or(self, error: Error) -> Result<Response<ResBody>, BoxError> {
        match self {
            Self::Held(response) => Ok(response),
            Self::Gone | Self::Draining(_) => Err(error.into()),
        }
    }
}
