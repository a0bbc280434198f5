//! An HTTP client for those who have none: hyper-util's, over TLS by rustls, with Mozilla's root
//! certificates.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower::Layer;
//! use tower_refresh::client::Https;
//! # #[cfg(feature = "oauth2")]
//! # fn main() -> Result<(), tower::BoxError> {
//! use tower_refresh::oauth2::{ClientAuth, ClientCredentialsGrant, EndpointUrl, TokenEndpoint};
//! use tower_refresh::{RefreshLayer, ReplayBody, Session, Token};
//!
//! let url = EndpointUrl::new("https://login.example.com/oauth/token")?;
//! let tokens = TokenEndpoint::new(Https::new().build(), url, ClientAuth::basic("my-service", "s3cr3t"));
//! let session = Session::<Token>::builder(ClientCredentialsGrant::new(tokens)).acquire_on_demand(true).build();
//! let api = RefreshLayer::new(session).layer(Https::new().build::<ReplayBody<Full<Bytes>>>());
//! # Ok(()) }
//! # #[cfg(not(feature = "oauth2"))]
//! # fn main() {}
//! ```
//!
//! Behind a company's own certificate authority:
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower_refresh::client::{Https, InvalidCertificate};
//!
//! # fn client(der: Vec<u8>) -> Result<(), InvalidCertificate> {
//! let client = Https::new().root(der)?.build::<Full<Bytes>>();
//! # Ok(()) }
//! ```
//!
//! It speaks HTTP/2 where the server does, and HTTP/1.1 elsewhere. It follows no redirects. A URL
//! of `http://` is sent in cleartext: what may carry a credential is decided by
//! [`RefreshLayer`](crate::RefreshLayer) and `oauth2::EndpointUrl`.

mod https;

pub use https::{Https, HttpsClient, InvalidCertificate};
