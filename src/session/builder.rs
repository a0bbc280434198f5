use crate::{
    credential::{Credential, Token},
    refresher::Refresher,
    session::{
        handle::Session,
        hook::{Hook, Terminated},
        state::State,
    },
};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Configures a [`Session`]. Made by [`Session::builder`].
///
/// Without [`credential`](Self::credential) and [`acquire_on_demand`](Self::acquire_on_demand) the session starts
/// signed out: every request fails with [`ErrorKind::Terminated`](crate::ErrorKind::Terminated) until somebody logs
/// in, and no hook runs for it.
///
/// ```
/// use std::time::Duration;
/// use tower_refresh::{Session, Terminated, Token};
///
/// # fn build(refresher: impl tower_refresh::Refresher) -> Result<Session, tower_refresh::InvalidToken> {
/// let session = Session::builder(refresher)
///     .credential(Token::bearer("at-1")?.with_refresh_token("rt-1"))
///     .refresh_timeout(Duration::from_secs(10))
///     .on_terminated(|end: Terminated| async move {
///         println!("logged out: {:?}", end.termination());
///     })
///     .build();
/// # Ok(session) }
/// ```
#[must_use]
pub struct SessionBuilder<C = Token> {
    credential: Option<C>,
    acquire_on_demand: bool,
    settings: Settings<C>,
}

/// What a session is made with, besides its state.
pub(super) struct Settings<C> {
    pub(super) refresher: Box<dyn Refresher<C>>,
    pub(super) refresh_timeout: Duration,
    pub(super) on_terminated: Option<Hook<C>>,
    pub(super) clock: Clock,
}

/// The wall clock.
pub(super) type Clock = Box<dyn Fn() -> SystemTime + Send + Sync>;

const MIN_REFRESH_TIMEOUT: Duration = Duration::from_millis(1);
const MAX_REFRESH_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

// === impl SessionBuilder ===

impl<C: Credential> SessionBuilder<C> {
    pub(super) fn new(refresher: impl Refresher<C>) -> Self {
        Self {
            credential: None,
            acquire_on_demand: false,
            settings: Settings {
                refresher: Box::new(refresher),
                refresh_timeout: Duration::from_secs(30),
                on_terminated: None,
                clock: Box::new(SystemTime::now),
            },
        }
    }

    /// Starts logged in, with this credential.
    pub fn credential(mut self, credential: C) -> Self {
        self.credential = Some(credential);
        self
    }

    /// Starts in a login that has no credential yet: the first request acquires one through the refresher
    /// ([`Cause::Missing`](crate::Cause::Missing)), once, however many requests come. Default: false. With a
    /// [`credential`](Self::credential) it has nothing to acquire.
    ///
    /// After that login has ended, the session stays signed out until [`Session::login`] or [`Session::acquire`].
    pub fn acquire_on_demand(mut self, on_demand: bool) -> Self {
        self.acquire_on_demand = on_demand;
        self
    }

    /// How long a refresh may take before it counts as an [ambiguous](crate::RefreshErrorKind::Ambiguous) failure.
    /// Its future is then dropped. Default: 30 seconds. Clamped to at least 1 millisecond and at most 1 day.
    ///
    /// This bounds how long a request can wait for one refresh.
    pub fn refresh_timeout(mut self, limit: Duration) -> Self {
        self.settings.refresh_timeout = limit.clamp(MIN_REFRESH_TIMEOUT, MAX_REFRESH_TIMEOUT);
        self
    }

    /// Runs once for every login that ends by a refused refresh or by [`Session::logout`]: to revoke its credential,
    /// to call the logout endpoint, to clear what the application knows of its user. Not for a login that another
    /// login replaced. Set twice, the last one wins.
    ///
    /// It runs in a task of its own, after the last flight of that login is over, and no request waits for it. What
    /// it sends through the session's clients passes untouched. It may panic or never end: nobody is hurt but the one
    /// who awaits [`Session::logout`].
    pub fn on_terminated<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(Terminated<C>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.settings.on_terminated = Some(Arc::new(move |end| Box::pin(hook(end))));
        self
    }

    /// Reads the time from another clock than [`SystemTime::now`]: for tests, and for hosts that know the time better
    /// than their system clock.
    ///
    /// It is read once for each request of a credential whose expiry is known.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.settings.clock = Box::new(clock);
        self
    }

    /// Makes the session.
    pub fn build(self) -> Session<C> {
        let on_demand = self.acquire_on_demand && self.credential.is_none();
        let state = if on_demand { State::on_demand() } else { State::signed_out() };
        let session = Session::with_state(state, self.settings);
        if let Some(credential) = self.credential {
            session.login(credential);
        }
        session
    }
}

impl<C> fmt::Debug for SessionBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionBuilder")
            .field("has_credential", &self.credential.is_some())
            .field("acquire_on_demand", &self.acquire_on_demand)
            .field("refresh_timeout", &self.settings.refresh_timeout)
            .field("has_hook", &self.settings.on_terminated.is_some())
            .finish_non_exhaustive()
    }
}
