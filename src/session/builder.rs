use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    credential::{contract::Credential, token::Token},
    refresher::Refresher,
    session::{
        handle::Session,
        hook::{EndedLogin, Hook},
        machine::{
            clock::Clock,
            limit::Limit,
            rules::{AmbiguousOutcome, Rules},
            state::State,
            timing::{Ahead, Backoff},
        },
    },
};

/// Configures a [`Session`]. Made by [`Session::builder`].
///
/// Without [`credential`](Self::credential) and [`acquire_on_demand`](Self::acquire_on_demand) the
/// session starts signed out: every request fails with
/// [`ErrorKind::LoggedOut`](crate::ErrorKind::LoggedOut) until somebody logs in, and no hook runs
/// for it.
///
/// ```
/// use std::time::Duration;
/// use tower_refresh::{session::EndedLogin, Session, Token};
///
/// # fn build(refresher: impl tower_refresh::Refresher) -> Result<Session, tower_refresh::credential::InvalidToken> {
/// let session = Session::builder(refresher)
///     .credential(Token::bearer("at-1")?.with_refresh_token("rt-1"))
///     .refresh_timeout(Duration::from_secs(10))
///     .on_login_end(|end: EndedLogin| async move {
///         println!("logged out: {:?}", end.reason());
///     })
///     .build();
/// # Ok(session) }
/// ```
#[must_use]
pub struct SessionBuilder<C = Token> {
    credential: Option<C>,
    acquire_on_demand: bool,
    rules: Rules,
    settings: Settings<C>,
}

/// What a session is made with, besides its state.
pub(super) struct Settings<C> {
    pub(super) refresher: Box<dyn Refresher<C>>,
    pub(super) refresh_timeout: Duration,
    pub(super) on_login_end: Option<Hook<C>>,
    pub(super) ahead: Ahead,
    pub(super) backoff: Backoff,
    pub(super) max_waiters: usize,
    pub(super) clock: Clock,
}

const MIN_REFRESH_TIMEOUT: Duration = Duration::from_millis(1);
const MAX_REFRESH_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

// === impl SessionBuilder ===

impl<C: Credential> SessionBuilder<C> {
    pub(super) fn new(refresher: impl Refresher<C>) -> Self {
        Self {
            credential: None,
            acquire_on_demand: false,
            rules: Rules::DEFAULT,
            settings: Settings {
                refresher: Box::new(refresher),
                refresh_timeout: Duration::from_secs(30),
                on_login_end: None,
                ahead: Ahead::DEFAULT,
                backoff: Backoff::DEFAULT,
                max_waiters: usize::MAX,
                clock: Clock::new(SystemTime::now),
            },
        }
    }

    /// Starts logged in, with this credential.
    ///
    /// ```
    /// # use tower_refresh::{session::SessionBuilder, Token};
    /// # fn f(builder: SessionBuilder) -> Result<SessionBuilder, tower_refresh::credential::InvalidToken> {
    /// let builder = builder.credential(Token::bearer("at-1")?.with_refresh_token("rt-1"));
    /// # Ok(builder) }
    /// ```
    pub fn credential(mut self, credential: C) -> Self {
        self.credential = Some(credential);
        self
    }

    /// Starts in a login that has no credential yet: the first request acquires one through the
    /// refresher ([`Cause::Missing`](crate::refresher::Cause::Missing)), once, however many requests come.
    /// Default: false. With a [`credential`](Self::credential) it has nothing to acquire.
    ///
    /// After that login has ended, the session stays signed out until [`Session::login`] or
    /// [`Session::acquire`].
    ///
    /// ```
    /// # use tower_refresh::session::SessionBuilder;
    /// # fn f(builder: SessionBuilder) -> SessionBuilder {
    /// // A service that logs in as itself: client credentials (RFC 6749 §4.4).
    /// let builder = builder.acquire_on_demand(true);
    /// # builder }
    /// ```
    pub fn acquire_on_demand(mut self, on_demand: bool) -> Self {
        self.acquire_on_demand = on_demand;
        self
    }

