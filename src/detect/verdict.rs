use std::sync::Arc;

use crate::head::ResponseHead;

/// Decides whether a response rejects the credential that its request carried.
///
/// It is asked once per response, replays included, and should neither block nor take long.
/// Rejected means that a newer credential could help: a rejection for any other reason costs one
/// refresh and one replay per request.
///
/// Closures become one through [`detect_fn`](crate::detect::detect_fn).
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, StatusCode};
/// use tower_refresh::{
///     detect::{Detect, Verdict},
///     head::ResponseHead,
/// };
///
/// /// For an upstream that redirects to its login page.
/// struct LoginRedirect;
///
/// impl Detect for LoginRedirect {
///     fn inspect(&self, response: &ResponseHead<'_>) -> Verdict {
///         let to_login = response.headers().get("location").is_some_and(|location| location == "/login");
///         if response.status().is_redirection() && to_login {
///             Verdict::Rejected
///         } else {
///             Verdict::Accepted
///         }
///     }
/// }
///
/// let headers = HeaderMap::new();
/// assert_eq!(LoginRedirect.inspect(&ResponseHead::new(StatusCode::FOUND, &headers)), Verdict::Accepted);
/// ```
pub trait Detect: Send + Sync + 'static {
    /// Looks at the head of a response.
    fn inspect(&self, response: &ResponseHead<'_>) -> Verdict;
}

/// What a response says about the credential of its request.
///
/// # Examples
///
/// ```
/// use tower_refresh::detect::Verdict;
///
/// assert_ne!(Verdict::Accepted, Verdict::Rejected);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing against it; the response goes to the caller, whatever its status.
    Accepted,
    /// It is no good; a newer one could help.
    Rejected,
    /// The request is sent again with the same credential: the response has told the credential
    /// what was missing, through [`Credential::observe`](crate::Credential::observe). An example is a
    /// DPoP nonce (RFC 9449 §8). One request is repeated once, beside the replay after a refresh,
    /// and only before that replay.
    Retry,
}

// === impl Verdict ===

/// `true` is [`Verdict::Rejected`].
impl From<bool> for Verdict {
    fn from(rejected: bool) -> Self {
        if rejected { Self::Rejected } else { Self::Accepted }
    }
}

// === impl Detect ===

impl<D> Detect for Arc<D>
where
    D: Detect + ?Sized,
{
    fn inspect(&self, response: &ResponseHead<'_>) -> Verdict {
        (**self).inspect(response)
    }
}

impl<D> Detect for Box<D>
where
    D: Detect + ?Sized,
{
    fn inspect(&self, response: &ResponseHead<'_>) -> Verdict {
        (**self).inspect(response)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::detect::Unauthorized;

    #[test]
    fn a_detector_behind_a_pointer_decides_as_it_would_without() {
        let headers = HeaderMap::new();
        let boxed: Box<dyn Detect> = Box::new(Unauthorized);
        let shared: Arc<dyn Detect> = Arc::new(Unauthorized);
        for detect in [&boxed as &dyn Detect, &shared, &Arc::new(Unauthorized)] {
            assert_eq!(
                detect.inspect(&ResponseHead::new(StatusCode::UNAUTHORIZED, &headers)),
                Verdict::Rejected
            );
            assert_eq!(
                detect.inspect(&ResponseHead::new(StatusCode::OK, &headers)),
                Verdict::Accepted
            );
        }
    }
}
