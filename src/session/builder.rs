use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    credential::{contract::Credential, token::Token},
    observe::contract::Observer,
    refresher::{contract::Refresher, shared::SharedRefresher},
    session::{
        handle::Session,
        hook::EndedLogin,
        machine::{
            clock::Clock, limit::RefreshLimit, rules::AmbiguousOutcome, state::State,
            timing::Backoff,
        },
        template::{SessionTemplate, Settings},
    },
};

/// Configures a [`Session`]. Made by [`Session::builder`].
///
/// Without [`credential`](Self::credential) and [`acquire_on_demand`](Self::acquire_on_demand) the
/// session starts logged out: every request fails with
/// [`ErrorKind::LoggedOut`](crate::ErrorKind::LoggedOut) until the first login, and no hook runs.
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
    settings: Settings<C>,
}

const MIN_REFRESH_TIMEOUT: Duration = Duration::from_millis(1);
const MAX_REFRESH_ATTEMPTS: u32 = 10;
const MAX_REFRESH_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

// === impl Session ===

impl<C: Credential> Session<C> {
    /// A session that starts logged in with this credential. All settings have their defaults.
    ///
    /// ```
    /// # use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
    /// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
    /// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
    /// let session = Session::new(Token::bearer("at-1")?.with_refresh_token("rt-1"), refresher);
    /// assert!(session.credential().is_some());
    /// # Ok(()) }
    /// ```
    pub fn new(credential: C, refresher: impl Refresher<C>) -> Self {
        Self::builder(refresher).credential(credential).build()
    }

    /// Starts to configure a session.
    ///
    /// ```
    /// # use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
    /// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
    /// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
    /// let session: Session = Session::builder(refresher).build(); // logged out
    /// assert!(session.credential().is_none());
    /// # Ok(()) }
    /// ```
    pub fn builder(refresher: impl Refresher<C>) -> SessionBuilder<C> {
        SessionBuilder::new(refresher)
    }
}

// === impl SessionBuilder ===

impl<C: Credential> SessionBuilder<C> {
    fn new(refresher: impl Refresher<C>) -> Self {
        Self { credential: None, settings: Settings::new(refresher) }
    }

    /// The name of the session, for logs and stores. Default: none.
    ///
    /// The name is not a secret. Refreshers get it in
    /// [`RefreshContext::session_name`](crate::RefreshContext::session_name), hooks in
    /// [`EndedLogin::session_name`], and observers in
    /// [`Event::session_name`](crate::observe::Event::session_name).
    ///
    /// ```
    /// # use tower_refresh::session::SessionBuilder;
    /// # fn f(builder: SessionBuilder) -> SessionBuilder {
    /// let builder = builder.name("billing");
    /// # builder }
    /// ```
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// Starts the session logged in with this credential.
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

