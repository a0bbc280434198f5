//! The future of a [`Refresh`](crate::Refresh) service.

use std::{
    fmt,
    ops::ControlFlow,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    credential::contract::Credential,
    error::{BoxError, Error},
    middleware::{
        binding::Spare,
        detour::{Call, Detour, Next},
        snapshot::Snapshot,
    },
    replay::{Replay, ReplayBody, head::HeadCopy},
};

pin_project! {
    /// The response to a request, after one refresh and one replay if they were needed.
    ///
    /// While a request is held up by the inner service, which has to become ready for it, its task
    /// is woken by that alone: a logout meanwhile is noticed then, before anything is sent.
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
    /// May be dropped at any time. A refresh that it has started goes on, for everybody else and
    /// for the next request.
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
        Fresh { #[pin] future: F, underway: Option<Underway<S, C, B>> },
        // It carries the credential, and something has come in between.
        Detour { detour: Pin<Box<Detour<S, F, C, B, ResBody>>> },
        // It is none of the session's business, and an instance of the inner service is to become
        // ready for it.
        ReadyingToPass { pass: Option<Box<Pass<S, B>>> },
        // It is none of the session's business.
        Passing { #[pin] future: F },
        Failed { error: Option<Error> },
        Over,
    }
}

/// A request that passes untouched. Boxed, for the room that an instance of the inner service may
/// take.
struct Pass<S, B> {
    service: S,
    request: Request<ReplayBody<B>>,
}

/// What is kept of a request that was sent at once.
pub(crate) struct Underway<S, C, B> {
    pub(crate) snapshot: Arc<Snapshot<S, C>>,
    /// `None` if it can't be sent again. Beside the replay, and not in one `Option` with it as a
    /// [`Spare`]: that would be one more move for every request.
    pub(crate) copy: Option<HeadCopy>,
    pub(crate) replay: Replay<B>,
}

/// Why something is there that is taken only once.
const TAKEN_ONCE: &str = "a course ends, or becomes another, when this is taken";

// === impl ResponseFuture ===

impl<S, C, B, ResBody> ResponseFuture<S, C, B, ResBody>
where
    S: Service<Request<ReplayBody<B>>>,
{
    /// A request that was sent at once.
    #[inline]
    pub(crate) fn fresh(future: S::Future, underway: Underway<S, C, B>) -> Self {
        Self { course: Course::Fresh { future, underway: Some(underway) } }
    }

    pub(crate) fn detour(detour: Detour<S, S::Future, C, B, ResBody>) -> Self {
        Self { course: Course::Detour { detour: Box::pin(detour) } }
    }

    pub(crate) fn passing(future: S::Future) -> Self {
        Self { course: Course::Passing { future } }
    }

    pub(crate) fn readying_to_pass(service: S, request: Request<ReplayBody<B>>) -> Self {
        Self { course: Course::ReadyingToPass { pass: Some(Box::new(Pass { service, request })) } }
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
        let result = ready!(course.as_mut().poll(cx));
        // What was kept for a replay is not to outlive the request, if its future does.
        course.set(Course::Over);
        Poll::Ready(result)
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

// === impl Course ===

impl<S, C, B, ResBody> Course<S, S::Future, C, B, ResBody>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    C: Credential,
    ResBody: Body,
{
    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<ResBody>, BoxError>> {
        loop {
            let next = match self.as_mut().project() {
                // ## Fresh => (Detour | Over)
                CourseProj::Fresh { future, underway } => {
                    let mut response = ready!(future.poll(cx)).map_err(Into::into)?;
                    if underway.as_ref().expect(TAKEN_ONCE).snapshot.accepts(&mut response) {
                        return Poll::Ready(Ok(response));
                    }
                    match underway.take().expect(TAKEN_ONCE).rejected(response)? {
                        ControlFlow::Continue(detour) => Self::Detour { detour: Box::pin(detour) },
                        ControlFlow::Break(response) => return Poll::Ready(Ok(response)),
                    }
                }
                // ## Detour => Over
                CourseProj::Detour { detour } => return detour.as_mut().poll(cx),
                // ## ReadyingToPass => (Passing | Over)
                CourseProj::ReadyingToPass { pass } => {
                    let service = pass.as_mut().map(|pass| &mut pass.service).expect(TAKEN_ONCE);
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    let Pass { mut service, request } = *pass.take().expect(TAKEN_ONCE);
                    Self::Passing { future: service.call(request) }
                }
                // ## Passing => Over
                CourseProj::Passing { future } => return future.poll(cx).map_err(Into::into),
                // ## Failed => Over
                CourseProj::Failed { error } => {
                    return Poll::Ready(Err(error.take().expect(TAKEN_ONCE).into()));
                }
                CourseProj::Over => panic!("polled after its end"),
            };
            self.set(next);
        }
    }
}

// === impl Underway ===

impl<S: Clone, C: Credential, B> Underway<S, C, B> {
    #[cold]
    fn rejected<F, ResBody: Body>(
        self,
        response: Response<ResBody>,
    ) -> Next<Detour<S, F, C, B, ResBody>, ResBody> {
        let Self { snapshot, copy, replay } = self;
        let spare = copy.map(|head| Spare { head, replay });
        let reply = snapshot.shared.react(snapshot.state.epoch(), spare, response);
        Detour::after(reply, Call::new(snapshot))
    }
}
