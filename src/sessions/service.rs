use std::{
    fmt,
    hash::Hash,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, request::Parts};
use tower_service::Service;

use crate::{
    credential::{contract::Credential, token::Token},
    error::{BoxError, Error},
    middleware::extension::Unclaimed,
    session::handle::Session,
    sessions::{future::ResponseFuture, handle::Sessions, select::SelectKey, tenant::Lookup},
};

/// The service of a [`SessionsLayer`](crate::sessions::SessionsLayer).
///
/// # Readiness
///
/// The readiness of the inner service. A request whose session is being loaded releases it, and
/// goes to a clone of the inner service that is polled ready after the load.
///
/// # Errors
///
/// The error of the inner service, unchanged, or an [`Error`](crate::Error):
/// [`StorageFailed`](crate::ErrorKind::StorageFailed) or
/// [`Overloaded`](crate::ErrorKind::Overloaded) if there is no session for the key. A request
/// without a key goes to the inner service without a session.
///
/// # Cancel safety
///
/// A [`ResponseFuture`](crate::sessions::future::ResponseFuture) may be dropped at any time.
pub struct WithSession<S, F: SelectKey, C = Token> {
    inner: S,
    sessions: Sessions<F::Key, C>,
    select: Arc<F>,
}

// === impl WithSession ===

impl<S, F: SelectKey, C> WithSession<S, F, C> {
    pub(super) fn new(inner: S, sessions: Sessions<F::Key, C>, select: Arc<F>) -> Self {
        Self { inner, sessions, select }
    }

    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, F, C> WithSession<S, F, C>
where
    F: SelectKey,
    F::Key: Clone + Eq + Hash + Send + Sync + 'static,
    C: Credential,
{
    /// The session of a request that has a key. A selector, or a function for names, that panics
    /// must not take down the worker of a `Buffer` above, and with it the requests of all users.
    fn look_up(&self, head: &Parts) -> Option<Result<Lookup<C>, Error>> {
        let look_up = || Some(self.sessions.0.look_up(&self.select.key(head)?));
        catch_unwind(AssertUnwindSafe(look_up)).unwrap_or_default()
    }
}

impl<S, F, C, B> Service<Request<B>> for WithSession<S, F, C>
where
    S: Service<Request<B>> + Clone,
    S::Error: Into<BoxError>,
    F: SelectKey,
    F::Key: Clone + Eq + Hash + Send + Sync + 'static,
    C: Credential,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S, B, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        // A session that a caller could have put there is not the session of this user.
        head.extensions.remove::<Session<C>>();
        let observers = self.sessions.0.observers();
        match self.look_up(&head) {
            None => {
                if !observers.is_empty() {
                    head.extensions.insert(Unclaimed(observers.clone()));
                }
                ResponseFuture::called(self.inner.call(Request::from_parts(head, body)))
            }
            Some(Ok(Lookup::Open(opened))) => {
                head.extensions.insert(opened.session);
                ResponseFuture::called(self.inner.call(Request::from_parts(head, body)))
            }
            Some(Ok(Lookup::Opening(opening))) => {
                // The instance that was polled ready is dropped, and with it what it has reserved.
                self.inner = self.inner.clone();
                let request = Request::from_parts(head, body);
                let observers = observers.clone();
                let load = async move {
                    let opened = opening.wait().await;
                    opened.inspect_err(|error| observers.report_refused(error))
                };
                ResponseFuture::loading(load, self.inner.clone(), request)
            }
            Some(Err(error)) => {
                observers.report_refused(&error);
                self.inner = self.inner.clone();
                ResponseFuture::failed(error)
            }
        }
    }
}

impl<S: Clone, F: SelectKey, C> Clone for WithSession<S, F, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            sessions: self.sessions.clone(),
            select: self.select.clone(),
        }
    }
}

impl<S: fmt::Debug, F: SelectKey, C> fmt::Debug for WithSession<S, F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithSession")
            .field("inner", &self.inner)
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}
