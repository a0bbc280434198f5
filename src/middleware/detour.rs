//! The path of a request that is not sent at once, or whose credential is rejected. The response
//! future boxes it, so that a request on the direct path takes no memory for it.

use std::{
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
    detect::Verdict,
    error::{BoxError, Error},
    middleware::{
        outgoing::{
            CompleteRequest, Outgoing, PendingRequest, PreviousResponse, ReplayCopy, ReplaySource,
            SentCopy,
        },
        policy::FailureMode,
        snapshot::Snapshot,
    },
    observe::{event::EventKind, outcome::ReplayObstacle},
    refresher::{BoxFuture, Rejection},
    replay::{Replay, ReplayBody, drain::Drain},
    session::{Admission, Entry, Epoch, Flight, Reaction},
};

pin_project! {
    /// A request that is admitted by the session, waits for a flight, or is sent again.
    pub(super) struct Detour<S, F, C, B, ResBody> {
        call: CallContext<S, C>,
        #[pin]
        state: DetourState<S, F, C, B, ResBody>,
    }
}

pin_project! {
    #[project = DetourStateProj]
    enum DetourState<S, F, C, B, ResBody> {
        Admitting { pending: Option<PendingRequest<B, ResBody>> },
        Waiting {
            flight: BoxFuture<'static, Result<(), Error>>,
            pending: Option<PendingRequest<B, ResBody>>,
        },
        Readying { service: S, pending: Option<PendingRequest<B, ResBody>> },
        InFlight {
            #[pin] future: F,
            entry: Arc<Entry<C>>,
            epoch: Epoch,
            sent: Option<SentCopy<B>>,
            // The body of the response to the attempt before this one.
            drain: Option<Drain<ResBody>>,
        },
    }
}

/// The result of a step: the next state, or the response of the whole request.
pub(super) type StepResult<T, ResBody> = ControlFlow<Result<Response<ResBody>, BoxError>, T>;

/// The state of one call across its attempts: its snapshot, and the budgets that it has spent.
pub(super) struct CallContext<S, C> {
    /// The snapshot in which the request was called. It fixes the login of the request.
    snapshot: Snapshot<S, C>,
    /// Whether the request has waited for a flight. It starts no other flight then (guarantee 7).
    waited: bool,
    /// Whether a [`Verdict::Retry`] has been honoured. The budget is one for each request.
    repeated: bool,
}

const PENDING: &str = "the pending request is taken once, when its state ends";
const SENT: &str = "the copy of an attempt is taken once, with its response";

// === impl Detour ===

impl<S, F, C, B, ResBody> Detour<S, F, C, B, ResBody>
where
    S: Clone,
    C: Credential,
    ResBody: Body,
{
    /// Creates the detour of a request that was not sent at once.
    pub(super) fn admitting(
        call: CallContext<S, C>,
        head: Parts,
        body: ReplayBody<B>,
        replay: Replay<B>,
    ) -> Self {
        let attempt = CompleteRequest { head, body, source: ReplaySource::Body(replay) };
        let outgoing = Outgoing::Complete(Box::new(attempt));
        let pending = PendingRequest { outgoing, previous: PreviousResponse::Gone };
        Self { call, state: DetourState::Admitting { pending: Some(pending) } }
    }

    /// Creates the detour of a request whose first attempt was not accepted. Breaks with the
    /// response if that ends the request.
    pub(super) fn after(
        verdict: Verdict,
        mut call: CallContext<S, C>,
        copy: ReplayCopy<B>,
        response: Response<ResBody>,
    ) -> StepResult<Self, ResBody> {
        let epoch = call.snapshot.state().epoch();
        let state = DetourState::after(verdict, &mut call, epoch, SentCopy::First(copy), response)?;
        ControlFlow::Continue(Self { call, state })
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
        let (call, mut state) = (this.call, this.state);
        loop {
            match ready!(state.as_mut().poll(call, cx)) {
                ControlFlow::Continue(next) => state.set(next),
                ControlFlow::Break(result) => return Poll::Ready(result),
            }
        }
    }
}

// === impl DetourState ===

