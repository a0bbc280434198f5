use crate::{credential::Token, session::state::State};
use std::{error, fmt};
use tokio::sync::watch;

/// A read-only view of a session: shows its latest state, and waits for the next one.
///
/// It hands out snapshots and never holds a lock while your code runs. It does not keep the session alive. A watcher
/// that is slow misses states in between, never the last one; [`State::flights_started`] and
/// [`State::flights_settled`] tell how many flights it missed.
///
/// ```
/// use tower_refresh::{Phase, Session, Token, Watcher};
///
/// async fn report(mut watcher: Watcher) {
///     while let Ok(state) = watcher.changed().await {
///         match state.phase() {
///             Phase::Refreshing(flight) => println!("refreshing: {:?}", flight.cause()),
///             Phase::Terminated(_) => println!("logged out"),
///             _ => println!("ready"),
///         }
///     }
/// }
/// # fn f(session: Session<Token>) { tokio::spawn(report(session.subscribe())); }
/// ```
pub struct Watcher<C = Token>(watch::Receiver<State<C>>);

/// The session is gone: its last handle, service and flight were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed(());

// === impl Watcher ===

impl<C> Watcher<C> {
    pub(super) fn new(changes: watch::Receiver<State<C>>) -> Self {
        Self(changes)
    }

    /// The latest state. It counts as not seen by [`changed`](Self::changed).
    pub fn state(&self) -> State<C> {
        self.0.borrow().clone()
    }

    /// Waits for a state that this watcher has not seen.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the session is gone.
    ///
    /// # Cancel safety
    ///
    /// Nothing is seen unless the future ends.
    pub async fn changed(&mut self) -> Result<State<C>, Closed> {
        self.0.changed().await.map_err(|_| Closed(()))?;
        Ok(self.0.borrow_and_update().clone())
    }

    /// Waits for a state that the predicate accepts. The latest one is looked at first, seen or not.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the session is gone before such a state was seen.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; the states that the predicate has refused count as seen.
    pub async fn wait_for(
        &mut self,
        mut predicate: impl FnMut(&State<C>) -> bool,
    ) -> Result<State<C>, Closed> {
        loop {
            let state = self.0.borrow_and_update().clone();
            if predicate(&state) {
                return Ok(state);
            }
            // Not held while waiting: it would keep a credential alive that the session has dropped.
            drop(state);
            self.0.changed().await.map_err(|_| Closed(()))?;
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

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the session is gone")
    }
}

impl error::Error for Closed {}
