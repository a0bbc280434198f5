//! What a request goes through that can't be sent at once, or whose credential was rejected: boxed,
//! so that a request which needs none of it takes no room for it.

use std::{
    mem,
    ops::ControlFlow,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, request::Parts};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    credential::contract::Credential,
    error::{BoxError, Error},
    middleware::{
        binding::{Again, Reply, Spare},
        policy::FailureMode,
        snapshot::Snapshot,
    },
    refresher::BoxFuture,
    replay::{Replay, ReplayBody, drain::Drain, head::HeadCopy},
    session::{Admission, Entry, Epoch, Flight},
};

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
            if_rejected: IfRejected<B>,
            rest: Option<Drain<ResBody>>,
        },
    }
}

/// What comes next, unless this is the end.
pub(crate) type Next<T, ResBody> = Result<ControlFlow<Response<ResBody>, T>, BoxError>;

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
    Unsent(Box<Unsent<B>>),
    Again(Again<B>),
}

/// A request whose head is at hand.
struct Unsent<B> {
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

/// What a request is sent with, and what is remembered of that.
struct Sent<C> {
    entry: Arc<Entry<C>>,
    epoch: Epoch,
}

/// Why a request can't be sent now.
enum Stop {
    Wait(Flight),
    Fail(Error),
}

/// What is done about the rejection of a request that is under way.
enum IfRejected<B> {
    /// It is reported, and the request sent again.
    Replay(Spare<B>),
    /// It is reported, and goes to the caller.
    Report,
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

/// Why what is pending is there.
const TAKEN_ONCE: &str = "a stage, or the detour, ends when its request is taken";

// === impl Detour ===

impl<S, F, C, B, ResBody> Detour<S, F, C, B, ResBody>
where
    S: Clone,
    C: Credential,
    ResBody: Body,
{
    /// A request that the session has to admit first.
    pub(crate) fn admitting(
        call: Call<S, C>,
        head: Parts,
        body: ReplayBody<B>,
        replay: Replay<B>,
    ) -> Self {
        let errand = Errand::Unsent(Box::new(Unsent { head, body, replay: Some(replay) }));
        Self {
            call,
            stage: Stage::Admitting { pending: Some(Pending { errand, rejected: Rejected::Gone }) },
        }
    }

    /// For a request that was rejected, unless that is the end of it.
    pub(crate) fn after(reply: Reply<B, ResBody>, mut call: Call<S, C>) -> Next<Self, ResBody> {
        Ok(match Stage::after(reply, &mut call)? {
            ControlFlow::Continue(stage) => ControlFlow::Continue(Self { call, stage }),
            ControlFlow::Break(response) => ControlFlow::Break(response),
        })
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
            match ready!(stage.as_mut().poll(call, cx))? {
                ControlFlow::Continue(next) => stage.set(next),
                ControlFlow::Break(response) => return Poll::Ready(Ok(response)),
            }
        }
    }
}

// === impl Stage ===

impl<S, C, B, ResBody> Stage<S, S::Future, C, B, ResBody>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    C: Credential,
    ResBody: Body,
{
    fn poll(
        self: Pin<&mut Self>,
        call: &mut Call<S, C>,
        cx: &mut Context<'_>,
    ) -> Poll<Next<Self, ResBody>> {
        Poll::Ready(match self.project() {
            // ## Admitting => (Readying | Waiting | done)
            StageProj::Admitting { pending } => {
                let pending = pending.take().expect(TAKEN_ONCE);
                match call.admit() {
                    Ok(_) => Self::readying(call, pending),
                    Err(stop) => Self::stopped(stop, call, pending),
                }
            }
            // ## Waiting => (Readying | done)
            StageProj::Waiting { wait, pending } => {
                pending.as_mut().expect(TAKEN_ONCE).rejected.drain(cx);
                let renewed = ready!(wait.as_mut().poll(cx));
                let pending = pending.take().expect(TAKEN_ONCE);
                match renewed {
                    Ok(()) => Self::readying(call, pending),
                    Err(error) => Self::stopped(Stop::Fail(error), call, pending),
                }
            }
            // ## Readying => (Calling | Waiting | done)
            StageProj::Readying { service, pending } => {
                pending.as_mut().expect(TAKEN_ONCE).rejected.drain(cx);
                if service.poll_ready(cx).map_err(Into::into)?.is_pending() {
                    // The login may change while the inner service holds the request up. Where it
                    // has to wait after all, the instance is given up with this stage.
                    let Err(stop) = call.admit() else { return Poll::Pending };
                    return Poll::Ready(Self::stopped(
                        stop,
                        call,
                        pending.take().expect(TAKEN_ONCE),
                    ));
                }
                let Pending { errand, rejected } = pending.take().expect(TAKEN_ONCE);
                // Before the session is asked: what is cloned or dropped here may be anybody's, and
                // take its time.
                let Outbound { mut head, body, if_rejected } = errand.outbound(call.waited);
                match call.admit() {
                    Ok(sent) => {
                        call.snapshot.shared.apply(
                            sent.entry.credential(),
                            || sent.epoch,
                            &mut head,
                        );
                        let future = service.call(Request::from_parts(head, body));
                        let rest = rejected.into_rest();
                        Ok(ControlFlow::Continue(Self::Calling { future, sent, if_rejected, rest }))
                    }
                    Err(stop) => {
                        let errand = Errand::Unsent(Box::new(Unsent { head, body, replay: None }));
                        Self::stopped(stop, call, Pending { errand, rejected })
                    }
                }
            }
            // ## Calling => (Waiting | Readying | done)
            StageProj::Calling { future, sent, if_rejected, rest } => {
                if rest.as_mut().is_some_and(|rest| rest.poll(cx).is_ready()) {
                    *rest = None;
                }
                let mut response = ready!(future.poll(cx)).map_err(Into::into)?;
                let (shared, epoch) = (&call.snapshot.shared, sent.epoch);
                if shared.accepts(&sent.entry, || epoch, &mut response) {
                    return Poll::Ready(Ok(ControlFlow::Break(response)));
                }
                let spare = match mem::replace(if_rejected, IfRejected::Respond) {
                    IfRejected::Replay(spare) => Some(spare),
                    IfRejected::Report => None,
                    IfRejected::Respond => return Poll::Ready(Ok(ControlFlow::Break(response))),
                };
                let reply = shared.react(epoch, spare, response);
                Self::after(reply, call)
            }
        })
    }
}

impl<S, F, C, B, ResBody> Stage<S, F, C, B, ResBody>
where
    S: Clone,
    C: Credential,
    ResBody: Body,
{
    fn readying(call: &Call<S, C>, pending: Pending<B, ResBody>) -> Next<Self, ResBody> {
        Ok(ControlFlow::Continue(Self::Readying {
            service: call.snapshot.inner(),
            pending: Some(pending),
        }))
    }

    /// While it waits, the request has let go of the inner service, and of all but the body of its
    /// response.
    fn stopped(
        stop: Stop,
        call: &mut Call<S, C>,
        pending: Pending<B, ResBody>,
    ) -> Next<Self, ResBody> {
        match stop {
            Stop::Wait(flight) => Ok(ControlFlow::Continue(Self::Waiting {
                wait: call.wait(flight),
                pending: Some(pending),
            })),
            Stop::Fail(error) => pending.rejected.into_result(error).map(ControlFlow::Break),
        }
    }

    /// After a rejection.
    fn after(reply: Reply<B, ResBody>, call: &mut Call<S, C>) -> Next<Self, ResBody> {
        let mode = call.snapshot.shared.policy.failure_mode;
        match reply {
            Reply::Respond(response) => Ok(ControlFlow::Break(response)),
            Reply::Again(again, flight, response) => {
                let rejected = Rejected::new(response, mode);
                let pending = Pending { errand: Errand::Again(again), rejected };
                match flight {
                    Some(flight) => Self::stopped(Stop::Wait(flight), call, pending),
                    None => Self::readying(call, pending),
                }
            }
            Reply::Fail(error, response) => {
                Rejected::new(response, mode).into_result(error).map(ControlFlow::Break)
            }
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
    /// Asks what it may be sent with now.
    fn admit(&self) -> Result<Sent<C>, Stop> {
        let Snapshot { shared, state, .. } = &*self.snapshot;
        match shared.session.admit(state.login(), !self.waited) {
            Admission::Send(entry, epoch) => Ok(Sent { entry, epoch }),
            Admission::Wait(flight) => Err(Stop::Wait(flight)),
            Admission::Fail(error) => Err(Stop::Fail(error)),
        }
    }

    /// Waits for a flight, as one of the session's waiters.
    fn wait(&mut self, flight: Flight) -> BoxFuture<'static, Result<(), Error>> {
        self.waited = true;
        Box::pin(self.snapshot.shared.session.wait(flight))
    }
}

// === impl Errand ===

impl<B> Errand<B> {
    /// Copies the head of a first attempt, or makes that of a second one from its copy.
    fn outbound(self, waited: bool) -> Outbound<B> {
        match self {
            Self::Unsent(unsent) => {
                let Unsent { head, body, replay } = *unsent;
                let if_rejected = match replay {
                    Some(replay) if !waited => IfRejected::of(&head, replay),
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

// === impl IfRejected ===

impl<B> IfRejected<B> {
    fn of(head: &Parts, replay: Replay<B>) -> Self {
        match replay.is_possible() {
            true => Self::Replay(Spare { head: HeadCopy::of(head), replay }),
            false => Self::Report,
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

    /// What is still to be read of it while the replay is under way. Dropped unread, it would cost
    /// an HTTP/1 connection, and a herd of resets an HTTP/2 one.
    fn into_rest(self) -> Option<Drain<ResBody>> {
        match self {
            Self::Gone => None,
            Self::Draining(drain) => Some(drain),
            Self::Held(response) => Some(Drain::new(response.into_body())),
        }
    }

    /// The response, where it was held for the caller; otherwise the error.
    fn into_result(self, error: Error) -> Result<Response<ResBody>, BoxError> {
        match self {
            Self::Held(response) => Ok(response),
            Self::Gone | Self::Draining(_) => Err(error.into()),
        }
    }
}
