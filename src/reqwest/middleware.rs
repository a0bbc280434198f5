use std::{
    error, fmt, io,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Request, Response, Url};
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
        attempt::Attempt,
        body::replayed,
        error::SendError,
        redirect::{Redirects, has_exposed},
        send::send,
    },
};

/// A [`RefreshLayer`] as a middleware of the crate `reqwest-middleware`.
///
/// See the [module docs](crate::reqwest#reqwest-middleware) for an example.
///
/// With [`follow_redirects`](Self::follow_redirects) the middleware checks the layer's origins at
/// each hop. Otherwise the client follows redirects by its own policy, below the layer.
pub struct RefreshMiddleware<C = Token> {
    layer: RefreshLayer<C>,
    redirects: Redirects,
}

/// The rest of the middleware chain as an inner service, for one request.
#[derive(Clone)]
struct NextService<'a> {
    next: Next<'a>,
    extensions: Arc<Mutex<Extensions>>,
    redirects: Redirects,
    /// For a client that may follow redirects.
    caller: Option<Arc<CallerHead>>,
}

/// The URL and the headers of a request before the layer changes them.
struct CallerHead {
    url: Url,
    headers: HeaderMap,
}

// === impl RefreshMiddleware ===

impl<C: Credential> RefreshMiddleware<C> {
    /// Creates a middleware that works like `layer`, over a client that may follow redirects.
    ///
    /// [`ClientService::from_client`](crate::reqwest::ClientService::from_client) lists what such a
    /// client gives up. Two rules differ here:
    ///
    /// - A credential that is not in `Authorization` or `Cookie` is not sent, whether or not it is
    ///   sensitive. The request fails with a [`SendError`].
    /// - The response to a request whose URL a middleware below has rewritten looks like that of a
    ///   redirect. If the layer does not list the new origin, its 401 starts no refresh.
    pub fn new(layer: RefreshLayer<C>) -> Self {
        Self { layer, redirects: Redirects::Below }
    }

    /// Follows up to `limit` redirects of a request above the layer, whose origins decide at each
    /// hop whether the request carries the credential. With 0, the caller gets the redirect as a
    /// response.
    ///
    /// The client below must be built with `redirect::Policy::none()`. The middleware cannot check
    /// that. A client with another policy would follow redirects first, and send the credential
    /// along in any header.
    ///
    /// Of several middlewares of this type, the outermost follows redirects. The others have
    /// `follow_redirects(0)`: they would follow redirects below it.
    ///
    /// A middleware below may rewrite URLs. A relative redirect is then relative to the new URL,
    /// which gets the credential if the layer lists it.
    #[must_use]
    pub fn follow_redirects(mut self, limit: usize) -> Self {
        self.redirects = Redirects::Above(limit);
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
        let next = NextService {
            next,
            extensions: shared.clone(),
            redirects: self.redirects,
            caller: matches!(self.redirects, Redirects::Below)
                .then(|| Arc::new(CallerHead::of(&request))),
        };
        let result = send(self.layer.layer(next), request).await;
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
    type Error = BoxError;
    type Future = BoxFuture<'a, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<ReplayBody<reqwest::Body>>) -> Self::Future {
        let Self { next, extensions, redirects, caller } = self.clone();
        Box::pin(async move {
            let request = request.map(replayed);
            let is_exposed =
                |request: &Request| caller.is_some_and(|caller| caller.is_exposed_in(request));
            let (request, attempt) = Attempt::start(request, redirects, is_exposed)?;
            // A copy, because a replay may begin while an attempt still has its extensions.
            let mut copy = extensions.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let response = run(next, request, &mut copy).await;
            *extensions.lock().unwrap_or_else(PoisonError::into_inner) = copy;
            Ok(attempt.end(response?))
        })
    }
}

// === impl CallerHead ===

impl CallerHead {
    fn of(request: &Request) -> Self {
        let mut url = request.url().clone();
        // No request is sent with a fragment.
        url.set_fragment(None);
        Self { url, headers: request.headers().clone() }
    }

    /// Whether the layer has put something on the request that reqwest sends to other origins: a
    /// header, or a part of the URL, which a `Referer` would show.
    fn is_exposed_in(&self, request: &Request) -> bool {
        let is_new = |name: &HeaderName, value: &HeaderValue| {
            !self.headers.get_all(name).iter().any(|own| own == value)
        };
        *request.url() != self.url || has_exposed(request.headers(), is_new)
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
