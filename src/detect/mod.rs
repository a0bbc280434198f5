//! Whether a response says that the credential is no good.
//!
//! A [`Detect`] looks at the head of every response to a request that carried a credential.
//! [`Unauthorized`] is the default and right for HTTP; [`detect_fn()`] turns a closure into one for
//! the upstream that has its own idea.
//!
//! # Examples
//!
//! The default, asked by hand:
//!
//! ```
//! use http::{HeaderMap, StatusCode};
//! use tower_refresh::{
//!     detect::{Detect, Unauthorized, Verdict},
//!     head::ResponseHead,
//! };
//!
//! let headers = HeaderMap::new();
//! assert_eq!(Unauthorized.inspect(&ResponseHead::new(StatusCode::UNAUTHORIZED, &headers)), Verdict::Rejected);
//! assert_eq!(Unauthorized.inspect(&ResponseHead::new(StatusCode::FORBIDDEN, &headers)), Verdict::Accepted);
//! ```
//!
//! An upstream that answers an expired session with 419, besides what the default knows:
//!
//! ```
//! use http::{HeaderMap, StatusCode};
//! use tower_refresh::{
//!     detect::{Detect, Unauthorized, Verdict, detect_fn},
//!     head::ResponseHead,
//! };
//!
//! # fn main() -> Result<(), http::status::InvalidStatusCode> {
//! let detect = detect_fn(|response| match response.status().as_u16() {
//!     419 => Verdict::Rejected,
//!     _ => Unauthorized.inspect(response),
//! });
//!
//! let headers = HeaderMap::new();
//! let expired = ResponseHead::new(StatusCode::from_u16(419)?, &headers);
//! assert_eq!(detect.inspect(&expired), Verdict::Rejected);
//! # Ok(())
//! # }
//! ```

mod challenge;
mod detect_fn;
#[cfg(feature = "grpc")]
mod grpc;
mod unauthorized;
mod verdict;

pub use detect_fn::{DetectFn, detect_fn};
#[cfg(feature = "grpc")]
#[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
pub use grpc::GrpcUnauthenticated;
#[cfg(feature = "grpc")]
pub(crate) use grpc::is_unauthenticated;
pub use unauthorized::Unauthorized;
pub use verdict::{Detect, Verdict};
