use std::{error, fmt, sync::Arc};

use http_body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// Makes a client that trusts certain root certificates.
///
/// See the [module docs](crate::client) for examples.
#[derive(Clone, Debug)]
#[must_use]
pub struct Https {
    roots: RootCertStore,
}

/// What [`Https::build`] makes. Cheap to clone; clones share their connections.
pub type HttpsClient<B> = Client<HttpsConnector<HttpConnector>, B>;

/// Some bytes are not the certificate of an authority.
#[derive(Clone, Debug)]
pub struct InvalidCertificate(rustls::Error);

// === impl Https ===

impl Https {
    /// Trusts Mozilla's root certificates, as they were when the crate `webpki-roots` was released.
    pub fn new() -> Self {
        Self { roots: RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() } }
    }

    /// Trusts nobody but the [`root`](Self::root)s that are added.
    pub fn with_no_roots() -> Self {
        Self { roots: RootCertStore::empty() }
    }

    /// Trusts one more root certificate, in DER.
    ///
    /// # Errors
    ///
    /// If it is not one.
    pub fn root(mut self, der: impl Into<Vec<u8>>) -> Result<Self, InvalidCertificate> {
        self.roots.add(der.into().into()).map_err(InvalidCertificate)?;
        Ok(self)
    }

    /// Makes the client, for request bodies of one type: `ReplayBody<_>` below a `RefreshLayer`,
    /// `oauth2::Form` for a token endpoint.
    pub fn build<B>(self) -> HttpsClient<B>
    where
        B: Body + Send,
        B::Data: Send,
    {
        // Not the default of the process, which may be another or none.
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring knows the protocol versions that are on by default")
            .with_root_certificates(self.roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .build();
        Client::builder(TokioExecutor::new()).build(connector)
    }
}

impl Default for Https {
    fn default() -> Self {
        Self::new()
    }
}

// === impl InvalidCertificate ===

impl fmt::Display for InvalidCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the certificate of an authority")
    }
}

impl error::Error for InvalidCertificate {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.0)
    }
}
