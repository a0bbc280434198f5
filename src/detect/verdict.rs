use std::sync::Arc;

use crate::head::ResponseHead;

/// Decides whether a response rejects the credential that its request carried.
///
/// The layer asks once per response, replays included. A detector should neither block nor take
/// long. [`Verdict::Rejected`] means that a newer credential may be accepted: a rejection for any
/// other reason costs a refresh and a replay.
///
/// [`detect_fn`](crate::detect::detect_fn) makes a detector of a closure.
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
/// /// An upstream that redirects to its login page.
/// struct LoginRedirect;
///
/// impl Detect for LoginRedirect {
///     fn inspect(&self, response: &ResponseHead<'_>) -> Verdict {
///         let location = response.headers().get("location");
///         let to_login = location.is_some_and(|location| location == "/login");
///         (response.status().is_redirection() && to_login).into()
///     }
/// }
///
/// let headers = HeaderMap::new();
/// let found = ResponseHead::new(StatusCode::FOUND, &headers);
/// assert_eq!(LoginRedirect.inspect(&found), Verdict::Accepted);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot detect rejected credentials",
    label = "not a `Detect`",
    note = "wrap a closure with `tower_refresh::detect::detect_fn`: \
            `detect_fn(|response| response.status() == 419)`",
    note = "or implement `tower_refresh::detect::Detect`"
)]
pub trait Detect: Send + Sync + 'static {
    /// Inspects the head of a response.
    fn inspect(&self, response: &ResponseHead<'_>) -> Verdict;
}

/// The result of [`Detect::inspect`].
///
/// `true` converts into `Rejected` and `false` into `Accepted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// The response does not reject the credential. It goes to the caller, whatever its status.
    Accepted,
    /// The response rejects the credential, and a newer one may be accepted.
    Rejected,
    /// The request is sent again with the session's current credential, without a refresh. The
    /// response has told the credential what was missing, through
    /// [`Credential::observe`](crate::Credential::observe). An example is a DPoP nonce (RFC 9449
    /// §8). One request is repeated once, beside the replay after a refresh, and only before that
    /// replay.
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
    fn a_detector_behind_a_pointer_has_the_same_verdicts() {
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