impl<S, C, B, ResBody> DetourState<S, S::Future, C, B, ResBody>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    C: Credential,
    ResBody: Body,
{
    fn poll(
        self: Pin<&mut Self>,
        call: &mut CallContext<S, C>,
        cx: &mut Context<'_>,
    ) -> Poll<StepResult<Self, ResBody>> {
        Poll::Ready(match self.project() {
            // ## Admitting => (Readying | Waiting | done)
            //
            // The session decides before the inner service is asked for anything: a request that
            // has to wait holds no readiness of the inner service meanwhile (guarantee 13). The
            // admission is not kept, since it may be outdated by the time the service is ready.
            DetourStateProj::Admitting { pending } => {
                let pending = pending.take().expect(PENDING);
                let admission = call.admit();
                Self::admitted(call, admission, pending)
            }
            // ## Waiting => (Admitting | done)
            //
            // The request counts as a waiter from the step that entered this state. It reads the
            // rejected response meanwhile, which frees the connection for the refresher.
            DetourStateProj::Waiting { flight, pending } => {
                pending.as_mut().expect(PENDING).previous.poll_drain(cx);
                let refreshed = ready!(flight.as_mut().poll(cx));
                let pending = pending.take().expect(PENDING);
                match refreshed {
                    // Another flight may have started since.
                    Ok(()) => ControlFlow::Continue(Self::Admitting { pending: Some(pending) }),
                    Err(error) => ControlFlow::Break(call.refuse(pending.previous, error)),
                }
            }
            // ## Readying => (InFlight | Waiting | done)
            //
            // The session is asked while the inner service is not ready, and once more right before
            // the request is sent: a logout or a login may come while the inner service holds the
            // request up. If the request has to wait after all, this state drops the instance of
            // the inner service, and with it a permit that the instance may have acquired.
            DetourStateProj::Readying { service, pending } => {
                pending.as_mut().expect(PENDING).previous.poll_drain(cx);
                match service.poll_ready(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(ControlFlow::Break(Err(error.into())));
                    }
                    Poll::Pending => {
                        let admission = call.admit();
                        if let Admission::Send(..) = admission {
                            return Poll::Pending;
                        }
                        let pending = pending.take().expect(PENDING);
                        return Poll::Ready(Self::admitted(call, admission, pending));
                    }
                }
                Self::send(service, call, pending.take().expect(PENDING))
            }
            // ## InFlight => (Waiting | Readying | done)
            //
            // The rest of the previous response is read while the attempt is in flight. To drop it
            // unread would close an HTTP/1 connection, and reset a stream of an HTTP/2 connection.
            DetourStateProj::InFlight { future, entry, epoch, sent, drain } => {
                if drain.as_mut().is_some_and(|drain| drain.poll(cx).is_ready()) {
                    *drain = None;
                }
                let mut response = match ready!(future.poll(cx)) {
                    Ok(response) => response,
                    Err(error) => return Poll::Ready(ControlFlow::Break(Err(error.into()))),
                };
                let epoch = *epoch;
                let sent = sent.take().expect(SENT);
                let binding = call.snapshot.binding();
                let verdict = binding.inspect(entry, || epoch, sent.request(), &mut response);
                Self::after(verdict, call, epoch, sent, response)
            }
        })
    }

    /// Sends a request through an instance of the inner service that is ready, if the session still
    /// admits it.
    fn send(
        service: &mut S,
        call: &mut CallContext<S, C>,
        pending: PendingRequest<B, ResBody>,
    ) -> StepResult<Self, ResBody> {
        let PendingRequest { outgoing, previous } = pending;
        let CompleteRequest { mut head, body, source } = outgoing.complete();
        let sent = SentCopy::of(&head, source);
        // Asked last. The clones and drops above may run user code and take time, and a login or a
        // logout may complete meanwhile (guarantee 4).
        match call.admit() {
            Admission::Send(entry, epoch) => {
                let binding = call.snapshot.binding();
                binding.apply(entry.credential(), || epoch, &mut head);
                let future = service.call(Request::from_parts(head, body));
                // Not before the call: an observer is the user's code and may take time, and a
                // login or a logout may complete meanwhile (guarantee 4).
                if let SentCopy::Replay(_) = sent {
                    let Epoch { login, generation, .. } = epoch;
                    binding.session.report(EventKind::RequestReplayed { login, generation });
                }
                let (sent, drain) = (Some(sent), previous.into_drain());
                ControlFlow::Continue(Self::InFlight { future, entry, epoch, sent, drain })
            }
            admission => {
                let request = CompleteRequest { head, body, source: sent.into_source() };
                let outgoing = Outgoing::Complete(Box::new(request));
                Self::admitted(call, admission, PendingRequest { outgoing, previous })
            }
        }
    }
}

