use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    credential::token::Token,
    error::RefreshError,
    identity::{Generation, Login},
    refresher::Cause,
    session::machine::{
        clock::Now, held::Held, limit::History, outcome::OutcomeCell, outstanding::Outstanding,
        rules::Rules,
    },
};

/// What a session knows at one moment: a snapshot.
///
/// All of it changes in one step: a credential, its expiry and its generation always belong
/// together.
///
/// A snapshot keeps its credential alive for as long as it is held.
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
/// assert_eq!(second.expires_at(), None); // not known
/// assert_eq!(second.flights_started(), 0);
/// # Ok(()) }
/// ```
pub struct State<C = Token> {
    pub(in crate::session) login: Login,
    pub(in crate::session) generation: Generation,
    pub(in crate::session) held: Option<Held<C>>,
    pub(in crate::session) phase: Phase,
    pub(in crate::session) flights_started: u64,
    pub(in crate::session) flights_settled: u64,
    pub(in crate::session) outstanding: Outstanding<C>,
    /// The refreshes of this login that have succeeded.
    pub(in crate::session) history: History,
    pub(in crate::session) rules: Rules,
}

/// What is going on in a session.
///
/// Whether the credential is usable, has expired or is absent is not part of it: that follows from
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
    /// Nothing.
    Active,
    /// A flight is in progress.
    Refreshing(Flight),
    /// The last flight failed, and the login goes on. A credential that is still usable is still
    /// sent.
    Failed(Failure),
    /// There is no login that could send anything.
    LoggedOut(EndReason),
}

/// How the last login ended.
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
    /// It never began.
    NeverLoggedIn,
    /// The application ended it.
    Logout,
    /// The refresh was refused.
    Refused(RefreshError),
}

/// The refresh in progress.
///
/// ```
/// use std::time::Duration;
/// use tower_refresh::session::Flight;
///
/// /// Whether users should see that they wait.
/// fn is_slow(flight: &Flight) -> bool {
///     flight.is_awaited() && flight.started_at().elapsed() > Duration::from_secs(2)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Flight {
    pub(in crate::session) number: u64,
    pub(in crate::session) cause: Cause,
    pub(in crate::session) awaited: bool,
    /// Whether the upstream has rejected the credential that it is to replace.
    pub(in crate::session) rejected: bool,
    /// What preceded it.
    pub(in crate::session) row: Row,
    pub(in crate::session) started_at: Instant,
    pub(in crate::session) outcome: OutcomeCell,
}

/// How many flights have failed in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::session) struct Row {
    pub(in crate::session) failures: u32,
    /// How many of them were refused, the last ones in a row.
    pub(in crate::session) refusals: u32,
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
    pub(in crate::session) row: Row,
    pub(in crate::session) retry_at: Instant,
}

/// What a request remembers of its sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamped {
    pub(crate) login: Login,
    pub(crate) generation: Generation,
    pub(crate) flights_settled: u64,
}

// === impl State ===

impl<C> State<C> {
    /// Before the first login.
    pub(crate) fn signed_out(rules: Rules) -> Self {
        Self {
            login: Login::NONE,
            generation: Generation::NONE,
            held: None,
            phase: Phase::LoggedOut(EndReason::NeverLoggedIn),
            flights_started: 0,
            flights_settled: 0,
            outstanding: Outstanding::new(),
            history: History::default(),
            rules,
        }
    }

    /// A first login whose credential the first request acquires.
    pub(crate) fn on_demand(rules: Rules) -> Self {
        Self { login: Login::NONE.next(), phase: Phase::Active, ..Self::signed_out(rules) }
    }

    /// The current login, or the last one when it is over.
    pub fn login(&self) -> Login {
        self.login
    }

    /// The number of the current credential, or of the last one when there is none.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The current credential.
    pub fn credential(&self) -> Option<&Arc<C>> {
        self.held.as_ref().map(Held::credential)
    }

