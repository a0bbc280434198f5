use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// One identity's time in a session, from a login to its end.
///
/// A session has many logins over time, and at most one at a time. A `Login` only serves to compare
/// it with another one of the same session.
///
/// ```
/// # use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
/// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
/// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
/// let session = Session::new(Token::bearer("anns")?, refresher);
/// let ann = session.state().login();
/// session.login(Token::bearer("bobs")?);
/// assert_ne!(session.state().login(), ann); // Ann's cache entries are not for Bob
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Login(u64);

/// The sequence number of a credential in its session.
///
/// The generation grows by one with every new credential: a successful refresh, a replacement, a
/// login. It never decreases, not even across logins.
///
/// ```
/// # use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
/// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
/// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
/// let session = Session::new(Token::bearer("at-1")?, refresher);
/// let before = session.state();
/// let replaced = session.replace(before.login(), Token::bearer("at-2")?);
/// let generation = replaced.expect("the login has not ended");
/// assert!(generation > before.generation());
///
/// drop(session.logout());
/// assert_eq!(session.state().generation(), generation);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

/// The identity of a session within its process. Unlike an address, the identity is never reused.
///
/// An observer that keeps something for each session keeps it under this key
/// ([`Event::session_id`](crate::observe::Event::session_id)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

// === impl Login ===

impl Login {
    /// The value before the first login.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn nth(number: u64) -> Self {
        Self(number)
    }

    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Login {
    /// Writes the number of the login, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl Generation ===

impl Generation {
    /// The value before the first credential.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn nth(number: u64) -> Self {
        Self(number)
    }

    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    /// Writes the number of the generation, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl SessionId ===

impl SessionId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // `Relaxed`: the numbers only have to differ.
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
