use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    cause::Cause,
    credential::{contract::Credential, token::Token},
    error::{Error, RefreshError},
    identity::{Generation, Login},
    session::machine::{
        clock::Now, entry::Entry, limit::RefreshHistory, outcome::OutcomeCell, rules::Rules,
        tracker::FlightTracker,
    },
};

/// A snapshot of a session.
///
/// The session changes all of it in one step, so a credential, its expiry and its generation always
/// belong together.
///
/// A snapshot keeps its credential alive.
///
/// ```
/// # use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
/// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
/// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
/// let session = Session::new(Token::bearer("at-1")?, refresher);
/// let first = session.state();
/// session.login(Token::bearer("at-2")?);
/// let second = session.state();
///
/// assert_ne!(first.login(), second.login());
/// assert!(first.generation() < second.generation());
/// assert_eq!(first.credential().unwrap().access_token(), "at-1");
/// assert_eq!(second.expires_at(), None); // unknown
/// assert_eq!(second.flights_started(), 0);
/// # Ok(()) }
/// ```
pub struct State<C = Token> {
    pub(in crate::session) login: Login,
    pub(in crate::session) generation: Generation,
    pub(in crate::session) entry: Option<Arc<Entry<C>>>,
    pub(in crate::session) phase: Phase,
    pub(in crate::session) flights_started: u64,
    pub(in crate::session) flights_settled: u64,
    /// The flights of this login that still run.
    pub(in crate::session) tracker: FlightTracker<C>,
    /// The successful refreshes of this login.
    pub(in crate::session) history: RefreshHistory,
    pub(in crate::session) rules: Rules,
}

/// The phase of a session: where it stands between two events.
///
/// The phase does not say whether the credential is usable, expired or absent. That follows from
/// the [`State`] and the clock.
///
/// ```
/// use tower_refresh::session::{Phase, State};
///
/// fn health(state: &State) -> &'static str {
///     match state.phase() {
///         Phase::Active | Phase::Refreshing(_) => "up",
///         Phase::Failed(_) => "degraded",
///         Phase::LoggedOut(_) => "logged out",
///         _ => "unknown",
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Phase {
    /// No refresh is running, and the last one did not fail.
    Active,
    /// A flight is in progress.
    Refreshing(Flight),
    /// The last flight failed, and the login goes on. Requests are still sent while the credential
    /// is usable.
    Failed(Failure),
    /// The session has no login. Requests fail.
    LoggedOut(EndReason),
}

/// The reason why a session has no login.
///
/// ```
/// use tower_refresh::session::{EndReason, Phase};
/// # use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
/// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
/// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
/// let session: Session = Session::builder(refresher).build();
/// assert!(matches!(session.state().phase(), Phase::LoggedOut(EndReason::NeverLoggedIn)));
///
/// session.login(Token::bearer("at-1")?);
/// drop(session.logout());
/// assert!(matches!(session.state().phase(), Phase::LoggedOut(EndReason::Logout)));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EndReason {
    /// The session has not seen a login yet.
    NeverLoggedIn,
    /// The application called [`Session::logout`](crate::Session::logout).
    Logout,
    /// The refresher reported that the login was refused.
    Refused(RefreshError),
    /// The session was not used for as long as its registry allows (feature `sessions`,
    /// `SessionsBuilder::idle_timeout`).
    Idle,
    /// The login has lasted as long as its registry allows (feature `sessions`,
    /// `SessionsBuilder::lifetime`).
    Lifetime,
}

/// The refresh in progress.
///
/// ```
/// use std::time::Duration;
/// use tower_refresh::session::Flight;
///
/// /// Whether a user interface should show that it is waiting.
/// fn is_slow(flight: &Flight) -> bool {
///     flight.is_awaited() && flight.started_at().elapsed() > Duration::from_secs(2)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Flight {
    pub(in crate::session) number: u64,
    pub(in crate::session) cause: Cause,
    pub(in crate::session) awaited: bool,
    /// Whether the upstream has rejected the credential that the flight is to replace.
    pub(in crate::session) rejected: bool,
    /// The failed flights right before this one.
    pub(in crate::session) streak: Streak,
    pub(in crate::session) started_at: Instant,
    pub(in crate::session) outcome: Arc<OutcomeCell>,
}

