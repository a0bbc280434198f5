//! What proves the caller to the upstream.
//!
//! A [`Credential`](crate::Credential) knows how it is put on a request and, if it can tell, when
//! it expires. How the next one is obtained is the business of a refresher. [`Token`](crate::Token)
//! is the ready-made one: an OAuth 2 bearer token. A [`Secret`] holds what is kept beside it and
//! never shown, such as its refresh token.
//!
//! # Examples
//!
//! A bearer token as a token endpoint hands it out:
//!
//! ```
//! use std::time::Duration;
//! use tower_refresh::Token;
//!
//! # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
//! let token = Token::bearer("mF_9.B5f-4.1JqM")?
//!     .with_refresh_token("tGzv3JOkF0XG5Qx2TlKWIA")
//!     .with_expires_in(Duration::from_secs(3600));
//!
//! assert_eq!(token.access_token(), "mF_9.B5f-4.1JqM");
//! # Ok(())
//! # }
//! ```
//!
//! A credential of your own, here a key in a header that the upstream invented. What can fail, the
//! conversion to a header value, fails when the key is made:
//!
//! ```
//! use http::header::InvalidHeaderValue;
//! use http::{HeaderValue, Request, request};
//! use tower_refresh::Credential;
//!
//! struct ApiKey(HeaderValue);
//!
//! impl ApiKey {
//!     fn new(key: &str) -> Result<Self, InvalidHeaderValue> {
//!         let mut value = HeaderValue::from_str(key)?;
//!         value.set_sensitive(true);
//!         Ok(Self(value))
//!     }
//! }
//!
//! impl Credential for ApiKey {
//!     fn apply(&self, request: &mut request::Parts) {
//!         request.headers.insert("x-api-key", self.0.clone());
//!     }
//!
//!     fn is_present(request: &request::Parts) -> bool {
//!         request.headers.contains_key("x-api-key")
//!     }
//!
//!     fn is_same(&self, other: &Self) -> bool {
//!         self.0 == other.0
//!     }
//! }
//!
//! # fn main() -> Result<(), InvalidHeaderValue> {
//! let (mut request, ()) = Request::new(()).into_parts();
//! assert!(!ApiKey::is_present(&request));
//!
//! ApiKey::new("k-4711")?.apply(&mut request);
//! assert_eq!(request.headers["x-api-key"], "k-4711");
//! # Ok(())
//! # }
//! ```

pub(crate) mod contract;
pub(crate) mod origin;
pub(crate) mod origins;
mod secret;
pub(crate) mod token;

pub use origin::InvalidOrigin;
pub use secret::Secret;
pub use token::InvalidToken;
