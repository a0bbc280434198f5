use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    credential::{contract::Credential, token::Token},
    error::{BoxError, Error},
    middleware::{
        binding::Binding,
        extension::Unclaimed,
        future::ResponseFuture,
        instance::Instance,
        policy::{Policy, Route},
        snapshot::{Common, OwnSnapshot, Snapshot},
        source::PerRequest,
    },
    replay::ReplayBody,
    session::{Phase, handle::Session},
};

/// The service of a [`RefreshLayer::per_request`](crate::RefreshLayer::per_request): each request
/// brings its session in its extensions.
///
/// The docs of [`Refresh`](crate::Refresh) hold for this service, with the differences below.
///
/// # Readiness
///
/// `poll_ready` always polls the inner service, since it does not know which request comes. A
/// request that cannot be sent at once, for example because its credential has expired, releases
/// that readiness in `call`. While it waits, it holds none.
///
/// # Clones
///
/// A clone takes no snapshot: each request takes one of its session. The inner service is cloned
/// once for all clones, at the first call, and each replay goes to a clone of that instance.
///
/// # Errors
///
/// A request without a session fails with [`ErrorKind::NoSession`](crate::ErrorKind::NoSession).
/// See [`ResponseFuture`] for the other errors.
///
/// # Cancel safety
///
/// A [`ResponseFuture`] may be dropped at any time.
pub struct RefreshPerRequest<S, C = Token> {
    instance: Instance<S>,
    common: Arc<Common<S>>,
    sessions: PerRequest,
    credential: PhantomData<fn() -> C>,
}

// === impl RefreshPerRequest ===

impl<S, C> RefreshPerRequest<S, C> {
    pub(super) fn new(inner: S, sessions: PerRequest, policy: Policy) -> Self {
        Self {
            instance: Instance::new(inner),
            common: Arc::new(Common::new(policy)),
            sessions,
            credential: PhantomData,
        }
    }

    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.instance.inner
    }

    /// Returns a mutable reference to the inner service.
    ///
    /// The caller may put another service in its place, so that the readiness of the present one no
    /// longer counts: without another `poll_ready`, the next call goes to a clone. Replays of later
    /// calls go to clones of the service that the caller leaves here.
    pub fn get_mut(&mut self) -> &mut S {
        self.common = Arc::new(Common::new(self.common.policy.clone()));
        self.instance.get_mut()
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.instance.inner
    }
}

impl<S, C, B, ResBody> Service<Request<B>> for RefreshPerRequest<S, C>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    C: Credential,
    B: Body + Unpin,
    B::Error: Into<BoxError>,
    ResBody: Body,
{
    type Response = Response<ResBody>;
    type Error = BoxError;
    type Future = ResponseFuture<S, C, B, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.instance.poll_ready(cx, None)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { instance, common, .. } = self;
        let (mut head, body) = request.into_parts();
        // Removed in any case: an inner service could send requests of its own with it.
        let Some(session) = head.extensions.remove::<Session<C>>() else {
            let unclaimed = head.extensions.remove::<Unclaimed>();
            let passes =
                self.sessions.pass_without_session || common.policy.route::<C>(&head).passes();
            if passes {
                return instance.pass(head, body);
            }
            let error = Error::no_session();
            if let Some(Unclaimed(observers)) = unclaimed {
                observers.report_refused(&error);
            }
            return instance.fail(error);
        };
        if head.extensions.is_empty() {
            // The copy for a replay would clone the empty map.
            head.extensions = Extensions::new();
        }
        let binding = Binding { session: &session, policy: &common.policy };
        match binding.route(&head) {
            Route::Carry => {}
            Route::Pass => return instance.pass(head, body),
            Route::PassWithOwnCredential => return instance.pass_with_own_credential(head, body),
            Route::Refuse(error) => {
                let login = session.snapshot().login();
                return instance.refuse(binding, login, error);
            }
        }
        // The login of this snapshot is the login of the request, for all of its attempts.
        let snapshot = OwnSnapshot::for_call(session, common.clone(), &instance.inner);
        let snapshot = Snapshot::Own(snapshot);
        if let Phase::LoggedOut(reason) = snapshot.state().phase() {
            // The body is not polled if nothing is sent.
            let login = snapshot.state().login();
            return instance.refuse(snapshot.binding(), login, reason.to_error());
        }
        instance.send(snapshot, head, body)
    }
}

impl<S: Clone, C> Clone for RefreshPerRequest<S, C> {
    /// Clones the service. The clone has not polled its inner service.
    fn clone(&self) -> Self {
        Self {
            instance: Instance::new(self.instance.inner.clone()),
            common: self.common.clone(),
            sessions: self.sessions.clone(),
            credential: PhantomData,
        }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for RefreshPerRequest<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshPerRequest")
            .field("inner", &self.instance.inner)
            .field("sessions", &self.sessions)
            .field("policy", &self.common.policy)
            .finish_non_exhaustive()
    }
}