    /// How long a refresh may take before it counts as an
    /// [ambiguous](crate::RefreshErrorKind::Ambiguous) failure. Its future is then dropped.
    /// Default: 30 seconds. Clamped to at least 1 millisecond and at most 1 day.
    ///
    /// This bounds how long a request can wait for one refresh.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_refresh::session::SessionBuilder;
    /// # fn f(builder: SessionBuilder) -> SessionBuilder {
    /// let builder = builder.refresh_timeout(Duration::from_secs(10));
    /// # builder }
    /// ```
    pub fn refresh_timeout(mut self, limit: Duration) -> Self {
        self.settings.refresh_timeout = limit.clamp(MIN_REFRESH_TIMEOUT, MAX_REFRESH_TIMEOUT);
        self
    }

    /// How long before its expiry a credential is renewed, while requests go on with it and none
    /// waits. Default: zero, which renews it when it has expired, with requests waiting.
    ///
    /// The first request within this margin starts the refresh
    /// ([`Cause::Expiring`](crate::refresher::Cause::Expiring)); while nothing is sent, nothing is renewed,
    /// unless [`Session::keep_fresh`] runs. Of a credential that lives for less than twice the
    /// margin, the second half of its life counts. One of unknown expiry is never renewed ahead.
    ///
    /// A minute or two suit tokens that live for an hour.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_refresh::session::SessionBuilder;
    /// # fn f(builder: SessionBuilder) -> SessionBuilder {
    /// let builder = builder.refresh_ahead(Duration::from_secs(120));
    /// # builder }
    /// ```
    pub fn refresh_ahead(mut self, margin: Duration) -> Self {
        self.settings.ahead.margin = margin;
        self
    }

    /// The fraction of the margin over which the start of a renewal ahead of expiry is spread at
    /// random, so that a fleet that was started together does not renew together. Default: 0.2.
    /// Clamped to 0 and 1; what is not a number counts as 0.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_refresh::session::SessionBuilder;
    /// # fn f(builder: SessionBuilder) -> SessionBuilder {
    /// // A fleet renews at any time within the last five minutes.
    /// let builder = builder.refresh_ahead(Duration::from_secs(300)).refresh_ahead_jitter(1.0);
    /// # builder }
    /// ```
    pub fn refresh_ahead_jitter(mut self, fraction: f64) -> Self {
        self.settings.ahead.jitter = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
        self
    }

