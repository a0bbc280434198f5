use serde::Deserialize;

/// A user of the auth server and of the upstream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum User {
    Ann,
    Bob,
}

/// The password of both users, which the login form shows.
const PASSWORD: &str = "tower";

// === impl User ===

impl User {
    /// The user with this name and password.
    pub(super) fn authenticate(name: &str, password: &str) -> Option<Self> {
        let user = match name {
            "ann" => Self::Ann,
            "bob" => Self::Bob,
            _ => return None,
        };
        (password == PASSWORD).then_some(user)
    }

    pub(crate) fn full_name(self) -> &'static str {
        match self {
            Self::Ann => "Ann Archer",
            Self::Bob => "Bob Baker",
        }
    }

    pub(crate) fn email(self) -> &'static str {
        match self {
            Self::Ann => "ann@example.com",
            Self::Bob => "bob@example.com",
        }
    }

    pub(crate) fn notifications(self) -> &'static [&'static str] {
        match self {
            Self::Ann => &["The build of main has passed.", "Bob has asked for a review."],
            Self::Bob => &["Ann has approved the change.", "The release is on Thursday."],
        }
    }
}
