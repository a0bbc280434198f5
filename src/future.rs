//! The future of a [`Refresh`](crate::Refresh) service.

use crate::{
    call::{Reply, Spare},
    credential::Credential,
    detour::{Call, Detour},
    error::Error,
    head::HeadCopy,
    replay::{Replay, ReplayBody},
    view::Snapshot,
};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
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
    /// May panic when it is polled after its end.
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
        // It carries the credential, and was sent at once.
        Fresh { #[pin] future: F, kept: Option<Kept<S, C, B>> },
        // It carries the credential, and something has come in between.
        Detour { detour: Pin<Box<Detour<S, F, C, B, ResBody>>> },
        // It is none of the session's business, and an instance of the inner service is to become ready for it.
        Readying { pass: Option<Box<Pass<S, B>>> },
        // It is none of the session's business.
        Passing { #[pin] future: F },
        Failed { error: Option<Error> },
    }
}

/// A request that passes untouched. Boxed, for the room that an instance of the inner service may take.
struct Pass<S, B> {
    service: S,
    request: Request<ReplayBody<B>>,
}

/// What is kept of a request that was sent at once.
pub(crate) struct Kept<S, C, B> {
    pub(crate) snapshot: Arc<Snapshot<S, C>>,
    /// `None` if it can't be sent again. Not in one with the replay: that would be one more move for every request.
    pub(crate) copy: Option<HeadCopy>,
    pub(crate) replay: Replay<B>,
}

/// What has become of a request that was sent at once and rejected.
enum Next<S, F, C, B, ResBody> {
    Detour(Detour<S, F, C, B, ResBody>),
    Done(Result<Response<ResBody>, BoxError>),
}

// === impl ResponseFuture ===

impl<S, C, B, ResBody> ResponseFuture<S, C, B, ResBody>
where
    S: Service<Request<ReplayBody<B>>>,
{
    /// A request that was sent at once.
    #[inline]
    pub(crate) fn fresh(future: S::Future, kept: Kept<S, C, B>) -> Self {
        Self { course: Course::Fresh { future, kept: Some(kept) } }
    }

    pub(crate) fn detour(detour: Detour<S, S::Future, C, B, ResBody>) -> Self {
        Self { course: Course::Detour { detour: Box::pin(detour) } }
    }

    pub(crate) fn passing(future: S::Future) -> Self {
        Self { course: Course::Passing { future } }
    }

    pub(crate) fn readying_to_pass(service: S, request: Request<ReplayBody<B>>) -> Self {
        Self { course: Course::Readying { pass: Some(Box::new(Pass { service, request })) } }
    }

    pub(crate) fn failed(error: Error) -> Self {
        Self { course: Course::Failed { error: Some(error) } }
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
                // ## Fresh => (Detour | done)
                CourseProj::Fresh { future, kept } => {
                    let mut response = ready!(future.poll(cx)).map_err(Into::into)?;
                    if kept.as_ref().expect(POLLED_ON).snapshot.accepts(&mut response) {
                        // Whoever keeps the future of a response that came would keep an upload's record with it.
                        *kept = None;
                        return Poll::Ready(Ok(response));
                    }
                    match kept.take().expect(POLLED_ON).rejected(response) {
                        Next::Detour(detour) => Course::Detour { detour: Box::pin(detour) },
                        Next::Done(result) => return Poll::Ready(result),
                    }
                }
                // ## Detour => done
                CourseProj::Detour { detour } => return detour.as_mut().poll(cx),
                // ## Readying => Passing
                CourseProj::Readying { pass } => {
                    let service = pass.as_mut().map(|pass| &mut pass.service).expect(POLLED_ON);
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    let Pass { mut service, request } = *pass.take().expect(POLLED_ON);
                    Course::Passing { future: service.call(request) }
                }
                // ## Passing => done
                CourseProj::Passing { future } => return future.poll(cx).map_err(Into::into),
                // ## Failed => done
                CourseProj::Failed { error } => {
                    return Poll::Ready(Err(error.take().expect(POLLED_ON).into()));
                }
            };
            course.set(next);
        }
    }
}

const POLLED_ON: &str = "polled after its end";

impl<S, C, B, ResBody> fmt::Debug for ResponseFuture<S, C, B, ResBody>
where
    S: Service<Request<ReplayBody<B>>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

// === impl Kept ===

impl<S: Clone, C: Credential, B> Kept<S, C, B> {
    #[cold]
    fn rejected<F, ResBody: Body>(self, response: Response<ResBody>) -> Next<S, F, C, B, ResBody> {
        let Self { snapshot, copy, replay } = self;
        let spare = copy.map(|head| Spare { head, replay });
        let reply = snapshot.shared.react(snapshot.state.stamp(), spare, response);
        let call = Call::new(snapshot);
        match reply {
            Reply::Respond(response) => Next::Done(Ok(response)),
            Reply::Again(again, flight, response) => {
                Next::Detour(Detour::again(call, again, flight, response))
            }
            Reply::Fail(error, response) => Next::Done(call.fail(error, response)),
        }
    }
}
