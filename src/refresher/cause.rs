/// The reason why a session started a flight.
///
/// ```
/// use tower_refresh::{refresher::Cause, RefreshContext};
///
/// /// Whether a token that another process has stored is acceptable.
/// fn may_reuse_stored(context: &RefreshContext) -> bool {
///     context.cause() != Cause::Forced
/// }
/// # assert!(may_reuse_stored(&RefreshContext::new(Cause::Rejected)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The upstream rejected the credential.
    Rejected,
    /// The credential has expired, or is about to, by its own expiry time.
    Expiring,
    /// The session has no credential.
    Missing,
    /// The application called [`Session::refresh`](crate::Session::refresh).
    Forced,
}