    /// When the current credential expires, if that is known.
    ///
    /// One that had expired when it arrived counts as unknown: the local clock may be wrong, and
    /// the upstream decides.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.held.as_ref().and_then(Held::expires_at)
    }

    /// What is going on.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// How many flights this session has started.
    ///
    /// A watcher that is slow may miss states in between; the counters tell how many flights it
    /// missed.
    pub fn flights_started(&self) -> u64 {
        self.flights_started
    }

    /// How many of them have settled, or were overtaken by a login, a logout or a replacement.
    pub fn flights_settled(&self) -> u64 {
        self.flights_settled
    }

    #[inline]
    pub(crate) fn held(&self) -> Option<&Held<C>> {
        self.held.as_ref()
    }

    #[inline]
    pub(crate) fn stamp(&self) -> Stamped {
        Stamped {
            login: self.login,
            generation: self.generation,
            flights_settled: self.flights_settled,
        }
    }

    /// The credential, unless it is absent or known to have expired.
    ///
    /// The clock is read only where the answer depends on it.
    #[inline]
    pub(crate) fn usable(&self, wall: impl FnOnce() -> SystemTime) -> Option<&Held<C>> {
        let held = self.held.as_ref()?;
        let expired = held.expires_at().is_some_and(|at| at <= wall());
        (!expired).then_some(held)
    }

    /// The credential that a request may be sent with at once: the fresh path.
    #[inline]
    pub(crate) fn sendable(&self, wall: impl FnOnce() -> SystemTime) -> Option<&Held<C>> {
        match &self.phase {
            Phase::Active | Phase::Failed(_) => self.usable(wall),
            Phase::Refreshing(flight) if !flight.awaited => self.usable(wall),
            Phase::Refreshing(_) | Phase::LoggedOut(_) => None,
        }
    }

    /// Whether a request that is sent now should start a flight that nobody waits for.
    #[inline]
    pub(crate) fn wants_renewal(&self, wall: impl FnOnce() -> SystemTime) -> bool {
        let Some(renew_at) = self.held.as_ref().and_then(Held::renew_at) else { return false };
        matches!(self.phase, Phase::Active | Phase::Failed(_))
            && renew_at <= wall()
            && self.hold_off(tokio::time::Instant::now()).is_none()
    }

    /// When a renewal is due while nothing is sent: how long from now, if ever.
    pub(crate) fn renewal_in(&self, now: Now) -> Option<Duration> {
        let renew_at = self.held.as_ref().and_then(Held::renew_at)?;
        match self.phase {
            Phase::Active | Phase::Failed(_) => {
                let due = renew_at.duration_since(now.wall).unwrap_or_default();
                Some(due.max(self.hold_off(now.instant).unwrap_or_default()))
            }
            Phase::Refreshing(_) | Phase::LoggedOut(_) => None,
        }
    }

    /// How long no flight is started for a request, however it fares: after a failure, or after
    /// many successes.
    pub(in crate::session) fn hold_off(&self, now: tokio::time::Instant) -> Option<Duration> {
        self.backing_off(now)
            .map(|(_, wait)| wait)
            .or_else(|| self.history.wait(self.rules.limit, now))
    }

    /// The failure whose back-off is not over, and what is left of it.
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
            held: self.held.clone(),
            phase: self.phase.clone(),
            flights_started: self.flights_started,
            flights_settled: self.flights_settled,
            outstanding: self.outstanding.clone(),
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
            .field("has_credential", &self.held.is_some())
            .field("expires_at", &self.expires_at())
            .field("phase", &self.phase)
            .field("flights_started", &self.flights_started)
            .field("flights_settled", &self.flights_settled)
            .finish()
    }
}

// === impl Flight ===

impl Flight {
    /// Why it was started.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Whether requests wait for it. Only a flight that was started ahead of expiry, or by
    /// [`Session::refresh`](crate::Session::refresh), is not awaited, until a request finds the
    /// credential rejected or expired.
    pub fn is_awaited(&self) -> bool {
        self.awaited
    }

    /// When it was started.
    pub fn started_at(&self) -> Instant {
        self.started_at
    }

    /// The number of the attempt: one more than flights have failed in a row before it.
    pub fn attempt(&self) -> u32 {
        self.row.failures.saturating_add(1)
    }
}

// === impl Failure ===

impl Failure {
    /// How it failed.
    pub fn error(&self) -> &RefreshError {
        &self.error
    }

    /// When the next flight may start. [`Session::refresh`](crate::Session::refresh), too, gets
    /// this failure until then.
    pub fn retry_at(&self) -> Instant {
        self.retry_at
    }

    /// How many flights have failed in a row, this one included.
    pub fn in_a_row(&self) -> u32 {
        self.row.failures
    }
}

// === impl Row ===

impl Row {
    /// With one more failure.
    pub(in crate::session) fn and(self, refused: bool) -> Self {
        Self {
            failures: self.failures.saturating_add(1),
            refusals: if refused { self.refusals.saturating_add(1) } else { 0 },
        }
    }
}