    /// Starts the session in a login that has no credential yet. The first request acquires one
    /// through the refresher ([`Cause::Missing`](crate::refresher::Cause::Missing)). All requests
    /// share this one flight. Default: false. Ignored if there is a
    /// [`credential`](Self::credential).
    ///
    /// After this login has ended, the session stays logged out until [`Session::login`] or
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
        self.settings.acquire_on_demand = on_demand;
        self
    }

    /// The time-out of a refresh. After it, the session drops the future of the refresher, and the
    /// refresh counts as an [ambiguous](crate::RefreshErrorKind::Ambiguous) failure. Default: 30
    /// seconds. Clamped to between 1 millisecond and 1 day.
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

    /// How many attempts one flight makes at most. Default: 3. Clamped to between 1 and 10; 1
    /// disables further attempts.
    ///
    /// A flight tries again only after a failure that certainly changed nothing
    /// ([`RefreshError::unprocessed`](crate::RefreshError::unprocessed)), only while requests wait
    /// for it, and only within its [`refresh_timeout`](Self::refresh_timeout). Between two attempts
    /// it pauses for 100 to 300 milliseconds, or for a `Retry-After` of at most two seconds. When
    /// the last attempt fails, the flight fails, and the [`backoff`](Self::backoff) begins.
    ///
    /// ```
    /// # use tower_refresh::session::SessionBuilder;
    /// # fn f(builder: SessionBuilder) -> SessionBuilder {
    /// let builder = builder.refresh_attempts(5);
    /// # builder }
    /// ```
    pub fn refresh_attempts(mut self, attempts: u32) -> Self {
        self.settings.refresh_attempts = attempts.clamp(1, MAX_REFRESH_ATTEMPTS);
        self
    }

    /// How long before its expiry a credential is renewed in the background, while requests still
    /// use it. Default: zero. The credential is then replaced after it has expired, and requests
    /// wait.
    ///
    /// The first request within this margin starts the refresh
    /// ([`Cause::Expiring`](crate::refresher::Cause::Expiring)). An idle session does not renew
    /// anything, unless [`Session::keep_fresh`] runs. The margin is at most half the lifetime of
    /// the credential. A renewal also comes no sooner than the
    /// [`refresh_limit`](Self::refresh_limit) allows on average: after 6 seconds by default. A
    /// credential of unknown expiry is never renewed ahead.
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
        self.settings.renewal.margin = margin;
        self
    }

    /// The fraction of the margin over which the start of a renewal is spread at random. A fleet
    /// that was started together then does not renew together. Default: 0.2. Clamped to between 0
    /// and 1. A NaN counts as 0.
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
        self.settings.renewal.jitter =
            if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
        self
    }

    /// The back-off: how long a failed refresh delays the next one. It starts at `min`, doubles
    /// with every further failure in a row, and ends at `max`. Jitter of up to 100 % is added,
    /// within `max`. Default: 1 second to 1 minute. Clamped to between 1 millisecond and 1
    /// hour.
    ///
    /// During the back-off, requests are sent while the credential is usable. A request that needs
    /// a newer credential fails at once with the failure. A refresher can choose the delay itself
    /// with [`RefreshError::with_retry_after`](crate::RefreshError::with_retry_after), but no less
    /// than `min`.
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
    /// number is clamped to between 1 and 1000. A window of zero disables the limit.
    ///
    /// The limit protects against an upstream that rejects every new credential, for example
    /// because its clock is wrong or the audience does not match. Beyond the limit no refresh
    /// starts: a rejected request gets its rejection, and other requests use the current
    /// credential.
    ///
    /// Two more rules apply. A credential that a refresh brought, and that the upstream has never
    /// accepted, causes no further refresh by its rejections before the window is over. (A response
    /// that is neither a rejection nor a server error, 5xx, accepts the credential, even if its
    /// [`Stamp`](crate::extension::Stamp) rejects it later.) And if an expired credential is sent
    /// beyond the limit and the upstream accepts it, its expiry counts as unknown from then on: the
    /// local clock is wrong, and refreshes by that clock would be wasted.
    ///
    /// [`Session::refresh`] and [`Session::acquire`] count towards the limit but are not limited.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_refresh::session::SessionBuilder;
    /// # fn f(builder: SessionBuilder) -> SessionBuilder {
    /// let builder = builder.refresh_limit(3, Duration::from_secs(60));
    /// # builder }
    /// ```
    pub fn refresh_limit(mut self, refreshes: usize, window: Duration) -> Self {
        self.settings.rules.limit = RefreshLimit::new(refreshes, window);
        self
    }

    /// How an [ambiguous](crate::RefreshErrorKind::Ambiguous) failure of a refresh affects the
    /// login. Default: [`AmbiguousOutcome::Retry`].
    ///
    /// ```
    /// # use tower_refresh::session::{AmbiguousOutcome, SessionBuilder};
    /// # fn f(builder: SessionBuilder) -> SessionBuilder {
    /// let builder = builder.on_ambiguous(AmbiguousOutcome::EndLogin);
    /// # builder }
    /// ```
    pub fn on_ambiguous(mut self, outcome: AmbiguousOutcome) -> Self {
        self.settings.rules.ambiguous = outcome;
        self
    }

    /// How many refusals in a row end a login. Default: 1. Zero counts as 1.
    ///
    /// Raise it for an endpoint whose first refusal may be wrong. The back-off passes between two
    /// attempts. A failure of another kind in between resets the count.
    ///
    /// ```
    /// # use tower_refresh::session::SessionBuilder;
    /// # fn f(builder: SessionBuilder) -> SessionBuilder {
    /// // The endpoint also answers 403 during a deployment.
    /// let builder = builder.terminal_after(3);
    /// # builder }
    /// ```
    pub fn terminal_after(mut self, refusals: u32) -> Self {
        self.settings.rules.terminal_after = refusals.max(1);
        self
    }

    /// How many requests may wait for a refresh at a time. Default: no limit. With 0, none waits.
    ///
    /// A request beyond the limit fails at once with
    /// [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded), or gets its rejection with
    /// [`FailureMode::Response`](crate::FailureMode::Response).
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

    /// A hook that runs once for every login that ends by a refused refresh, by
    /// [`Session::logout`], or by its registry (feature `sessions`). The hook does not run for a
    /// login that another login replaces.
    ///
    /// Use it to revoke the credential (RFC 7009), to call the logout endpoint, or to clear the
    /// application's data about the user. A second call of this method replaces the first hook. See
    /// [`EndedLogin`] for an example.
    ///
    /// The hook runs in its own task, after the last flight of the login is over. No request waits
    /// for it. Requests that it sends through the session's clients pass through untouched. If it
    /// panics or never completes, only the future of [`Session::logout`] is affected.
    pub fn on_login_end<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(EndedLogin<C>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.settings.on_login_end = Some(Arc::new(move |end| Box::pin(hook(end))));
        self
    }

    /// The wall clock of the session. Default: [`SystemTime::now`].
    ///
    /// For tests, and for hosts with a better source of time than their system clock. Lifetimes of
    /// credentials count by this clock, and refreshers read it with
    /// [`RefreshContext::now`](crate::RefreshContext::now). The session reads it when a service is
    /// polled for readiness and the credential has a known expiry, and at each step of the state
    /// machine that depends on the time.
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

    /// Adds an observer, which receives every event of the session. Default: none.
    ///
    /// A session may have several observers. Each call of this method adds one, and events reach
    /// them in this order. See [`observe`](crate::observe).
    ///
    /// ```
    /// # use tower_refresh::session::SessionBuilder;
    /// use tower_refresh::observe::{Event, observer_fn};
    ///
    /// # fn f(builder: SessionBuilder) -> SessionBuilder {
    /// let builder = builder.observer(observer_fn(|event: &Event<'_>| println!("{event:?}")));
    /// # builder }
    /// ```
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.settings.observers = self.settings.observers.with(observer);
        self
    }

    /// Builds the session.
    pub fn build(mut self) -> Session<C> {
        let credential = self.credential.take();
        // A session with a credential starts its first login with it, and not on demand.
        let on_demand = self.settings.acquire_on_demand && credential.is_none();
        let session = self.template().make(None, None, on_demand);
        if let Some(credential) = credential {
            session.login(credential);
        }
        session
    }

    /// Makes a template: the settings of any number of sessions, without a session.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_refresh::{Refresher, Session, session::SessionTemplate};
    /// # fn f(refresher: impl Refresher) -> SessionTemplate {
    /// let template = Session::builder(refresher).refresh_timeout(Duration::from_secs(5)).template();
    /// # template }
    /// ```
    ///
    /// # Panics
    ///
    /// If the builder has a [`credential`](Self::credential), which belongs to one session.
    pub fn template(mut self) -> SessionTemplate<C> {
        assert!(self.credential.is_none(), "the sessions of a template cannot share a credential");
        self.settings.renewal.min_age = self.settings.rules.limit.pace();
        SessionTemplate::new(self.settings)
    }
}

impl<C> fmt::Debug for SessionBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionBuilder")
            .field("has_credential", &self.credential.is_some())
            .field("settings", &self.settings)
            .finish()
    }
}

// === impl SessionTemplate ===

impl<C: Credential> SessionTemplate<C> {
    /// Makes a session: logged out, or with
    /// [`acquire_on_demand`](SessionBuilder::acquire_on_demand) in a login that has no credential
    /// yet. Its name is the one that the builder was given, if any.
    pub fn session(&self) -> Session<C> {
        self.make(None, None, self.settings().acquire_on_demand)
    }

    /// Makes a session with a name of its own.
    pub fn named(&self, name: impl Into<Arc<str>>) -> Session<C> {
        self.make(Some(name.into()), None, self.settings().acquire_on_demand)
    }

    pub(super) fn make(
        &self,
        name: Option<Arc<str>>,
        refresher: Option<Arc<dyn SharedRefresher<C>>>,
        on_demand: bool,
    ) -> Session<C> {
        let rules = self.settings().rules;
        let state = if on_demand { State::on_demand(rules) } else { State::signed_out(rules) };
        Session::with_state(state, name, refresher, self.clone())
    }
}
