//! An HTTP client for applications that have none: hyper-util's client over TLS by rustls, with
//! Mozilla's root certificates.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower::Layer;
//! use tower_refresh::client::Https;
//! # #[cfg(feature = "oauth2")]
//! # fn main() -> Result<(), tower::BoxError> {
//! use tower_refresh::oauth2::{ClientAuth, ClientCredentialsGrant, EndpointUrl, TokenEndpoint};
//! use tower_refresh::{Origin, RefreshLayer, ReplayBody, Session, Token};
//!
//! let url = EndpointUrl::new("https://login.example.com/oauth/token")?;
//! let tokens = TokenEndpoint::new(Https::new().build(), url, ClientAuth::basic("my-service", "s3cr3t"));
//! let session = Session::<Token>::builder(ClientCredentialsGrant::new(tokens)).acquire_on_demand(true).build();
//! let api = RefreshLayer::new(session, Origin::from_static("https://api.example.com"))
//!     .layer(Https::new().build::<ReplayBody<Full<Bytes>>>());
//! # Ok(()) }
//! # #[cfg(not(feature = "oauth2"))]
//! # fn main() {}
//! ```
//!
//! A client that also trusts a company's own certificate authority:
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
//! [`Https::build_over`] takes a connector of the application, for Unix sockets and proxies. With
//! the feature `platform-roots`, `Https::with_platform_roots` trusts what the platform trusts.
//!
//! The client uses HTTP/2 with servers that support it, and HTTP/1.1 with others. It follows no
//! redirects. Requests to an `http://` URL are sent in cleartext:
//! [`RefreshLayer`](crate::RefreshLayer) and `exchange::EndpointUrl` decide which of them may carry
//! a credential.
//!
//! Types of hyper-util, hyper-rustls and rustls are not part of the API, so their versions can
//! change. The body of a response is hyper's.

mod connector;
mod https;

pub use https::{Https, HttpsClient, HttpsError, InvalidCertificate, ResponseFuture};
