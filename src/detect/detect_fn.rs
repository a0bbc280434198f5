use std::{any::type_name, fmt};

use http::{HeaderMap, StatusCode};

use crate::detect::{Detect, Verdict};

/// A [`Detect`] made of a closure by [`detect_fn`].
#[derive(Clone, Copy)]
pub struct DetectFn<F> {
    f: F,
}

/// Turns a closure into a [`Detect`]: `true` is a rejection.
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, StatusCode};
/// use tower_refresh::detect::{detect_fn, Detect, Verdict};
///
/// // this upstream answers 403 to an expired token
/// let detect = detect_fn(|status, _headers| {
///     matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
/// });
///
/// let headers = HeaderMap::new();
/// assert_eq!(detect.inspect(StatusCode::FORBIDDEN, &headers), Verdict::Rejected);
/// assert_eq!(detect.inspect(StatusCode::OK, &headers), Verdict::Accepted);
/// ```
pub const fn detect_fn<F>(f: F) -> DetectFn<F>
where
    F: Fn(StatusCode, &HeaderMap) -> bool + Send + Sync + 'static,
{
    DetectFn { f }
}

// === impl DetectFn ===

impl<F> Detect for DetectFn<F>
where
    F: Fn(StatusCode, &HeaderMap) -> bool + Send + Sync + 'static,
{
    fn inspect(&self, status: StatusCode, headers: &HeaderMap) -> Verdict {
        if (self.f)(status, headers) { Verdict::Rejected } else { Verdict::Accepted }
    }
}

impl<F> fmt::Debug for DetectFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetectFn").field("f", &format_args!("{}", type_name::<F>())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn true_is_a_rejection() {
        let detect =
            detect_fn(|status, headers| status.is_success() && headers.contains_key("x-expired"));
        let mut headers = HeaderMap::new();
        assert_eq!(detect.inspect(StatusCode::OK, &headers), Verdict::Accepted);

        headers.insert("x-expired", http::HeaderValue::from_static("1"));
        assert_eq!(detect.inspect(StatusCode::OK, &headers), Verdict::Rejected);
        assert_eq!(detect.inspect(StatusCode::UNAUTHORIZED, &headers), Verdict::Accepted);
    }
}
