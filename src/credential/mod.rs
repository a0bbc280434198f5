//! The proof of the caller's identity that requests carry.
//!
//! A [`Credential`](crate::Credential) puts itself on a request, and knows when it expires if that
//! can be known. A [refresher](crate::Refresher) obtains the next one. [`Token`](crate::Token) is
//! the credential for OAuth 2 bearer tokens. A [`Secret`] is a text that is never shown, such as a
//! refresh token.
//!
//! # Examples
//!
//! A bearer token as a token endpoint issues it:
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
//! A custom credential: an API key in a header of its own. The conversion to a header value can
//! fail, so it is done when the key is made:
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
