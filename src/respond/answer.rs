use bytes::Bytes;
use http::Response;

use crate::error::Error;

/// Turns an error of a session into the response that the caller gets in its place.
///
/// [`HttpAnswer`](crate::respond::HttpAnswer) is the one for plain HTTP. Implement it for an API
/// with an error format of its own.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http::{Response, StatusCode};
/// use tower_refresh::{respond::Answer, Error, ErrorKind};
///
/// struct Problem;
///
/// impl Answer for Problem {
///     fn answer(&self, error: &Error) -> Response<Bytes> {
///         let (status, title) = match error.kind() {
///             ErrorKind::LoggedOut => (StatusCode::UNAUTHORIZED, r#"{"title":"log in again"}"#),
///             _ => (StatusCode::SERVICE_UNAVAILABLE, r#"{"title":"try later"}"#),
///         };
///         let mut response = Response::new(Bytes::from_static(title.as_bytes()));
///         *response.status_mut() = status;
///         response
///     }
/// }
/// ```
pub trait Answer: Send + Sync + 'static {
    /// The response to the caller, its body whole.
    fn answer(&self, error: &Error) -> Response<Bytes>;
}