/// A flight that failed without ending the login.
///
/// ```
/// use std::time::Instant;
/// use tower_refresh::{session::Phase, RefreshErrorKind};
/// # use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower::BoxError> {
/// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::transient("unreachable")) });
/// let session = Session::new(Token::bearer("at-1")?, refresher);
/// assert!(session.refresh().await.is_err());
///
/// let state = session.state();
/// let Phase::Failed(failure) = state.phase() else { panic!("the login has ended") };
/// assert_eq!(failure.error().kind(), RefreshErrorKind::Transient);
/// assert_eq!(failure.in_a_row(), 1);
/// println!("next attempt in {:?}", failure.retry_at().saturating_duration_since(Instant::now()));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Failure {
    pub(in crate::session) error: RefreshError,
    /// The failed flights in a row, this one included.
    pub(in crate::session) streak: Streak,
    pub(in crate::session) retry_at: Instant,
}

/// The number of flights that failed in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::session) struct Streak {
    pub(in crate::session) failures: u32,
    /// How many of the most recent failures were refusals, without another failure in between.
    pub(in crate::session) refusals: u32,
    /// Whether the upstream has rejected the credential that these flights were to replace.
    pub(in crate::session) rejected: bool,
}

/// The point in the history of a session at which a request was sent.
///
/// When the request is rejected, the session compares this point with its current state. That tells
/// a late rejection from one that deserves a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) login: Login,
    pub(crate) generation: Generation,
    pub(crate) flights_settled: u64,
}

// === impl State ===

impl<C> State<C> {
    /// The state before the first login.
    pub(in crate::session) fn signed_out(rules: Rules) -> Self {
        Self {
            login: Login::NONE,
            generation: Generation::NONE,
            entry: None,
            phase: Phase::LoggedOut(EndReason::NeverLoggedIn),
            flights_started: 0,
            flights_settled: 0,
            tracker: FlightTracker::new(),
            history: RefreshHistory::default(),
            rules,
        }
    }

    /// The state of a first login without a credential. The first request acquires one.
    pub(in crate::session) fn on_demand(rules: Rules) -> Self {
        Self { login: Login::NONE.next(), phase: Phase::Active, ..Self::signed_out(rules) }
    }

    /// A state of the first login in this phase, for tests of applications.
    pub(crate) fn of_phase(phase: Phase, credential: Option<C>) -> Self
    where
        C: Credential,
    {
        let now = SystemTime::now();
        let entry = credential
            .map(|credential| Arc::new(Entry::new(Arc::new(credential), None, now, |at| at)));
        let (flights_started, flights_settled) = match phase {
            Phase::Active | Phase::LoggedOut(_) => (0, 0),
            Phase::Refreshing(_) => (1, 0),
            Phase::Failed(_) => (1, 1),
        };
        Self {
            generation: Generation::nth(u64::from(entry.is_some())),
            entry,
            phase,
            flights_started,
            flights_settled,
            ..Self::on_demand(Rules::DEFAULT)
        }
    }

    /// The current login, or the last one when it is over.
    pub fn login(&self) -> Login {
        self.login
    }

    /// The generation of the current credential, or of the last one when there is none.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The current credential.
    pub fn credential(&self) -> Option<&Arc<C>> {
        self.entry().map(Entry::credential)
    }

