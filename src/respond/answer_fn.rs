use std::fmt;

use bytes::Bytes;
use http::Response;

use crate::{error::Error, head::RequestHead, respond::answer::Answer};

/// An [`Answer`] made of a closure by [`answer_fn`].
#[derive(Clone, Copy)]
pub struct AnswerFn<F> {
    f: F,
}

/// Makes an [`Answer`] of a closure.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http::{Response, StatusCode, header::LOCATION};
/// use tower_refresh::{
///     ErrorKind,
///     respond::{Answer, HttpAnswer, RespondLayer, answer_fn},
/// };
///
/// // A browser is sent to the login page.
/// let layer = RespondLayer::new(answer_fn(|error, request| {
///     if error.kind() != ErrorKind::LoggedOut {
///         return HttpAnswer::new().answer(error, request);
///     }
///     let mut response = Response::new(Bytes::new());
///     *response.status_mut() = StatusCode::SEE_OTHER;
///     response.headers_mut().insert(LOCATION, "/login".parse().expect("a path"));
///     response
/// }));
/// # drop(layer);
/// ```
pub const fn answer_fn<F>(f: F) -> AnswerFn<F>
where
    F: Fn(&Error, &RequestHead<'_>) -> Response<Bytes> + Send + Sync + 'static,
{
    AnswerFn { f }
}

// === impl AnswerFn ===

impl<F> Answer for AnswerFn<F>
where
    F: Fn(&Error, &RequestHead<'_>) -> Response<Bytes> + Send + Sync + 'static,
{
    fn answer(&self, error: &Error, request: &RequestHead<'_>) -> Response<Bytes> {
        (self.f)(error, request)
    }
}

impl<F> fmt::Debug for AnswerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerFn").finish_non_exhaustive()
    }
}
