//! The future of a [`WithSession`](crate::sessions::WithSession) service.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Request;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    credential::token::Token,
    error::{BoxError, Error},
    refresher::contract::BoxFuture,
    sessions::source::Opened,
};

pin_project! {
    /// The response to a request, after its session was loaded if that was necessary.
    ///
    /// # Errors
    ///
    /// See [`WithSession`](crate::sessions::WithSession).
    ///
    /// # Panics
    ///
    /// If it is polled after it has returned `Ready`.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time. A load that it has started continues.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B, C = Token>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: CallState<S, S::Future, B, C>,
    }
}

pin_project! {
    #[project = CallStateProj]
    enum CallState<S, F, B, C> {
        Loading { load: LoadFuture<C>, pending: Option<Box<PendingCall<S, B>>> },
        Readying { pending: Option<Box<PendingCall<S, B>>> },
        Called { #[pin] future: F },
        Failed { error: Option<Error> },
    }
}

type LoadFuture<C> = BoxFuture<'static, Result<Opened<C>, Error>>;

/// A request that waits for its session. Boxed, since most requests do not wait.
struct PendingCall<S, B> {
    service: S,
    request: Request<B>,
}

const TAKEN: &str = "the value is taken once, when its state ends";

// === impl ResponseFuture ===

impl<S, B, C> ResponseFuture<S, B, C>
where
    S: Service<Request<B>>,
{
    pub(super) fn called(future: S::Future) -> Self {
        Self { state: CallState::Called { future } }
    }

    pub(super) fn failed(error: Error) -> Self {
        Self { state: CallState::Failed { error: Some(error) } }
    }

    pub(super) fn loading(
        load: impl Future<Output = Result<Opened<C>, Error>> + Send + 'static,
        service: S,
        request: Request<B>,
    ) -> Self {
        let pending = Some(Box::new(PendingCall { service, request }));
        Self { state: CallState::Loading { load: Box::pin(load), pending } }
    }
}

impl<S, B, C> Future for ResponseFuture<S, B, C>
where
    S: Service<Request<B>>,
    S::Error: Into<BoxError>,
    C: Send + Sync + 'static,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                // ## Loading => (Readying | done)
                CallStateProj::Loading { load, pending } => {
                    let opened = ready!(load.as_mut().poll(cx))?;
                    let mut pending = pending.take().expect(TAKEN);
                    pending.request.extensions_mut().insert(opened.session);
                    CallState::Readying { pending: Some(pending) }
                }
                // ## Readying => (Called | done)
                //
                // The instance that is called is the one that was polled ready.
                CallStateProj::Readying { pending } => {
                    let service = &mut pending.as_mut().expect(TAKEN).service;
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    let PendingCall { mut service, request } = *pending.take().expect(TAKEN);
                    CallState::Called { future: service.call(request) }
                }
                // ## Called => done
                CallStateProj::Called { future } => return future.poll(cx).map_err(Into::into),
                // ## Failed => done
                CallStateProj::Failed { error } => {
                    return Poll::Ready(Err(error.take().expect(TAKEN).into()));
                }
            };
            state.set(next);
        }
    }
}

impl<S, B, C> fmt::Debug for ResponseFuture<S, B, C>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
