/// The span of one identity in a session, from a login to its end.
///
/// A session may see many logins, one at a time. The number says nothing by itself: compare it with another one of
/// the same session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Login(u64);

/// How many credentials the session has seen: the number of the current one.
///
/// It grows exactly when a new credential arrives (a refresh that succeeded, a replacement, a login) and never goes
/// back, not even across logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

// === impl Login ===

impl Login {
    /// Before the first login.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

// === impl Generation ===

impl Generation {
    /// Before the first credential.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
