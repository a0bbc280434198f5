use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::Body;
use pin_project_lite::pin_project;
use reqwest::{Client, ClientBuilder, Url, redirect};
use tower_service::Service;

use crate::{
    error::BoxError,
    exchange::RequestBody,
    replay::ReplayBody,
    reqwest::{
        body::{replayed, streamed},
        convert::{from_reqwest, to_reqwest},
        redirect::{MAX_REDIRECTS, RedirectLimit},
    },
};

/// A [`reqwest::Client`] as the inner service of a [`RefreshLayer`](crate::RefreshLayer), and as
/// the HTTP client of a token endpoint.
///
/// Clones share the connections of the client. See the [module docs](crate::reqwest) for examples.
#[derive(Clone, Debug)]
pub struct ClientService {
    client: Client,
    redirects: Option<RedirectLimit>,
}

pin_project! {
    /// The response future of a [`ClientService`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture {
        #[pin]
        state: SendState,
        redirects: Option<RedirectLimit>,
    }
}

/// The future of a request to a [`reqwest::Client`].
type Pending = <Client as Service<reqwest::Request>>::Future;

pin_project! {
    #[project = SendStateProj]
    enum SendState {
        Sending { #[pin] response: Pending, url: Url },
        Failed { error: Option<reqwest::Error> },
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
        Ok(Self { client, redirects: Some(RedirectLimit(MAX_REDIRECTS)) })
    }

    /// Takes a client whose own redirect policy stays in force, *below* the layer.
    ///
    /// Such a client removes the `Authorization` header at a hop to another host or port, also if
    /// the layer's origins list that host. A 401 of an origin that the layer does not list passes.
    /// A 401 of one that it does list counts as a rejection and costs one refresh, even if the
    /// client has removed the credential on the way. A token endpoint must not get such a client.
    ///
    /// reqwest removes no other header than `Authorization`, cookies and `Proxy-Authorization`. A
    /// credential that is sent in another one, such as `X-Api-Key`, goes along to *every* host that
    /// the upstream redirects to: use [`new`](Self::new) for it.
    pub fn from_client(client: Client) -> Self {
        Self { client, redirects: None }
    }

    /// Limits the redirects that are followed for one request. Default: 10, as in reqwest. With 0,
    /// the caller gets the redirect as a response.
    ///
    /// The limit has no effect on [`from_client`](Self::from_client).
    #[must_use]
    pub fn max_redirects(mut self, limit: usize) -> Self {
        self.redirects = self.redirects.map(|_| RedirectLimit(limit));
        self
    }

    /// The client, which makes requests: `service.client().get(url)`.
    ///
    /// A request that is sent with `send` instead of
    /// [`send_through`](crate::reqwest::SendThrough::send_through) carries no credential.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn send(&mut self, request: http::Request<reqwest::Body>) -> ResponseFuture {
        let state = match to_reqwest(request) {
            Ok(request) => {
                let url = request.url().clone();
                SendState::Sending { response: self.client.call(request), url }
            }
            Err(error) => SendState::Failed { error: Some(error) },
        };
        ResponseFuture { state, redirects: self.redirects }
    }
}

impl<B> Service<http::Request<ReplayBody<B>>> for ClientService
where
    B: Body + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<reqwest::Body>;
    type Error = reqwest::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<reqwest::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<ReplayBody<B>>) -> ResponseFuture {
        self.send(request.map(replayed))
    }
}

/// For a token endpoint, which follows no redirect.
impl Service<http::Request<RequestBody>> for ClientService {
    type Response = http::Response<reqwest::Body>;
    type Error = reqwest::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<reqwest::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<RequestBody>) -> ResponseFuture {
        self.send(request.map(streamed))
    }
}

/// For a stack without a [`RefreshLayer`](crate::RefreshLayer).
impl Service<http::Request<reqwest::Body>> for ClientService {
    type Response = http::Response<reqwest::Body>;
    type Error = reqwest::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<reqwest::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<reqwest::Body>) -> ResponseFuture {
        self.send(request)
    }
}

// === impl ResponseFuture ===

impl Future for ResponseFuture {
    type Output = reqwest::Result<http::Response<reqwest::Body>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.state.project() {
            SendStateProj::Sending { response, url } => {
                let mut response = from_reqwest(ready!(response.poll(cx))?, url);
                if let Some(limit) = this.redirects {
                    response.extensions_mut().insert(*limit);
                }
                Poll::Ready(Ok(response))
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