    /// The expiry of the current credential, if it is known.
    ///
    /// The expiry counts as unknown if it had passed when the credential arrived, or if the
    /// upstream has accepted the credential after it: the expiry or the local clock is wrong.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.entry().and_then(Entry::expires_at)
    }

    /// The phase of the session.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// How many flights this session has started.
    ///
    /// A slow watcher misses states. The two counters still tell it how many flights it missed.
    pub fn flights_started(&self) -> u64 {
        self.flights_started
    }

    /// How many flights have settled or were fenced by a login, a logout or a replacement.
    pub fn flights_settled(&self) -> u64 {
        self.flights_settled
    }

    #[inline]
    pub(crate) fn entry(&self) -> Option<&Entry<C>> {
        self.entry.as_deref()
    }

    #[inline]
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch {
            login: self.login,
            generation: self.generation,
            flights_settled: self.flights_settled,
        }
    }

    /// The credential, unless it is absent or has expired.
    ///
    /// Reads the clock only if the credential has a known expiry.
    #[inline]
    pub(in crate::session) fn usable(
        &self,
        wall: impl FnOnce() -> SystemTime,
    ) -> Option<&Arc<Entry<C>>> {
        let entry = self.entry.as_ref()?;
        (!entry.is_expired(wall)).then_some(entry)
    }

    /// The current login. `None` if it is over, or none has begun.
    pub(crate) fn current_login(&self) -> Option<Login> {
        (!matches!(self.phase, Phase::LoggedOut(_))).then_some(self.login)
    }

    /// Whether a caller outside of a flight may use the credential: it is usable, and the last
    /// failed flight was not due to its rejection.
    pub(in crate::session) fn is_good(&self, now: Now) -> bool {
        let rejected = matches!(&self.phase, Phase::Failed(failure) if failure.streak.rejected);
        !rejected && self.usable(|| now.wall).is_some()
    }

    /// The credential for a request that need not wait. The fresh path uses it.
    #[inline]
    pub(crate) fn sendable(&self, wall: impl FnOnce() -> SystemTime) -> Option<&Arc<Entry<C>>> {
        match &self.phase {
            Phase::Active | Phase::Failed(_) => self.usable(wall),
            Phase::Refreshing(flight) if !flight.awaited => self.usable(wall),
            Phase::Refreshing(_) | Phase::LoggedOut(_) => None,
        }
    }

    /// Whether a request that is sent now should start a renewal: `renewal_in` for the fresh path.
    /// No clock is read unless the expiry is known.
    #[inline]
    pub(crate) fn wants_renewal(&self, wall: impl FnOnce() -> SystemTime) -> bool {
        self.renewable_at().is_some_and(|renew_at| {
            renew_at <= wall() && self.hold_off(tokio::time::Instant::now()).is_none()
        })
    }

    /// The time until the next renewal of an idle session. `None` if none is due without another
    /// event.
    pub(in crate::session) fn renewal_in(&self, now: Now) -> Option<Duration> {
        let due = self.renewable_at()?.duration_since(now.wall).unwrap_or_default();
        Some(due.max(self.hold_off(now.instant).unwrap_or_default()))
    }

    /// When the credential is to be renewed, back-off and refresh limit aside. `None` if it never
    /// is, and while a flight is in progress.
    #[inline]
    pub(in crate::session) fn renewable_at(&self) -> Option<SystemTime> {
        match self.phase {
            Phase::Active | Phase::Failed(_) => self.entry().and_then(Entry::renew_at),
            Phase::Refreshing(_) | Phase::LoggedOut(_) => None,
        }
    }

    /// Whether this flight is still in progress and requests wait for it.
    pub(in crate::session) fn awaits(&self, flight: &Flight) -> bool {
        matches!(&self.phase, Phase::Refreshing(it) if it.number == flight.number && it.awaited)
    }

    /// How long requests may not start a flight: the rest of the back-off, or the time until the
    /// refresh limit allows another success.
    pub(in crate::session) fn hold_off(&self, now: tokio::time::Instant) -> Option<Duration> {
        self.backing_off(now)
            .map(|(_, wait)| wait)
            .or_else(|| self.history.wait(self.rules.limit, now))
    }

    /// The last failure and its remaining back-off. `None` once the back-off has passed.
    pub(in crate::session) fn backing_off(
        &self,
        now: tokio::time::Instant,
    ) -> Option<(&Failure, Duration)> {
        let Phase::Failed(failure) = &self.phase else { return None };
        let wait = failure.retry_at.saturating_duration_since(now.into_std());
        (!wait.is_zero()).then_some((failure, wait))
    }
}

