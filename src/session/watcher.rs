use std::{error, fmt, sync::Arc};

use tokio::sync::watch;

use crate::{credential::token::Token, session::machine::state::State};

/// A subscription to the states of a session: reads the latest one and waits for the next.
///
/// A watcher returns snapshots and holds no lock while your code runs. It does not keep the session
/// alive. A slow watcher may miss states, but never the last one. [`State::flights_started`] and
/// [`State::flights_settled`] tell how many flights it missed. An
/// [observer](crate::observe) misses no event.
///
/// ```
/// use tower_refresh::{session::{Phase, Watcher}, Session, Token};
///
/// async fn report(mut watcher: Watcher) {
///     while let Ok(state) = watcher.changed().await {
///         match state.phase() {
///             Phase::Refreshing(flight) => println!("refreshing: {:?}", flight.cause()),
///             Phase::LoggedOut(_) => println!("logged out"),
///             _ => println!("ready"),
///         }
///     }
/// }
/// # fn f(session: Session<Token>) { tokio::spawn(report(session.subscribe())); }
/// ```
pub struct Watcher<C = Token>(watch::Receiver<Arc<State<C>>>);

/// The session is gone: its last handle, service and flight have been dropped.
///
/// ```
/// use tower_refresh::session::Closed;
/// # use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower::BoxError> {
/// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::transient("unreachable")) });
/// let session = Session::new(Token::bearer("at-1")?, refresher);
/// let mut watcher = session.subscribe();
/// drop(session);
/// let _: Closed = watcher.changed().await.unwrap_err();
/// assert!(watcher.state().credential().is_some()); // the last state is still there
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed(());

// === impl Watcher ===

impl<C> Watcher<C> {
    pub(super) fn new(changes: watch::Receiver<Arc<State<C>>>) -> Self {
        Self(changes)
    }

    /// The latest state. Does not mark it as seen for [`changed`](Self::changed).
    ///
    /// ```
    /// # use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
    /// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
    /// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
    /// let session = Session::new(Token::bearer("at-1")?, refresher);
    /// let watcher = session.subscribe();
    /// drop(session.logout());
    /// assert!(watcher.state().credential().is_none());
    /// # Ok(()) }
    /// ```
    pub fn state(&self) -> State<C> {
        let state = self.0.borrow().clone();
        State::clone(&state)
    }

    /// Waits for a state that this watcher has not seen.
    ///
    /// ```
    /// # use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower::BoxError> {
    /// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::transient("503")) });
    /// let session = Session::new(Token::bearer("at-1")?, refresher);
    /// let mut watcher = session.subscribe();
    /// session.login(Token::bearer("at-2")?);
    /// assert_eq!(watcher.changed().await?.credential().unwrap().access_token(), "at-2");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Closed`] when the session is gone.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has marked no state as seen.
    pub async fn changed(&mut self) -> Result<State<C>, Closed> {
        self.0.changed().await.map_err(|_| Closed::new())?;
        let state = self.0.borrow_and_update().clone();
        Ok(State::clone(&state))
    }

    /// Waits for a state that the predicate accepts. Starts with the latest state, even if this
    /// watcher has seen it.
    ///
    /// ```
    /// # use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower::BoxError> {
    /// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::transient("503")) });
    /// let session: Session = Session::builder(refresher).build();
    /// let mut watcher = session.subscribe();
    /// let token = Token::bearer("at-1")?;
    /// tokio::spawn(async move { session.login(token) });
    ///
    /// let state = watcher.wait_for(|state| state.credential().is_some()).await?;
    /// assert_eq!(state.credential().unwrap().access_token(), "at-1");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Closed`] when the session is gone before the predicate has accepted a state.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing. States that the predicate has rejected count as seen.
    pub async fn wait_for(
        &mut self,
        mut predicate: impl FnMut(&State<C>) -> bool,
    ) -> Result<State<C>, Closed> {
        loop {
            let state = self.0.borrow_and_update().clone();
            if predicate(&state) {
                return Ok(State::clone(&state));
            }
            // Dropped before the wait. Otherwise it would keep a credential alive that the
            // session has replaced.
            drop(state);
            self.0.changed().await.map_err(|_| Closed::new())?;
        }
    }
}

impl<C> Clone for Watcher<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> fmt::Debug for Watcher<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watcher").field(&self.state()).finish()
    }
}

// === impl Closed ===

impl Closed {
    pub(crate) fn new() -> Self {
        Self(())
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the session is gone")
    }
}

impl error::Error for Closed {}
