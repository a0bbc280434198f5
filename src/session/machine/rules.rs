use crate::{
    error::{RefreshError, RefreshErrorKind},
    session::machine::limit::RefreshLimit,
};

/// How an [ambiguous](crate::RefreshErrorKind::Ambiguous) failure affects the login. A time-out is
/// such a failure.
///
/// ```
/// use tower_refresh::{session::AmbiguousOutcome, Refresher, Session};
///
/// /// For a server that revokes a login whose refresh token is used twice (RFC 9700 §4.14.2).
/// fn strict(refresher: impl Refresher) -> Session {
///     Session::builder(refresher).on_ambiguous(AmbiguousOutcome::EndLogin).build()
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AmbiguousOutcome {
    /// The login goes on, and a later flight tries again with the same credential. Right for a
    /// server that accepts a refresh token twice within a grace period.
    #[default]
    Retry,
    /// The login ends, as after a refusal. Right for a server that treats the second use of a
    /// refresh token as theft.
    EndLogin,
}

/// The settings that the transitions depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(in crate::session) limit: RefreshLimit,
    pub(in crate::session) ambiguous: AmbiguousOutcome,
    /// How many consecutive refusals end a login.
    pub(in crate::session) terminal_after: u32,
}

// === impl Rules ===

impl Rules {
    pub(in crate::session) const DEFAULT: Self = Self {
        limit: RefreshLimit::DEFAULT,
        ambiguous: AmbiguousOutcome::Retry,
        terminal_after: 1,
    };

    /// Whether the error counts as a refusal of the login.
    pub(in crate::session) fn is_refusal(&self, error: &RefreshError) -> bool {
        match error.kind() {
            RefreshErrorKind::Terminal => true,
            RefreshErrorKind::Ambiguous => self.ambiguous == AmbiguousOutcome::EndLogin,
            RefreshErrorKind::Transient => false,
        }
    }
}
