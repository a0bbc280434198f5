use std::{fmt, sync::Arc, time::SystemTime};

use crate::{
    cause::Cause,
    credential::token::Token,
    error::RefreshError,
    identity::{Generation, Login, SessionId},
    observe::observers::Reporter,
    refresher::{fence::Fence, rejection::Rejection},
};

/// The input of a refresher: which credential to replace, and why.
///
/// ```
/// use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
///
/// # async fn fetch(_: Option<&str>) -> Result<Token, RefreshError> { unimplemented!() }
/// # async fn save(_: Token) {}
/// let refresher = refresher_fn(|context: RefreshContext| async move {
///     println!("{:?}, after {:?}", context.cause(), context.previous_error());
///     let token = fetch(context.current().and_then(|token| token.refresh_token())).await?;
///     if !context.is_fenced() {
///         // In a task of its own: the time-out of the refresh must not cut off the save of a
///         // rotated refresh token. The feature `store` does this and more.
///         let saved = tokio::spawn(save(token.clone()));
///         drop(saved.await);
///     }
///     Ok(token)
/// });
/// # let _session = Session::<Token>::builder(refresher).build();
/// ```
#[non_exhaustive]
pub struct RefreshContext<C = Token> {
    cause: Cause,
    current: Option<Arc<C>>,
    rejection: Option<Arc<Rejection>>,
    login: Login,
    generation: Generation,
    flight: u64,
    previous_error: Option<RefreshError>,
    attempt: u32,
    /// `None` for a context that a test made: no flight, so nothing can overtake it.
    fence: Option<Arc<dyn Fence>>,
    session_name: Option<Arc<str>>,
    /// `None`: the system's clock.
    clock: Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>,
    /// `None` for a context that a test made.
    reporter: Option<Reporter>,
}

// === impl RefreshContext ===

impl<C> RefreshContext<C> {
    /// A context with a cause and nothing else, as a starting point for tests.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tower_refresh::{refresher::Cause, RefreshContext, Token};
    ///
    /// let token = Arc::new(Token::bearer("stale").unwrap());
    /// let context = RefreshContext::new(Cause::Rejected).with_current(token);
    /// assert_eq!(context.current().unwrap().access_token(), "stale");
    /// assert!(!context.is_fenced());
    /// ```
    pub fn new(cause: Cause) -> Self {
        Self {
            cause,
            current: None,
            rejection: None,
            login: Login::NONE,
            generation: Generation::NONE,
            flight: 0,
            previous_error: None,
            attempt: 1,
            fence: None,
            session_name: None,
            clock: None,
            reporter: None,
        }
    }

    /// Sets the credential to replace.
    #[must_use]
    pub fn with_current(mut self, current: Arc<C>) -> Self {
        self.current = Some(current);
        self
    }

    /// Sets the rejection.
    #[must_use]
    pub fn with_rejection(mut self, rejection: Rejection) -> Self {
        self.rejection = Some(Arc::new(rejection));
        self
    }

    /// Sets the error of the previous flight.
    #[must_use]
    pub fn with_previous_error(mut self, error: RefreshError) -> Self {
        self.previous_error = Some(error);
        self
    }