    /// How long a failed refresh keeps the next one away: from `min` after the first failure,
    /// doubled with every further one in a row, up to `max`, with up to as much again at random,
    /// but never more than `max`. Default: 1 second to 1 minute. Clamped to at least 1 millisecond
    /// and at most 1 hour.
    ///
    /// Until then requests with a credential that is still usable are sent, and everything that
    /// needs a newer one fails at once with that failure. A refresher that knows better names the
    /// time, `min` at the least ([`RefreshError::retry_after`](crate::RefreshError::with_retry_after)).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_refresh::session::SessionBuilder;
    /// # fn f(builder: SessionBuilder) -> SessionBuilder {
    /// let builder = builder.backoff(Duration::from_millis(500), Duration::from_secs(30));
    /// # builder }
    /// ```
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.settings.backoff = Backoff::new(min, max);
        self
    }

    /// How many refreshes of one login may succeed within a window. Default: 5 in 30 seconds. The
    /// number is clamped to at least 1 and at most 1000; a window of zero is no limit.
    ///
    /// This is for an upstream that rejects every new credential: for the wrong audience, for a
    /// clock that is off. Beyond the limit a rejected request gets its rejection, other requests go
    /// on with the credential there is, and nothing is called. A credential that a refresh brought,
    /// and that the upstream has not accepted once, earns no other refresh by its rejections before
    /// the window is over. (A response whose head was let pass is an acceptance, even if its
    /// [`Stamp`](crate::extension::Stamp) is used to reject it later.)
    ///
    /// [`Session::refresh`] and [`Session::acquire`] are counted, and not limited.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_refresh::session::SessionBuilder;
    /// # fn f(builder: SessionBuilder) -> SessionBuilder {
    /// let builder = builder.refresh_limit(3, Duration::from_secs(60));
    /// # builder }
    /// ```
    pub fn refresh_limit(mut self, refreshes: usize, window: Duration) -> Self {
        self.rules.limit = Limit::new(refreshes, window);
        self
    }

    /// What becomes of the login when a refresh got no answer. Default:
    /// [`AmbiguousOutcome::Retry`].
    ///
    /// ```
    /// # use tower_refresh::session::{AmbiguousOutcome, SessionBuilder};
    /// # fn f(builder: SessionBuilder) -> SessionBuilder {
    /// let builder = builder.on_ambiguous(AmbiguousOutcome::EndLogin);
    /// # builder }
    /// ```
    pub fn on_ambiguous(mut self, outcome: AmbiguousOutcome) -> Self {
        self.rules.ambiguous = outcome;
        self
    }

    /// How many refusals in a row end a login, for an endpoint whose refusals can't be trusted at
    /// once. Default: 1. Zero counts as 1. Between them the back-off passes; another failure in
    /// between starts the count anew.
    ///
    /// ```
    /// # use tower_refresh::session::SessionBuilder;
    /// # fn f(builder: SessionBuilder) -> SessionBuilder {
    /// // The endpoint also answers 403 while it is deployed.
    /// let builder = builder.terminal_after(3);
    /// # builder }
    /// ```
    pub fn terminal_after(mut self, refusals: u32) -> Self {
        self.rules.terminal_after = refusals.max(1);
        self
    }

    /// How many requests may wait for a refresh at a time. Beyond it a request fails at once with
    /// [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded), or, with
    /// [`FailureMode::Response`](crate::FailureMode::Response), gets its rejection. Default: no
    /// limit. With 0 none waits.
    ///
    /// ```
    /// # use tower_refresh::session::SessionBuilder;
    /// # fn f(builder: SessionBuilder) -> SessionBuilder {
    /// let builder = builder.max_waiters(1000);
    /// # builder }
    /// ```
    pub fn max_waiters(mut self, waiters: usize) -> Self {
        self.settings.max_waiters = waiters;
        self
    }

    /// Runs once for every login that ends by a refused refresh or by [`Session::logout`]: to
    /// revoke its credential (RFC 7009), to call the logout endpoint, to clear what the application
    /// knows of its user. Not for a login that another login replaced. Set twice, the last one
    /// wins. See [`EndedLogin`] for an example.
    ///
    /// It runs in a task of its own, after the last flight of that login is over, and no request
    /// waits for it. What it sends through the session's clients passes untouched. It may panic or
    /// never end: nobody is hurt but the one who awaits [`Session::logout`].
    pub fn on_login_end<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(EndedLogin<C>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.settings.on_login_end = Some(Arc::new(move |end| Box::pin(hook(end))));
        self
    }

    /// Reads the time from another clock than [`SystemTime::now`]: for tests, and for hosts that
    /// know the time better than their system clock.
    ///
    /// It is read when a service is asked whether it is ready, where the credential is known to
    /// expire, and at each step of the state machine.
    ///
    /// ```
    /// # use std::time::{Duration, SystemTime};
    /// # use tower_refresh::session::SessionBuilder;
    /// # fn f(builder: SessionBuilder) -> SessionBuilder {
    /// // A device whose clock is known to be an hour slow.
    /// let builder = builder.clock(|| SystemTime::now() + Duration::from_secs(3600));
    /// # builder }
    /// ```
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.settings.clock = Clock::new(clock);
        self
    }

    /// Makes the session.
    pub fn build(self) -> Session<C> {
        let on_demand = self.acquire_on_demand && self.credential.is_none();
        let state =
            if on_demand { State::on_demand(self.rules) } else { State::signed_out(self.rules) };
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
            .field("has_hook", &self.settings.on_login_end.is_some())
            .field("rules", &self.rules)
            .field("ahead", &self.settings.ahead)
            .field("backoff", &self.settings.backoff)
            .field("max_waiters", &self.settings.max_waiters)
            .finish_non_exhaustive()
    }
}
