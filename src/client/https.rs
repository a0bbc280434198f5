#[cfg(feature = "platform-roots")]
use std::io;
use std::{
    error, fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, Uri};
use http_body::Body;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, builderstates::WantsProtocols3};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use pin_project_lite::pin_project;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use crate::{client::connector::GivenConnector, error::BoxError};

/// Builds an [`HttpsClient`] that trusts certain root certificates.
///
/// See the [module docs](crate::client) for examples.
#[derive(Clone, Debug)]
#[must_use]
pub struct Https {
    roots: RootCertStore,
}

/// An HTTPS client, made by [`Https::build`]. Cheap to clone; clones share their connections.
pub struct HttpsClient<B> {
    client: Inner<B>,
}

/// The client, by the connector that it has.
enum Inner<B> {
    Tcp(Client<HttpsConnector<HttpConnector>, B>),
    Given(Client<HttpsConnector<GivenConnector>, B>),
}

/// A request of an [`HttpsClient`] failed. The source says why.
#[derive(Debug)]
pub struct HttpsError {
    error: legacy::Error,
}

pin_project! {
    /// The response future of an [`HttpsClient`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture {
        #[pin]
        response: legacy::ResponseFuture,
    }
}

/// A text is not a root certificate in DER.
#[derive(Clone, Debug)]
pub struct InvalidCertificate(rustls::Error);

// === impl Https ===

impl Https {
    /// Trusts Mozilla's root certificates, as of the release of the crate `webpki-roots`.
    pub fn new() -> Self {
        Self { roots: RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() } }
    }

    /// Trusts the root certificates of the platform: those that its administrator has installed.
    ///
    /// # Errors
    ///
    /// If the platform has no readable root certificate.
    #[cfg(feature = "platform-roots")]
    #[cfg_attr(docsrs, doc(cfg(feature = "platform-roots")))]
    pub fn with_platform_roots() -> io::Result<Self> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            let reason = found.errors.into_iter().next().map(io::Error::other);
            return Err(reason.unwrap_or_else(|| io::Error::other("the platform has no roots")));
        }
        Ok(Self { roots })
    }

    /// Trusts only the certificates that are added by [`root`](Self::root).
    pub fn with_no_roots() -> Self {
        Self { roots: RootCertStore::empty() }
    }

    /// Trusts one more root certificate, in DER.
    ///
    /// # Errors
    ///
    /// If the bytes are not a certificate.
    pub fn root(mut self, der: impl Into<Vec<u8>>) -> Result<Self, InvalidCertificate> {
        self.roots.add(der.into().into()).map_err(InvalidCertificate)?;
        Ok(self)
    }

    /// Builds the client for one type of request bodies: `ReplayBody<_>` below a `RefreshLayer`,
    /// `exchange::RequestBody` for an auth server.
    pub fn build<B>(self) -> HttpsClient<B>
    where
        B: Body + Send,
        B::Data: Send,
    {
        let connector = self.connector().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        HttpsClient { client: Inner::Tcp(client) }
    }

    /// Builds the client over a connector of the application: a Unix socket, a proxy, a network of
    /// a test. For an `https://` URL the client speaks TLS through the stream of the connector.
    ///
    /// The connector gets the URI of the request. A proxy has to be reached by a tunnel (CONNECT),
    /// also for an `http://` URL: the client sends requests as to the server itself.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use http::Uri;
    /// use http_body_util::Empty;
    /// use tokio::net::UnixStream;
    /// use tower::service_fn;
    /// use tower_refresh::client::Https;
    ///
    /// let socket = service_fn(|_: Uri| UnixStream::connect("/run/api.sock"));
    /// let client = Https::new().build_over::<Empty<bytes::Bytes>, _>(socket);
    /// # drop(client); }
    /// ```
    ///
    /// hyper-util has connectors for proxies, `Tunnel` and `SocksV5`. Their streams come in a
    /// `TokioIo`, which `ServiceExt::map_response(connector, TokioIo::into_inner)` takes off. Its
    /// `Matcher` tells by the environment which proxy a URI goes through.
    pub fn build_over<B, C>(self, connector: C) -> HttpsClient<B>
    where
        B: Body + Send,
        B::Data: Send,
        C: Service<Uri> + Clone + Send + Sync + 'static,
        C::Response: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        C::Error: Into<BoxError>,
        C::Future: Send,
    {
        let connector = self.connector().wrap_connector(GivenConnector::new(connector));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        HttpsClient { client: Inner::Given(client) }
    }

    fn connector(self) -> HttpsConnectorBuilder<WantsProtocols3> {
        // Not the default provider of the process, which may be another one or missing.
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default protocol versions")
            .with_root_certificates(self.roots)
            .with_no_client_auth();
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions()
    }
}

impl Default for Https {
    fn default() -> Self {
        Self::new()
    }
}

// === impl HttpsClient ===

impl<B> Service<Request<B>> for HttpsClient<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Incoming>;
    type Error = HttpsError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HttpsError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let response = match &self.client {
            Inner::Tcp(client) => client.request(request),
            Inner::Given(client) => client.request(request),
        };
        ResponseFuture { response }
    }
}

impl<B> Clone for HttpsClient<B> {
    fn clone(&self) -> Self {
        Self {
            client: match &self.client {
                Inner::Tcp(client) => Inner::Tcp(client.clone()),
                Inner::Given(client) => Inner::Given(client.clone()),
            },
        }
    }
}

impl<B> fmt::Debug for HttpsClient<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsClient").finish_non_exhaustive()
    }
}

// === impl HttpsError ===

impl HttpsError {
    /// Whether no connection was made, so that nothing was sent.
    pub fn is_connect(&self) -> bool {
        self.error.is_connect()
    }
}

impl fmt::Display for HttpsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_connect() {
            "the connection could not be made"
        } else {
            "the request failed"
        })
    }
}

impl error::Error for HttpsError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        error::Error::source(&self.error)
    }
}

// === impl ResponseFuture ===

impl Future for ResponseFuture {
    type Output = Result<Response<Incoming>, HttpsError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.project().response.poll(cx));
        Poll::Ready(response.map_err(|error| HttpsError { error }))
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

// === impl InvalidCertificate ===

impl fmt::Display for InvalidCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes are not a root certificate")
    }
}

impl error::Error for InvalidCertificate {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.0)
    }
}
