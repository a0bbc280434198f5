//! The future of a [`Refresh`](crate::Refresh) service.

use std::{
    fmt,
    ops::ControlFlow,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    credential::contract::Credential,
    detect::Verdict,
    error::{BoxError, Error},
    head::RequestHead,
    middleware::{
        detour::{CallContext, Detour, StepResult},
        outgoing::ReplayCopy,
        snapshot::Snapshot,
    },
    replay::ReplayBody,
};

pin_project! {
    /// The response to a request, after one refresh and one replay if they were necessary.
    ///
    /// While the inner service is not ready for a request, only the inner service wakes the task. A
    /// logout in the meantime is noticed then, before anything is sent.
    ///
    /// # Errors
    ///
    /// The error of the inner service, unchanged, or an [`Error`](crate::Error) of the session.
    ///
    /// # Panics
    ///
    /// If it is polled after it has returned `Ready`.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time. A refresh that it has started continues, for other
    /// requests and for later ones.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, C, B, ResBody>
    where
        S: Service<Request<ReplayBody<B>>>,
    {
        #[pin]
        state: RequestState<S, S::Future, C, B, ResBody>,
    }
}

pin_project! {
    #[project = RequestStateProj]
    enum RequestState<S, F, C, B, ResBody> {
        // The first attempt, sent by `call` with the credential.
        Direct { #[pin] future: F, attempt: Option<FirstAttempt<S, C, B>> },
        Detour { detour: Pin<Box<Detour<S, F, C, B, ResBody>>> },
        // A request that passes untouched, and has to wait for the inner service.
        ReadyingUntouched { untouched: Option<Box<Untouched<S, B>>> },
        Untouched { #[pin] future: F },
        Failed { error: Option<Error> },
        Done,
    }
}

/// A request that passes untouched. Boxed, since an instance of the inner service may be large.
struct Untouched<S, B> {
    service: S,
    request: Request<ReplayBody<B>>,
}

/// The data of a request that `call` has sent.
pub(super) struct FirstAttempt<S, C, B> {
    pub(super) snapshot: Snapshot<S, C>,
    pub(super) copy: ReplayCopy<B>,
}

const TAKEN: &str = "the value is taken once, when its state ends";

// === impl ResponseFuture ===

impl<S, C, B, ResBody> ResponseFuture<S, C, B, ResBody>
where
    S: Service<Request<ReplayBody<B>>>,
{
    #[inline]
    pub(super) fn direct(future: S::Future, attempt: FirstAttempt<S, C, B>) -> Self {
        Self { state: RequestState::Direct { future, attempt: Some(attempt) } }
    }

    pub(super) fn detour(detour: Detour<S, S::Future, C, B, ResBody>) -> Self {
        Self { state: RequestState::Detour { detour: Box::pin(detour) } }
    }

    pub(super) fn untouched(future: S::Future) -> Self {
        Self { state: RequestState::Untouched { future } }
    }

    pub(super) fn readying_untouched(service: S, request: Request<ReplayBody<B>>) -> Self {
        let untouched = Some(Box::new(Untouched { service, request }));
        Self { state: RequestState::ReadyingUntouched { untouched } }
    }

    pub(super) fn failed(error: Error) -> Self {
        Self { state: RequestState::Failed { error: Some(error) } }
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
        let mut state = self.project().state;
        let result = ready!(state.as_mut().poll(cx));
        // A caller may keep a future that has returned. The copy of the request, the permit of the
        // inner service and the credential are released now.
        state.set(RequestState::Done);
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

// === impl RequestState ===

impl<S, C, B, ResBody> RequestState<S, S::Future, C, B, ResBody>
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
                // ## Direct => (Detour | done)
                //
                // Nearly every request ends here. The box of the detour is allocated only for a
                // response that is not accepted.
                RequestStateProj::Direct { future, attempt } => {
                    let mut response = ready!(future.poll(cx)).map_err(Into::into)?;
                    let FirstAttempt { snapshot, copy } = attempt.as_ref().expect(TAKEN);
                    let request = RequestHead::copied(&copy.head);
                    match snapshot.inspect(request, &mut response) {
                        Verdict::Accepted => return Poll::Ready(Ok(response)),
                        verdict => {
                            let attempt = attempt.take().expect(TAKEN);
                            match attempt.not_accepted(verdict, response) {
                                ControlFlow::Continue(detour) => {
                                    Self::Detour { detour: Box::pin(detour) }
                                }
                                ControlFlow::Break(result) => return Poll::Ready(result),
                            }
                        }
                    }
                }
                // ## Detour => done
                RequestStateProj::Detour { detour } => return detour.as_mut().poll(cx),
                // ## ReadyingUntouched => (Untouched | done)
                //
                // The instance that was polled ready sends the request. Readiness of another
                // instance would not count for it.
                RequestStateProj::ReadyingUntouched { untouched } => {
                    let service = &mut untouched.as_mut().expect(TAKEN).service;
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    let Untouched { mut service, request } = *untouched.take().expect(TAKEN);
                    Self::Untouched { future: service.call(request) }
                }
                // ## Untouched => done
                RequestStateProj::Untouched { future } => {
                    return future.poll(cx).map_err(Into::into);
                }
                // ## Failed => done
                RequestStateProj::Failed { error } => {
                    return Poll::Ready(Err(error.take().expect(TAKEN).into()));
                }
                RequestStateProj::Done => panic!("`ResponseFuture` polled after completion"),
            };
            self.set(next);
        }
    }
}

// === impl FirstAttempt ===

impl<S: Clone, C: Credential, B> FirstAttempt<S, C, B> {
    #[cold]
    fn not_accepted<F, ResBody: Body>(
        self,
        verdict: Verdict,
        response: Response<ResBody>,
    ) -> StepResult<Detour<S, F, C, B, ResBody>, ResBody> {
        let Self { snapshot, copy } = self;
        Detour::after(verdict, CallContext::new(snapshot), copy, response)
    }
}
