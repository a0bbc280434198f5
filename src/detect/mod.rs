//! Detection of responses that reject the credential.
//!
//! A [`Detect`] inspects the head of every response to a request that carried a credential.
//! [`Unauthorized`] is the default, and implements the rules of HTTP. [`detect_fn()`] makes a
//! detector of a closure, for an upstream with rules of its own. [`Challenges`] reads the
//! `WWW-Authenticate` lines of a response. [`peek`](crate::peek) detects rejections in the body of
//! a response.
//!
//! # Examples
//!
//! The default:
//!
//! ```
//! use http::{HeaderMap, StatusCode};
//! use tower_refresh::{
//!     detect::{Detect, Unauthorized, Verdict},
//!     head::ResponseHead,
//! };
//!
//! let headers = HeaderMap::new();
//! let response = |status| ResponseHead::new(status, &headers);
//! assert_eq!(Unauthorized.inspect(&response(StatusCode::UNAUTHORIZED)), Verdict::Rejected);
//! assert_eq!(Unauthorized.inspect(&response(StatusCode::FORBIDDEN)), Verdict::Accepted);
//! ```
//!
//! An upstream that answers 419 to an expired session, in addition to the default:
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

pub use challenge::{Challenge, ChallengeParams, Challenges};
pub use detect_fn::{DetectFn, detect_fn};
#[cfg(feature = "grpc")]
#[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
pub use grpc::GrpcUnauthenticated;
#[cfg(feature = "grpc")]
pub(crate) use grpc::is_unauthenticated;
pub use unauthorized::Unauthorized;
pub use verdict::{Detect, Verdict};
