/// The span of one identity in a session, from a login to its end.
///
/// A session may see many logins, one at a time. The number says nothing by itself: compare it with
/// another one of the same session.
///
/// ```
/// # use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
/// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
/// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
/// let session = Session::new(Token::bearer("anns")?, refresher);
/// let ann = session.state().login();
/// session.login(Token::bearer("bobs")?);
/// assert_ne!(session.state().login(), ann); // what is cached for Ann is not for Bob
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Login(u64);

/// How many credentials the session has seen: the number of the current one.
///
/// It grows exactly when a new credential arrives (a refresh that succeeded, a replacement, a
/// login) and never goes back, not even across logins.
///
/// ```
/// # use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
/// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
/// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
/// let session = Session::new(Token::bearer("at-1")?, refresher);
/// let before = session.state();
/// let replaced = session.replace(before.login(), Token::bearer("at-2")?);
/// let generation = replaced.expect("nobody has logged out");
/// assert!(generation > before.generation());
///
/// drop(session.logout());
/// assert_eq!(session.state().generation(), generation);
/// # Ok(()) }
/// ```
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
