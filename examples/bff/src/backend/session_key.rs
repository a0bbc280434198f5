use std::fmt;

use crate::secret;

/// The key of a browser's session: the opaque value of its session cookie. The key is as secret as
/// a password, so that `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct SessionKey(String);

// === impl SessionKey ===

impl SessionKey {
    pub(super) fn random() -> Self {
        Self(secret::random())
    }

    /// Reads the value of a cookie. `None` for a value that cannot be an id.
    pub(super) fn parse(text: &str) -> Option<Self> {
        secret::is_well_formed(text).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionKey").finish_non_exhaustive()
    }
}
