use std::{
    mem,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use http::{Request, header::EXPECT, request::Parts};
use http_body::Body;
use tower_service::Service;

use crate::{
    credential::contract::Credential,
    error::{BoxError, Error},
    middleware::{
        binding::Binding,
        detour::{CallContext, Detour},
        extension::{NoReplay, OwnCredential},
        future::{FirstAttempt, ResponseFuture},
        outgoing::ReplayCopy,
        snapshot::Snapshot,
    },
    replay::{Replay, ReplayBody, head::HeadCopy},
    session::Login,
};

/// The instance of the inner service that a service of this crate calls, and its readiness.
pub(super) struct Instance<S> {
    pub(super) inner: S,
    readiness: Readiness,
}

/// The readiness of the inner service, which no call has used yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Readiness {
    #[default]
    NotPolled,
    /// The inner service was polled and is not known to be ready. It may hold a place in a queue.
    Polled,
    /// Ready. The time is what the clock said at that poll, if the credential has an expiry.
    Ready(Option<SystemTime>),
}

// === impl Instance ===

impl<S> Instance<S> {
    /// An instance that was not polled.
    #[inline]
    pub(super) fn new(inner: S) -> Self {
        Self { inner, readiness: Readiness::NotPolled }
    }

    /// The inner service, for a caller that may put another one in its place: the readiness of the
    /// present one no longer counts.
    pub(super) fn get_mut(&mut self) -> &mut S {
        if let Readiness::Ready(_) = self.readiness {
            self.readiness = Readiness::Polled;
        }
        &mut self.inner
    }

    /// The time that was read at the poll that found the inner service ready.
    #[inline]
    pub(super) fn polled_at(&self) -> Option<SystemTime> {
        match self.readiness {
            Readiness::Ready(read) => read,
            Readiness::NotPolled | Readiness::Polled => None,
        }
    }

    /// Polls the inner service. `wall` is the time that the decision to poll it was made with.
    #[inline]
    pub(super) fn poll_ready<R>(
        &mut self,
        cx: &mut Context<'_>,
        wall: Option<SystemTime>,
    ) -> Poll<Result<(), BoxError>>
    where
        S: Service<R>,
        S::Error: Into<BoxError>,
    {
        self.readiness = Readiness::Polled;
        ready!(self.inner.poll_ready(cx)).map_err(Into::into)?;
        self.readiness = Readiness::Ready(wall);
        Poll::Ready(Ok(()))
    }
}

impl<S: Clone> Instance<S> {
    /// Releases what this instance of the inner service may have reserved: a permit, a place in a
    /// queue.
    pub(super) fn release_readiness(&mut self) {
        if mem::take(&mut self.readiness) != Readiness::NotPolled {
            self.inner = self.inner.clone();
        }
    }

    /// Sends a request that carries the credential of this snapshot, at once if it may.
    #[inline]
    pub(super) fn send<C, B, ResBody>(
        &mut self,
        snapshot: Snapshot<S, C>,
        mut head: Parts,
        body: B,
    ) -> ResponseFuture<S, C, B, ResBody>
    where
        S: Service<Request<ReplayBody<B>>>,
        C: Credential,
        B: Body + Unpin,
        B::Error: Into<BoxError>,
        ResBody: Body,
    {
        let (binding, state) = (snapshot.binding(), snapshot.state());
        let (body, replay) = recorded(&head, body, binding.policy.replay_limit);
        let is_ready = matches!(self.readiness, Readiness::Ready(_));
        let polled_at = self.polled_at();
        let wall = || polled_at.unwrap_or_else(|| binding.session.wall());
        if !is_ready || state.sendable(wall).is_none() {
            return self.detour(snapshot, head, body, replay);
        }
        // The direct path: no lock of the session is taken, and no future is boxed.
        let copy = ReplayCopy { head: HeadCopy::of(&head), body: replay };
        // Checked last. Polls of bodies, clones and clocks may run user code, and a login or a
        // logout may complete meanwhile (guarantee 4).
        if !snapshot.is_current() {
            return self.detour(snapshot, head, body, copy.body);
        }
        self.readiness = Readiness::NotPolled;
        snapshot.apply(&mut head);
        let future = self.inner.call(Request::from_parts(head, body));
        ResponseFuture::direct(future, FirstAttempt { snapshot, copy })
    }

    /// Sends a request that passes untouched.
    pub(super) fn pass<C, B, ResBody>(
        &mut self,
        head: Parts,
        body: B,
    ) -> ResponseFuture<S, C, B, ResBody>
    where
        S: Service<Request<ReplayBody<B>>>,
    {
        let request = Request::from_parts(head, ReplayBody::passthrough(body));
        if let Readiness::Ready(_) = self.readiness {
            self.readiness = Readiness::NotPolled;
            ResponseFuture::untouched(self.inner.call(request))
        } else {
            self.release_readiness();
            ResponseFuture::readying_untouched(self.inner.clone(), request)
        }
    }

    /// Sends a request that passes because it has a credential of the caller.
    pub(super) fn pass_with_own_credential<C, B, ResBody>(
        &mut self,
        mut head: Parts,
        body: B,
    ) -> ResponseFuture<S, C, B, ResBody>
    where
        S: Service<Request<ReplayBody<B>>>,
    {
        // The adapters of reqwest alone read it.
        if cfg!(feature = "reqwest") {
            head.extensions.insert(OwnCredential);
        }
        self.pass(head, body)
    }

    /// Fails a request of this login without sending it.
    pub(super) fn refuse<C, B, ResBody>(
        &mut self,
        binding: Binding<'_, C>,
        login: Login,
        error: Error,
    ) -> ResponseFuture<S, C, B, ResBody>
    where
        S: Service<Request<ReplayBody<B>>>,
        C: Credential,
    {
        binding.report_refused(login, &error);
        self.fail(error)
    }

    /// Fails a request that belongs to no session.
    pub(super) fn fail<C, B, ResBody>(&mut self, error: Error) -> ResponseFuture<S, C, B, ResBody>
    where
        S: Service<Request<ReplayBody<B>>>,
    {
        self.release_readiness();
        ResponseFuture::failed(error)
    }

    fn detour<C, B, ResBody>(
        &mut self,
        snapshot: Snapshot<S, C>,
        head: Parts,
        body: ReplayBody<B>,
        replay: Replay<B>,
    ) -> ResponseFuture<S, C, B, ResBody>
    where
        S: Service<Request<ReplayBody<B>>>,
        C: Credential,
        ResBody: Body,
    {
        self.release_readiness();
        let call = CallContext::new(snapshot);
        ResponseFuture::detour(Detour::admitting(call, head, body, replay))
    }
}

/// The body of the first attempt, and the copy for a replay.
#[inline]
fn recorded<B>(head: &Parts, body: B, replay_limit: usize) -> (ReplayBody<B>, Replay<B>)
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    if head.extensions.get::<NoReplay>().is_some() {
        return ReplayBody::once(body);
    }
    // Polling a body that expects 100 (Continue) would tell its sender that the upstream has sent
    // it (RFC 9110 §10.1.1).
    ReplayBody::recording(body, replay_limit, || !head.headers.contains_key(EXPECT))
}