    /// Sets the number of the attempt.
    #[must_use]
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// Sets the name of the session.
    #[must_use]
    pub fn with_session_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.session_name = Some(name.into());
        self
    }

    /// Sets the clock. Default: [`SystemTime::now`].
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// The credential to replace. `None` if the session has no credential yet.
    pub fn current(&self) -> Option<&Arc<C>> {
        self.current.as_ref()
    }

    /// The reason for the flight.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// The response that rejected the credential. Its headers may hold a claims challenge or a
    /// nonce (RFC 9449 §9).
    ///
    /// `None` if no rejection caused the flight, or if [`Stamp::reject`] reported it.
    ///
    /// [`Stamp::reject`]: crate::extension::Stamp::reject
    pub fn rejection(&self) -> Option<&Rejection> {
        self.rejection.as_deref()
    }

    /// The login that the credential is for.
    pub fn login(&self) -> Login {
        self.login
    }

    /// The generation of the credential to replace.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The error of the previous attempt: of this flight, or else of the flight before it. `None`
    /// when that flight succeeded, or when a newer credential has arrived since.
    pub fn previous_error(&self) -> Option<&RefreshError> {
        self.previous_error.as_ref()
    }

    /// The number of this attempt within its flight, starting at 1
    /// ([`SessionBuilder::refresh_attempts`](crate::session::SessionBuilder::refresh_attempts)).
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The current time by the session's clock, read at each call
    /// ([`SessionBuilder::clock`](crate::session::SessionBuilder::clock)).
    ///
    /// A refresher that computes an expiry, or compares a date of the server with the present,
    /// needs this clock and not the system's.
    pub fn now(&self) -> SystemTime {
        self.clock.as_ref().map_or_else(SystemTime::now, |clock| clock())
    }

    /// The name of the session, if it has one
    /// ([`SessionBuilder::name`](crate::session::SessionBuilder::name)).
    pub fn session_name(&self) -> Option<&str> {
        self.session_name.as_deref()
    }

    /// Whether a login, a logout or a replacement has overtaken this flight. The session then
    /// ignores its result, so there is nothing to store.
    ///
    /// The answer can change at any time. Ask after the last `.await`.
    pub fn is_fenced(&self) -> bool {
        self.fence.as_ref().is_some_and(|fence| fence.is_fenced())
    }

    /// Sets what only a flight knows.
    pub(crate) fn for_flight(
        mut self,
        login: Login,
        generation: Generation,
        flight: u64,
        fence: Arc<dyn Fence>,
    ) -> Self {
        self.login = login;
        self.generation = generation;
        self.flight = flight;
        self.fence = Some(fence);
        self
    }

    /// The context of the attempt after this one, which failed with `error`.
    pub(crate) fn next_attempt(mut self, error: RefreshError) -> Self {
        self.attempt += 1;
        self.previous_error = Some(error);
        self
    }

    /// Sets what all flights of a session share.
    pub(crate) fn for_session(
        mut self,
        name: Option<Arc<str>>,
        clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
        reporter: Option<Reporter>,
    ) -> Self {
        self.session_name = name;
        self.clock = Some(clock);
        self.reporter = reporter;
        self
    }

    /// The observers of the session, for a refresher of this crate that has events of its own.
    #[allow(dead_code, reason = "a leaf uses it")]
    pub(crate) fn reporter(&self) -> Option<&Reporter> {
        self.reporter.as_ref()
    }

    /// The identity of the flight, if its session is observed.
    #[allow(dead_code, reason = "a leaf uses it")]
    pub(crate) fn flight_id(&self) -> Option<(SessionId, u64)> {
        self.reporter.as_ref().map(|reporter| (reporter.session_id(), self.flight))
    }

    pub(crate) fn with_evidence(
        mut self,
        current: Option<Arc<C>>,
        rejection: Option<Arc<Rejection>>,
        previous_error: Option<RefreshError>,
    ) -> Self {
        self.current = current;
        self.rejection = rejection;
        self.previous_error = previous_error;
        self
    }
}

impl RefreshContext<Token> {
    /// The refresh token of the current credential, if it has one.
    ///
    /// ```
    /// use tower_refresh::{refresher_fn, RefreshError, Token};
    ///
    /// # async fn post(_: &str) -> Result<(String, String), std::io::Error> { unimplemented!() }
    /// let refresher = refresher_fn(|context| async move {
    ///     let refresh_token =
    ///         context.refresh_token().ok_or_else(|| RefreshError::terminal("no refresh token"))?;
    ///     let (access, refresh) = post(refresh_token).await.map_err(RefreshError::ambiguous)?;
    ///     Ok(Token::bearer(access)?.with_refresh_token(refresh))
    /// });
    /// # let _session = tower_refresh::Session::<Token>::builder(refresher).build();
    /// ```
    pub fn refresh_token(&self) -> Option<&str> {
        self.current.as_ref().and_then(|token| token.refresh_token())
    }
}

impl<C> Clone for RefreshContext<C> {
    fn clone(&self) -> Self {
        Self {
            cause: self.cause,
            current: self.current.clone(),
            rejection: self.rejection.clone(),
            login: self.login,
            generation: self.generation,
            flight: self.flight,
            previous_error: self.previous_error.clone(),
            attempt: self.attempt,
            fence: self.fence.clone(),
            session_name: self.session_name.clone(),
            clock: self.clock.clone(),
            reporter: self.reporter.clone(),
        }
    }
}

impl<C> fmt::Debug for RefreshContext<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshContext")
            .field("session_name", &self.session_name)
            .field("cause", &self.cause)
            .field("rejection", &self.rejection)
            .field("login", &self.login)
            .field("generation", &self.generation)
            .field("previous_error", &self.previous_error)
            .field("attempt", &self.attempt)
            .field("is_fenced", &self.is_fenced())
            .finish_non_exhaustive()
    }
}