impl<S, F, C, B, ResBody> DetourState<S, F, C, B, ResBody>
where
    S: Clone,
    C: Credential,
    ResBody: Body,
{
    fn readying(
        call: &CallContext<S, C>,
        mut pending: PendingRequest<B, ResBody>,
    ) -> StepResult<Self, ResBody> {
        // The inner service may become ready only when that response is gone: a pool with a single
        // connection, a permit that is released with the body.
        pending.previous.start_drain();
        let service = call.snapshot.inner();
        ControlFlow::Continue(Self::Readying { service, pending: Some(pending) })
    }

    fn waiting(
        call: &mut CallContext<S, C>,
        flight: Flight,
        pending: PendingRequest<B, ResBody>,
    ) -> StepResult<Self, ResBody> {
        let flight = call.wait(flight);
        ControlFlow::Continue(Self::Waiting { flight, pending: Some(pending) })
    }

    /// Continues with an admission that is not used at once.
    fn admitted(
        call: &mut CallContext<S, C>,
        admission: Admission<C>,
        pending: PendingRequest<B, ResBody>,
    ) -> StepResult<Self, ResBody> {
        match admission {
            Admission::Send(..) => Self::readying(call, pending),
            Admission::Wait(flight) => Self::waiting(call, flight, pending),
            Admission::Fail(error) => ControlFlow::Break(call.refuse(pending.previous, error)),
        }
    }

    /// Continues after a response.
    fn after(
        verdict: Verdict,
        call: &mut CallContext<S, C>,
        epoch: Epoch,
        sent: SentCopy<B>,
        response: Response<ResBody>,
    ) -> StepResult<Self, ResBody> {
        match (verdict, sent) {
            (Verdict::Rejected, SentCopy::First(copy)) if copy.may_refresh() => {
                Self::rejected(call, epoch, copy, response)
            }
            (Verdict::Retry, SentCopy::First(copy)) if !call.repeated => {
                Self::repeat(call, epoch, copy, response)
            }
            (verdict, sent) => {
                if let (Verdict::Rejected, SentCopy::Replay(_)) = (verdict, sent) {
                    let Epoch { login, generation, .. } = epoch;
                    let (late, replay) = (false, true);
                    let kind = EventKind::RequestRejected { login, generation, late, replay };
                    call.snapshot.binding().session.report(kind);
                }
                ControlFlow::Break(Ok(response))
            }
        }
    }

    /// Reports a rejection to the session, and does what the session decides. If the body cannot be
    /// sent again, the response goes to the caller, and a refresh may still start.
    fn rejected(
        call: &mut CallContext<S, C>,
        epoch: Epoch,
        copy: ReplayCopy<B>,
        response: Response<ResBody>,
    ) -> StepResult<Self, ResBody> {
        let rejection = || Some(Rejection::new(response.status(), response.headers().clone()));
        let session = call.snapshot.binding().session;
        let reaction = session.rejected(epoch, !call.waited, rejection);
        if let Reaction::Respond = reaction {
            return ControlFlow::Break(Ok(response));
        }
        // An upload is interrupted only for a replay: a response that goes to the caller arrives on
        // the connection of that upload.
        let may_interrupt = call.snapshot.binding().may_interrupt();
        let outgoing = match copy.take_over(may_interrupt) {
            Ok(outgoing) => outgoing,
            Err(obstacle) => return call.not_replayed(epoch, obstacle, response),
        };
        let mode = call.snapshot.binding().policy.failure_mode;
        let previous = PreviousResponse::new(response, mode);
        match reaction {
            Reaction::Respond | Reaction::Replay => {
                Self::readying(call, PendingRequest { outgoing, previous })
            }
            Reaction::Wait(flight) => {
                Self::waiting(call, flight, PendingRequest { outgoing, previous })
            }
            Reaction::Fail(error) => ControlFlow::Break(call.refuse(previous, error)),
        }
    }

    /// Sends the request again with the current credential, without a report to the session.
    fn repeat(
        call: &mut CallContext<S, C>,
        epoch: Epoch,
        copy: ReplayCopy<B>,
        response: Response<ResBody>,
    ) -> StepResult<Self, ResBody> {
        let may_interrupt = call.snapshot.binding().may_interrupt();
        let attempt = match copy.repeat(may_interrupt) {
            Ok(attempt) => attempt,
            Err(obstacle) => return call.not_replayed(epoch, obstacle, response),
        };
        call.repeated = true;
        let outgoing = Outgoing::Complete(Box::new(attempt));
        let previous = PreviousResponse::new(response, FailureMode::Error);
        Self::readying(call, PendingRequest { outgoing, previous })
    }
}

// === impl CallContext ===

impl<S, C> CallContext<S, C> {
    pub(super) fn new(snapshot: Snapshot<S, C>) -> Self {
        Self { snapshot, waited: false, repeated: false }
    }
}

impl<S, C: Credential> CallContext<S, C> {
    /// Asks the session with which credential the request may be sent now.
    fn admit(&self) -> Admission<C> {
        let login = self.snapshot.state().login();
        self.snapshot.binding().session.admit(login, !self.waited)
    }

    /// Waits for a flight, as one of the session's waiters.
    fn wait(&mut self, flight: Flight) -> BoxFuture<'static, Result<(), Error>> {
        self.waited = true;
        let login = self.snapshot.state().login();
        Box::pin(self.snapshot.binding().session.wait(login, flight))
    }

    /// Hands the response to the caller, because the body cannot be sent again.
    fn not_replayed<T, ResBody>(
        &self,
        Epoch { login, generation, .. }: Epoch,
        obstacle: ReplayObstacle,
        response: Response<ResBody>,
    ) -> StepResult<T, ResBody> {
        let kind = EventKind::RequestNotReplayed { login, generation, obstacle };
        self.snapshot.binding().session.report(kind);
        ControlFlow::Break(Ok(response))
    }

    /// The result of a request that the session refuses: the response that it holds, or else the
    /// error.
    fn refuse<ResBody: Body>(
        &self,
        previous: PreviousResponse<ResBody>,
        error: Error,
    ) -> Result<Response<ResBody>, BoxError> {
        let login = self.snapshot.state().login();
        self.snapshot.binding().report_refused(login, &error);
        previous.or(error)
    }
}
