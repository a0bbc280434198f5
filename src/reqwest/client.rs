use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::Body;
use pin_project_lite::pin_project;
use reqwest::{Client, ClientBuilder, Request, redirect};
use tower_service::Service;

use crate::{
    error::BoxError,
    exchange::RequestBody,
    replay::ReplayBody,
    reqwest::{
        attempt::Attempt,
        body::{replayed, streamed},
        redirect::{MAX_REDIRECTS, Redirects, has_exposed},
    },
};

/// A [`reqwest::Client`] as the inner service of a [`RefreshLayer`](crate::RefreshLayer), and as
/// the HTTP client of a token endpoint.
///
/// Clones share the connections of the client. See the [module docs](crate::reqwest) for examples.
#[derive(Clone, Debug)]
pub struct ClientService {
    client: Client,
    redirects: Redirects,
}

pin_project! {
    /// The response future of a [`ClientService`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture {
        #[pin]
        state: SendState,
    }
}

/// The future of a request to a [`reqwest::Client`].
type Pending = <Client as Service<Request>>::Future;

pin_project! {
    #[project = SendStateProj]
    enum SendState {
        Sending { #[pin] response: Pending, attempt: Option<Attempt> },
        Failed { error: Option<BoxError> },
    }
}

// === impl ClientService ===

impl ClientService {
    /// Builds a client that follows no redirects itself. [`SendThrough`] follows them above the
    /// layer, so that the layer decides at each hop whether it carries the credential.
    ///
    /// The redirect policy of `builder` is replaced.
    ///
    /// # Errors
    ///
    /// If reqwest cannot build the client.
    ///
    /// [`SendThrough`]: crate::reqwest::SendThrough
    pub fn new(builder: ClientBuilder) -> reqwest::Result<Self> {
        let client = builder.redirect(redirect::Policy::none()).build()?;
        Ok(Self { client, redirects: Redirects::Above(MAX_REDIRECTS) })
    }

    /// Takes a client that may follow redirects itself, by a policy of its own, *below* the layer.
    ///
    /// Prefer [`new`](Self::new). If a client follows redirects, the layer's origins apply to the
    /// first hop alone, and reqwest decides what goes along to the next one:
    ///
    /// - reqwest removes `Authorization` and cookies at a redirect to another origin, also if the
    ///   layer lists that origin. At a second redirect within the other origin it sends them again,
    ///   so that the credential may reach an origin that the layer does not list.
    /// - reqwest removes no other header. A request with another header that is
    ///   [sensitive](http::HeaderValue::is_sensitive) fails with a [`SendError`] and is not sent. A
    ///   credential of your own marks its header as sensitive.
    /// - A 401 of an origin that the layer does not list passes. A 401 of an origin that it does
    ///   list counts as a rejection and costs one refresh, also if reqwest has removed the
    ///   credential on the way.
    ///
    /// A token endpoint does not send through such a client, because a redirect would take the
    /// secrets in the body along. Each request to it fails with a [`SendError`].
    ///
    /// [`SendError`]: crate::reqwest::SendError
    pub fn from_client(client: Client) -> Self {
        Self { client, redirects: Redirects::Below }
    }

    /// Limits the redirects that are followed for one request. Default: 10, as in reqwest. With 0,
    /// the caller gets the redirect as a response.
    ///
    /// The limit has no effect on [`from_client`](Self::from_client).
    #[must_use]
    pub fn max_redirects(mut self, limit: usize) -> Self {
        if let Redirects::Above(max) = &mut self.redirects {
            *max = limit;
        }
        self
    }

    /// The client, which makes requests: `service.client().get(url)`.
    ///
    /// A request that is sent with `send` instead of
    /// [`send_through`](crate::reqwest::SendThrough::send_through) carries no credential.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn send(
        &mut self,
        request: http::Request<reqwest::Body>,
        is_exposed: impl FnOnce(&Request) -> bool,
    ) -> ResponseFuture {
        let state = match Attempt::start(request, self.redirects, is_exposed) {
            Ok((request, attempt)) => {
                SendState::Sending { response: self.client.call(request), attempt: Some(attempt) }
            }
            Err(error) => SendState::Failed { error: Some(error) },
        };
        ResponseFuture { state }
    }
}

fn has_exposed_header(request: &Request) -> bool {
    has_exposed(request.headers(), |_, value| value.is_sensitive())
}

impl<B> Service<http::Request<ReplayBody<B>>> for ClientService
where
    B: Body + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<reqwest::Body>;
    type Error = BoxError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<ReplayBody<B>>) -> ResponseFuture {
        self.send(request.map(replayed), has_exposed_header)
    }
}

/// For a token endpoint, which follows no redirect and sends through no client that may.
impl Service<http::Request<RequestBody>> for ClientService {
    type Response = http::Response<reqwest::Body>;
    type Error = BoxError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<RequestBody>) -> ResponseFuture {
        // A redirect would take the secrets in the body along.
        self.send(request.map(streamed), |_| true)
    }
}

/// For a stack without a [`RefreshLayer`](crate::RefreshLayer).
impl Service<http::Request<reqwest::Body>> for ClientService {
    type Response = http::Response<reqwest::Body>;
    type Error = BoxError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<reqwest::Body>) -> ResponseFuture {
        self.send(request, has_exposed_header)
    }
}

// === impl ResponseFuture ===

impl Future for ResponseFuture {
    type Output = Result<http::Response<reqwest::Body>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            SendStateProj::Sending { response, attempt } => {
                let response = ready!(response.poll(cx))?;
                let attempt = attempt.take().expect("polled after its end");
                Poll::Ready(Ok(attempt.end(response)))
            }
            SendStateProj::Failed { error } => {
                Poll::Ready(Err(error.take().expect("polled after its end")))
            }
        }
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
