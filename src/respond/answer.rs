use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use crate::{error::Error, head::RequestHead};

/// Turns an error of a session into a response for the caller.
///
/// [`HttpAnswer`](crate::respond::HttpAnswer) is the one for plain HTTP. Implement this trait for
/// an API with an error format of its own.
///
/// # Examples
///
/// Problem details (RFC 9457), with the path of the request:
///
/// ```
/// use bytes::Bytes;
/// use http::{Response, StatusCode, header::CONTENT_TYPE};
/// use tower_refresh::{Error, ErrorKind, head::RequestHead, respond::Answer};
///
/// struct Problem;
///
/// impl Answer for Problem {
///     fn answer(&self, error: &Error, request: &RequestHead<'_>) -> Response<Bytes> {
///         let (status, title) = match error.kind() {
///             ErrorKind::LoggedOut => (StatusCode::UNAUTHORIZED, "log in again"),
///             _ => (StatusCode::SERVICE_UNAVAILABLE, "try again later"),
///         };
///         let path = request.uri().path().escape_default().to_string();
///         let body = format!(r#"{{"title":"{title}","instance":"{path}"}}"#);
///         let mut response = Response::new(Bytes::from(body));
///         *response.status_mut() = status;
///         let problem = "application/problem+json".parse().expect("a media type");
///         response.headers_mut().insert(CONTENT_TYPE, problem);
///         response
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot answer the errors of a session",
    label = "not an `Answer`",
    note = "wrap a closure with `tower_refresh::respond::answer_fn`, use `HttpAnswer` or \
            `grpc::GrpcAnswer`, or implement `tower_refresh::respond::Answer`"
)]
pub trait Answer: Send + Sync + 'static {
    /// The response for the caller, with its whole body.
    fn answer(&self, error: &Error, request: &RequestHead<'_>) -> Response<Bytes>;
}

// === impl Answer ===

impl<A> Answer for Arc<A>
where
    A: Answer + ?Sized,
{
    fn answer(&self, error: &Error, request: &RequestHead<'_>) -> Response<Bytes> {
        (**self).answer(error, request)
    }
}

impl<A> Answer for Box<A>
where
    A: Answer + ?Sized,
{
    fn answer(&self, error: &Error, request: &RequestHead<'_>) -> Response<Bytes> {
        (**self).answer(error, request)
    }
}
