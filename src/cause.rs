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

// === impl Cause ===

impl Cause {
    /// A stable word for logs and metrics: `rejected`, `expiring`, `missing` or `forced`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expiring => "expiring",
            Self::Missing => "missing",
            Self::Forced => "forced",
        }
    }
}
