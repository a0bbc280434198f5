use crate::{
    error::{RefreshError, RefreshErrorKind},
    session::machine::limit::Limit,
};

/// What becomes of a login when a refresh was sent and not answered: an
/// [ambiguous](crate::RefreshErrorKind::Ambiguous) failure, a time-out among them.
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
    /// It goes on, and the refresh is tried again with the same credential. Right with a server
    /// that lets a refresh token be used again within a grace period.
    #[default]
    Retry,
    /// It ends, as if the refresh had been refused. Right with a server that takes the second use
    /// of a refresh token for theft.
    EndLogin,
}

/// What the state machine goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(in crate::session) limit: Limit,
    pub(in crate::session) ambiguous: AmbiguousOutcome,
    /// How many refusals in a row end a login.
    pub(in crate::session) terminal_after: u32,
}

// === impl Rules ===

impl Rules {
    pub(in crate::session) const DEFAULT: Self =
        Self { limit: Limit::DEFAULT, ambiguous: AmbiguousOutcome::Retry, terminal_after: 1 };

    /// Whether the error counts as a refusal of the session.
    pub(in crate::session) fn is_refusal(&self, error: &RefreshError) -> bool {
        match error.kind() {
            RefreshErrorKind::Terminal => true,
            RefreshErrorKind::Ambiguous => self.ambiguous == AmbiguousOutcome::EndLogin,
            RefreshErrorKind::Transient => false,
        }
    }
}
