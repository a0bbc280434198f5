//! The future of a [`Refresh`](crate::Refresh) service.

use crate::{
    call::{Call, Message, Reply, Sent},
    credential::Credential,
    drain::Drain,
    error::Error,
    policy::FailureMode,
    refresher::BoxFuture,
    replay::ReplayBody,
    session::{Admission, Flight},
};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower::{BoxError, Service};

pin_project! {
    /// The response to a request, after one refresh and one replay if they were needed.
    ///
    /// # Errors
    ///
    /// The inner service's own error as it is, or an [`Error`](crate::Error) of the session.
    ///
    /// # Panics
    ///
    /// When it is polled after its end.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time. A refresh that it has started goes on, for everybody else and for the next request.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, C, B, ResBody>
    where
        S: Service<Request<ReplayBody<B>>>,
    {
        #[pin]
        course: Course<S, S::Future, C, B, ResBody>,
    }
}

pin_project! {
    #[project = CourseProj]
    enum Course<S, F, C, B, ResBody> {
        // It carries the credential.
        Carrying { call: Call<S, C>, #[pin] stage: Stage<S, F, B, C, ResBody> },
        // It is none of the session's business, and an instance of the inner service is to become ready for it.
        Readying { service: S, request: Option<Request<ReplayBody<B>>> },
        // It is none of the session's business.
        Passing { #[pin] future: F },
        Failed { error: Option<Error> },
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<S, F, B, C, ResBody> {
        Admitting { pending: Option<Pending<B, ResBody>> },
        Waiting { wait: BoxFuture<'static, Result<(), Error>>, pending: Option<Pending<B, ResBody>> },
        Readying { service: S, pending: Option<Pending<B, ResBody>> },
        Calling { #[pin] future: F, sent: Option<Sent<C, B>>, rest: Option<Drain<ResBody>> },
    }
}

/// A message that is to be sent, and what is left of the response that rejected it the first time.
struct Pending<B, ResBody> {
    message: Message<B>,
    rejected: Rejected<ResBody>,
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
const TAKEN_ONCE: &str = "a stage is left when its message is taken";

// === impl ResponseFuture ===

impl<S, C, B, ResBody> ResponseFuture<S, C, B, ResBody>
where
    S: Service<Request<ReplayBody<B>>>,
{
    /// A first attempt that is under way.
    pub(crate) fn calling(call: Call<S, C>, future: S::Future, sent: Sent<C, B>) -> Self {
        Self::carrying(call, Stage::Calling { future, sent: Some(sent), rest: None })
    }

    /// A request that the session has to admit first.
    pub(crate) fn admitting(call: Call<S, C>, message: Message<B>) -> Self {
        let pending = Pending { message, rejected: Rejected::Gone };
        Self::carrying(call, Stage::Admitting { pending: Some(pending) })
    }

    pub(crate) fn passing(future: S::Future) -> Self {
        Self { course: Course::Passing { future } }
    }

    pub(crate) fn readying_to_pass(service: S, request: Request<ReplayBody<B>>) -> Self {
        Self { course: Course::Readying { service, request: Some(request) } }
    }

    pub(crate) fn failed(error: Error) -> Self {
        Self { course: Course::Failed { error: Some(error) } }
    }

    fn carrying(call: Call<S, C>, stage: Stage<S, S::Future, B, C, ResBody>) -> Self {
        Self { course: Course::Carrying { call, stage } }
    }
}

impl<S, C, B, ResBody> Future for ResponseFuture<S, C, B, ResBody>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    C: Credential,
    B: Body + Unpin,
    ResBody: Body,
{
    type Output = Result<Response<ResBody>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut course = self.project().course;
        loop {
            let next = match course.as_mut().project() {
                CourseProj::Carrying { call, stage } => return stage.poll(call, cx),
                CourseProj::Readying { service, request } => {
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    let request = request.take().expect("the stage is left when its request is taken");
                    Course::Passing { future: service.call(request) }
                }
                CourseProj::Passing { future } => return future.poll(cx).map_err(Into::into),
                CourseProj::Failed { error } => {
                    return Poll::Ready(Err(error.take().expect("polled after its end").into()));
                }
            };
            course.set(next);
        }
    }
}

impl<S, C, B, ResBody> fmt::Debug for ResponseFuture<S, C, B, ResBody>
where
    S: Service<Request<ReplayBody<B>>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

// === impl Stage ===

impl<S, B, C, ResBody> Stage<S, S::Future, B, C, ResBody>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    C: Credential,
    ResBody: Body,
{
    fn poll(
        mut self: Pin<&mut Self>,
        call: &mut Call<S, C>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<ResBody>, BoxError>> {
        loop {
            let next = match self.as_mut().project() {
                // ## Admitting => (Readying | Waiting | done)
                StageProj::Admitting { pending } => {
                    let pending = pending.take().expect(TAKEN_ONCE);
                    match call.admit() {
                        Admission::Send(..) => {
                            Stage::Readying { service: call.inner.clone(), pending: Some(pending) }
                        }
                        Admission::Wait(flight) => Stage::wait(call, flight, pending),
                        Admission::Fail(error) => return Poll::Ready(pending.rejected.or(error)),
                    }
                }
                // ## Waiting => (Admitting | done)
                StageProj::Waiting { wait, pending } => {
                    if let Some(pending) = pending {
                        pending.rejected.drain(cx);
                    }
                    let renewed = ready!(wait.as_mut().poll(cx));
                    let pending = pending.take().expect(TAKEN_ONCE);
                    match renewed {
                        Ok(()) => Stage::Admitting { pending: Some(pending) },
                        Err(error) => return Poll::Ready(pending.rejected.or(error)),
                    }
                }
                // ## Readying => (Calling | Waiting | done)
                StageProj::Readying { service, pending } => {
                    if let Some(pending) = pending {
                        pending.rejected.drain(cx);
                    }
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    let pending = pending.take().expect(TAKEN_ONCE);
                    // Asked again: the login may have changed while the inner service held the request up. Where it
                    // has to wait after all, the ready instance is given up with this stage.
                    match call.admit() {
                        Admission::Send(held, stamped) => {
                            let (future, sent) = call.send(service, pending.message, held, stamped);
                            Stage::Calling { future, sent: Some(sent), rest: pending.rejected.into_rest() }
                        }
                        Admission::Wait(flight) => Stage::wait(call, flight, pending),
                        Admission::Fail(error) => return Poll::Ready(pending.rejected.or(error)),
                    }
                }
                // ## Calling => (Waiting | Admitting | done)
                StageProj::Calling { future, sent, rest } => {
                    if rest.as_mut().is_some_and(|rest| rest.poll(cx).is_ready()) {
                        *rest = None;
                    }
                    let response = ready!(future.poll(cx)).map_err(Into::into)?;
                    let sent = sent.take().expect("polled after its end");
                    let mode = call.shared.policy.failure_mode;
                    match call.reply(sent, response) {
                        Reply::Respond(response) => return Poll::Ready(Ok(response)),
                        Reply::Again(message, flight, response) => {
                            let pending = Pending { message, rejected: Rejected::new(response, mode) };
                            match flight {
                                Some(flight) => Stage::wait(call, flight, pending),
                                None => Stage::Admitting { pending: Some(pending) },
                            }
                        }
                        Reply::Fail(error, response) => {
                            return Poll::Ready(Rejected::new(response, mode).or(error));
                        }
                    }
                }
            };
            self.set(next);
        }
    }

    /// From here on the request has let go of the inner service, and of all but the body of its response.
    fn wait(call: &mut Call<S, C>, flight: Flight, pending: Pending<B, ResBody>) -> Self {
        Stage::Waiting { wait: call.wait(flight), pending: Some(pending) }
    }
}

// === impl Rejected ===

impl<ResBody: Body> Rejected<ResBody> {
    fn new(response: Response<ResBody>, mode: FailureMode) -> Self {
        match mode {
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
