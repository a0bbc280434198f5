use std::fmt;

use crate::{
    detect::{Detect, Verdict},
    head::ResponseHead,
};

/// A [`Detect`] made of a closure by [`detect_fn`].
#[derive(Clone, Copy)]
pub struct DetectFn<F> {
    f: F,
}

/// Makes a [`Detect`] of a closure that returns whether the response rejects the credential, or a
/// [`Verdict`].
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, StatusCode};
/// use tower_refresh::{
///     detect::{Detect, Verdict, detect_fn},
///     head::ResponseHead,
/// };
///
/// // This upstream answers 403 to an expired token.
/// let detect = detect_fn(|response| {
///     matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
/// });
///
/// let headers = HeaderMap::new();
/// let forbidden = ResponseHead::new(StatusCode::FORBIDDEN, &headers);
/// assert_eq!(detect.inspect(&forbidden), Verdict::Rejected);
/// assert_eq!(detect.inspect(&ResponseHead::new(StatusCode::OK, &headers)), Verdict::Accepted);
/// ```
pub const fn detect_fn<F, V>(f: F) -> DetectFn<F>
where
    F: Fn(&ResponseHead<'_>) -> V + Send + Sync + 'static,
    V: Into<Verdict>,
{
    DetectFn { f }
}

// === impl DetectFn ===

impl<F, V> Detect for DetectFn<F>
where
    F: Fn(&ResponseHead<'_>) -> V + Send + Sync + 'static,
    V: Into<Verdict>,
{
    fn inspect(&self, response: &ResponseHead<'_>) -> Verdict {
        (self.f)(response).into()
    }
}

impl<F> fmt::Debug for DetectFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetectFn").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    #[test]
    fn a_closure_returns_a_bool_or_a_verdict() {
        let headers = HeaderMap::new();
        let ok = ResponseHead::new(StatusCode::OK, &headers);
        assert_eq!(detect_fn(|response| response.status() == 200).inspect(&ok), Verdict::Rejected);
        assert_eq!(detect_fn(|_| false).inspect(&ok), Verdict::Accepted);
        assert_eq!(detect_fn(|_| Verdict::Retry).inspect(&ok), Verdict::Retry);
    }
}