impl<C> Clone for State<C> {
    fn clone(&self) -> Self {
        Self {
            login: self.login,
            generation: self.generation,
            entry: self.entry.clone(),
            phase: self.phase.clone(),
            flights_started: self.flights_started,
            flights_settled: self.flights_settled,
            tracker: self.tracker.clone(),
            history: self.history.clone(),
            rules: self.rules,
        }
    }
}

impl<C> fmt::Debug for State<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("login", &self.login)
            .field("generation", &self.generation)
            .field("has_credential", &self.entry.is_some())
            .field("expires_at", &self.expires_at())
            .field("phase", &self.phase)
            .field("flights_started", &self.flights_started)
            .field("flights_settled", &self.flights_settled)
            .finish()
    }
}

// === impl Flight ===

impl Flight {
    /// A flight after a success: no flight has failed before it.
    pub(crate) fn new(number: u64, cause: Cause, awaited: bool, started_at: Instant) -> Self {
        Self {
            number,
            cause,
            awaited,
            rejected: cause == Cause::Rejected,
            streak: Streak::default(),
            started_at,
            outcome: Arc::default(),
        }
    }

    /// The reason for the flight.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Whether requests wait for the flight.
    ///
    /// A renewal ahead of expiry and a flight of [`Session::refresh`](crate::Session::refresh)
    /// start without waiters. A request that finds the credential rejected or expired then makes
    /// them awaited.
    pub fn is_awaited(&self) -> bool {
        self.awaited
    }

    /// The start of the flight.
    pub fn started_at(&self) -> Instant {
        self.started_at
    }

    /// The number of this flight among flights that fail in a row: 1 after a success.
    pub fn attempt(&self) -> u32 {
        self.streak.failures.saturating_add(1)
    }
}

// === impl EndReason ===

impl EndReason {
    /// The refusal that ended the login, if one did.
    pub(in crate::session) fn refusal(&self) -> Option<&RefreshError> {
        match self {
            Self::Refused(error) => Some(error),
            Self::NeverLoggedIn | Self::Logout | Self::Idle | Self::Lifetime => None,
        }
    }

    /// The error of a request that comes after the end of the login.
    pub(crate) fn to_error(&self) -> Error {
        Error::logged_out(self.refusal().cloned())
    }
}

// === impl Failure ===

impl Failure {
    pub(crate) fn new(error: RefreshError, in_a_row: u32, retry_at: Instant) -> Self {
        let refusals = if error.is_terminal() { in_a_row } else { 0 };
        Self { error, streak: Streak { failures: in_a_row, refusals, rejected: false }, retry_at }
    }

    /// The error of the refresher.
    pub fn error(&self) -> &RefreshError {
        &self.error
    }

    /// The end of the back-off. No flight starts before it, not even for
    /// [`Session::refresh`](crate::Session::refresh), which fails with this failure.
    pub fn retry_at(&self) -> Instant {
        self.retry_at
    }

    /// How many flights have failed in a row, this one included.
    pub fn in_a_row(&self) -> u32 {
        self.streak.failures
    }

    /// The error of a request that needs a newer credential. `wait` is the rest of the back-off.
    pub(in crate::session) fn to_error(&self, wait: Duration) -> Error {
        Error::refresh_failed(self.error.clone(), wait)
    }
}

// === impl Streak ===

impl Streak {
    /// This streak with one more failure.
    pub(in crate::session) fn with_failure(self, refused: bool, rejected: bool) -> Self {
        Self {
            rejected: self.rejected || rejected,
            failures: self.failures.saturating_add(1),
            refusals: if refused { self.refusals.saturating_add(1) } else { 0 },
        }
    }
}
