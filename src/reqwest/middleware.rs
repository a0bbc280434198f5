use std::{
    error, fmt, io,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    credential::{contract::Credential, token::Token},
    error::{BoxError, Error as SessionError},
    middleware::layer::RefreshLayer,
    refresher::BoxFuture,
    replay::ReplayBody,
    reqwest::{
        body::replayed,
        convert::{from_reqwest, to_reqwest},
        error::SendError,
        redirect::MAX_REDIRECTS,
        send::send,
    },
};

/// A [`RefreshLayer`] as a middleware of the crate `reqwest-middleware`.
///
/// See the [module docs](crate::reqwest#reqwest-middleware) for an example.
///
/// Build the client with `redirect::Policy::none()`: the middleware follows redirects itself, up to
/// [`max_redirects`](Self::max_redirects), and checks the layer's origins at each hop. It also
/// follows a redirect at which the client's own policy has stopped. With a client that follows
/// redirects, [the limits of such a client](crate::reqwest::ClientService::from_client) apply.
pub struct RefreshMiddleware<C = Token> {
    layer: RefreshLayer<C>,
    redirects: usize,
}

/// The rest of the middleware chain as an inner service, for one request.
#[derive(Clone)]
struct NextService<'a> {
    next: Next<'a>,
    extensions: Arc<Mutex<Extensions>>,
}

// === impl RefreshMiddleware ===

impl<C: Credential> RefreshMiddleware<C> {
    /// Creates a middleware that works like `layer`.
    pub fn new(layer: RefreshLayer<C>) -> Self {
        Self { layer, redirects: MAX_REDIRECTS }
    }

    /// Limits the redirects that are followed for one request, if the client follows none itself.
    /// Default: 10, as in reqwest. With 0, the caller gets the redirect as a response.
    #[must_use]
    pub fn max_redirects(mut self, limit: usize) -> Self {
        self.redirects = limit;
        self
    }
}

#[async_trait::async_trait]
impl<C: Credential> Middleware for RefreshMiddleware<C> {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        let shared = Arc::new(Mutex::new(extensions.clone()));
        let next = NextService { next, extensions: shared.clone() };
        let result = send(self.layer.layer(next), request, self.redirects).await;
        *extensions = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        result.map_err(to_middleware_error)
    }
}

impl<C> Clone for RefreshMiddleware<C> {
    fn clone(&self) -> Self {
        Self { layer: self.layer.clone(), redirects: self.redirects }
    }
}

impl<C> fmt::Debug for RefreshMiddleware<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshMiddleware")
            .field("layer", &self.layer)
            .field("redirects", &self.redirects)
            .finish()
    }
}

/// Errors of the chain and of reqwest pass as they are. An error of the session or of this module
/// can be found by a downcast of the `anyhow::Error`.
fn to_middleware_error(error: BoxError) -> Error {
    fn found<E: error::Error + Send + Sync + 'static>(
        error: BoxError,
        to_error: impl FnOnce(E) -> Error,
    ) -> Result<Error, BoxError> {
        error.downcast::<E>().map(|error| to_error(*error))
    }
    found(error, |error: Error| error)
        .or_else(|error| found(error, Error::Reqwest))
        .or_else(|error| found(error, Error::middleware::<SessionError>))
        .or_else(|error| found(error, Error::middleware::<SendError>))
        .unwrap_or_else(|error| Error::middleware(io::Error::other(error)))
}

// === impl NextService ===

impl<'a> Service<http::Request<ReplayBody<reqwest::Body>>> for NextService<'a> {
    type Response = http::Response<reqwest::Body>;
    type Error = Error;
    type Future = BoxFuture<'a, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<ReplayBody<reqwest::Body>>) -> Self::Future {
        let Self { next, extensions } = self.clone();
        Box::pin(async move {
            let request = to_reqwest(request.map(replayed))?;
            let url = request.url().clone();
            // A copy, because a replay may begin while an attempt still has its extensions.
            let mut copy = extensions.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let response = run(next, request, &mut copy).await;
            *extensions.lock().unwrap_or_else(PoisonError::into_inner) = copy;
            Ok(from_reqwest(response?, &url))
        })
    }
}

/// Runs the rest of the chain. `Next::run` ties the extensions to the lifetime of the chain.
async fn run(
    next: Next<'_>,
    request: Request,
    extensions: &mut Extensions,
) -> Result<Response, Error> {
    next.run(request, extensions).await
}
