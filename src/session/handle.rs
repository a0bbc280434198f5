use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time;

use crate::{
    credential::{contract::Credential, token::Token},
    error::Error,
    identity::{Generation, Login},
    observe::{event::EventKind, observers::Reporter},
    refresher::shared::SharedRefresher,
    session::{
        engine::Engine,
        flight,
        hook::Logout,
        machine::{
            clock::LazyNow,
            state::{EndReason, Phase, State},
            transition::{Acquisition, Admission, Step},
        },
        scope,
        scope::Role,
        template::SessionTemplate,
        watcher::Watcher,
    },
};

/// A handle to a session: the current credential of a client, and everything known about it.
///
/// Clones are handles to the same session. The [module docs](crate::session) describe its
/// behaviour.
///
/// ```
/// use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
///
/// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
/// let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("log in again")) });
/// let session = Session::new(Token::bearer("at-1")?, refresher);
/// assert_eq!(session.credential().unwrap().access_token(), "at-1");
///
/// session.login(Token::bearer("at-2")?);
/// assert_eq!(session.credential().unwrap().access_token(), "at-2");
/// # Ok(()) }
/// ```
pub struct Session<C = Token>(pub(super) Arc<Engine<C>>);

/// A handle that does not keep the session alive. Made by [`Session::downgrade`].
///
/// Meant for refreshers and hooks: the session owns them, so a strong handle inside them would be a
/// reference cycle.
pub struct WeakSession<C = Token>(Weak<Engine<C>>);

/// The longest and the shortest sleep of [`Session::keep_fresh`].
const MAX_SLEEP: Duration = Duration::from_secs(60);
const MIN_SLEEP: Duration = Duration::from_millis(1);

// === impl Session ===

impl<C: Credential> Session<C> {
    /// Begins a new login with this credential, in any phase.
    ///
    /// A refresh in progress is fenced: its result changes nothing, and requests that wait for it
    /// fail with [`ErrorKind::LoginChanged`](crate::ErrorKind::LoginChanged). The hook does not run
    /// for the login that is replaced. Call [`logout`](Self::logout) first if it should.
    ///
    /// ```
    /// # use tower_refresh::{Session, Token};
    /// # fn f(session: &Session) -> Result<(), tower_refresh::credential::InvalidToken> {
    /// let first = session.login(Token::bearer("anns")?);
    /// let second = session.login(Token::bearer("bobs")?);
    /// assert_ne!(first, second);
    /// # Ok(()) }
    /// ```
    pub fn login(&self, credential: C) -> Login {
        self.begin(Arc::new(credential))
    }

    /// Installs a newer credential of this login from another source: another process refreshed it,
    /// or a response set a new cookie.
    ///
    /// A refresh in progress is fenced: its result changes nothing, and requests that wait for it
    /// go on with this credential.
    ///
    /// ```
    /// # use tower_refresh::{Session, Token};
    /// # fn f(session: &Session) -> Result<(), tower_refresh::credential::InvalidToken> {
    /// let login = session.login(Token::bearer("at-1")?);
    /// assert!(session.replace(login, Token::bearer("at-2")?).is_ok());
    ///
    /// drop(session.logout());
    /// let late = session.replace(login, Token::bearer("at-3")?);
    /// assert_eq!(late.unwrap_err().access_token(), "at-3");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the credential when the login is over.
    pub fn replace(&self, login: Login, credential: C) -> Result<Generation, C> {
        let entry = self.0.new_entry(Arc::new(credential), None);
        match self.0.step_without_flight(|state| state.replace(login, &entry)).0 {
            Some(generation) => Ok(generation),
            None => Err(Arc::into_inner(entry)
                .and_then(|entry| Arc::into_inner(entry.into_credential()))
                .expect("a refused credential is not shared")),
        }
    }

    /// Ends the login. The logout takes effect at the call; the returned future only waits for the
    /// hook and may be dropped.
    ///
    /// Waiting requests fail with [`ErrorKind::LoggedOut`](crate::ErrorKind::LoggedOut), and so do
    /// all later ones until the next login. A refresh in progress runs to its end but changes
    /// nothing. If that refresh succeeds, the hook gets its credential. Without a login the call
    /// does nothing.
    ///
    /// When the refresher of this session calls `logout`, the future completes at once, because the
    /// hook waits for that refresher.
    ///
    /// The hook runs on the Tokio runtime of the caller, or else on one that the session has seen
    /// and that is still running, or else in the returned future.
    ///
    /// ```
    /// # use tower_refresh::Session;
    /// # async fn f(session: Session) {
    /// session.logout().await; // the session's clients send nothing any more, and the hook is done
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not cancel the hook. See [`Logout`].
    pub fn logout(&self) -> Logout {
        let ((), logout) = self.0.step_without_flight(State::log_out);
        if self.is_own_flight() { Logout::done() } else { logout }
    }

    /// Returns a credential that is good to use: the current one, or else one that the refresher
    /// brings.
    ///
    /// A flight in progress is joined. Otherwise one starts if the credential is absent, has
    /// expired, or was rejected and could not be refreshed. The credential is still good after a
    /// renewal that failed. In a session without a login, the flight begins a new one
    /// ([`Cause::Missing`](crate::refresher::Cause::Missing)). The flight is under way when this
    /// method returns; the future waits for it.
    ///
    /// A new login does not inherit the back-off of the last one. Do not call this method in a
    /// loop, or from a hook, without a pause.
    ///
    /// ```
    /// # use tower_refresh::{Error, Session};
    /// # async fn f(session: Session) -> Result<(), Error> {
    /// let token = session.acquire().await?;
    /// println!("it expires at {:?}", session.state().expires_at());
    /// # drop(token);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`RefreshFailed`](crate::ErrorKind::RefreshFailed): the refresher failed, now or less than
    ///   a back-off ago. A new login stays without a credential, and a request after the back-off
    ///   tries again.
    /// - [`LoggedOut`](crate::ErrorKind::LoggedOut): the refresher was refused, or the application
    ///   has logged out meanwhile.
    /// - [`LoginChanged`](crate::ErrorKind::LoginChanged): another login has begun meanwhile.
    /// - [`Recursive`](crate::ErrorKind::Recursive): the caller is the refresher.
    /// - [`NoRuntime`](crate::ErrorKind::NoRuntime): the session knows no Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not cancel the flight.
    pub fn acquire(&self) -> impl Future<Output = Result<Arc<C>, Error>> + Send + use<C> {
        let now = self.0.settings().clock.now();
        self.acquired(self.join(|state| state.acquire(now)))
    }

    /// Returns the credential that a request would carry now: the current one, or else the one of a
    /// flight.
    ///
    /// This method is for a client that no layer fits around: an SDK that takes a callback, a
    /// websocket client, an exporter with a channel of its own. It waits like a request of the
    /// layer: for a flight that others wait for, and for one of its own if the credential is absent
    /// or has expired. Unlike [`acquire`](Self::acquire), it begins no new login. Report a
    /// rejection with [`reject`](Self::reject).
    ///
    /// The flight is under way when this method returns. A function that cannot wait, such as an
    /// interceptor, polls the future once and drops it: a pending future means that there is no
    /// usable credential yet.
    ///
    /// ```
    /// # use tower_refresh::{Error, Session};
    /// # async fn connect(_: http::HeaderValue) -> u16 { 200 }
    /// # async fn f(session: Session) -> Result<(), Error> {
    /// let token = session.fresh().await?;
    /// if connect(token.authorization().clone()).await == 401 {
    ///     session.reject(&token);
    ///     let token = session.fresh().await?;
    ///     connect(token.authorization().clone()).await;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`RefreshFailed`](crate::ErrorKind::RefreshFailed): the refresher failed, now or less than
    ///   a back-off ago, and there is no usable credential.
    /// - [`LoggedOut`](crate::ErrorKind::LoggedOut): the login is over.
    /// - [`LoginChanged`](crate::ErrorKind::LoginChanged): another login has begun meanwhile.
    /// - [`Recursive`](crate::ErrorKind::Recursive): the caller is the refresher.
    /// - [`NoRuntime`](crate::ErrorKind::NoRuntime): the session knows no Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not cancel the flight.
    pub fn fresh(&self) -> impl Future<Output = Result<Arc<C>, Error>> + Send + use<C> {
        let login = self.0.snapshot().login();
        let admission = if self.is_own_flight() {
            Admission::Fail(Error::recursive())
        } else {
            self.admit(login, true)
        };
        let answer = match admission {
            Admission::Send(entry, _) => {
                self.renew_if_wanted(&self.0.snapshot(), || self.wall());
                Ok(Ok(entry.credential().clone()))
            }
            Admission::Fail(error) => Ok(Err(error)),
            Admission::Wait(flight) => {
                Err(self.acquired(Ok(Acquisition { login, flight: Some(flight) })))
            }
        };
        async move {
            match answer {
                Ok(result) => result,
                Err(acquired) => acquired.await,
            }
        }
    }

    /// Reports that the upstream has rejected a credential that [`fresh`](Self::fresh) returned.
    ///
    /// A refresh starts under the conditions that hold for a rejection which the layer finds, and
    /// the next call of `fresh` waits for it. If the session has another credential by now, only
    /// its observers are told: the rejection is late. The refresher gets no
    /// [`Rejection`](crate::refresher::Rejection).
    pub fn reject(&self, credential: &Arc<C>) {
        let state = self.0.snapshot();
        let current = state.credential();
        if current.is_some_and(|current| Arc::ptr_eq(current, credential)) {
            // A reaction is for a request that waits. None does here.
            drop(self.rejected(state.epoch(), true, || None));
        } else {
            self.report(EventKind::RequestRejected {
                login: state.login(),
                generation: Generation::NONE,
                late: current.is_some(),
                replay: false,
            });
        }
    }

    /// Refreshes the credential, even if it is not due. Joins the flight in progress, or starts one
    /// ([`Cause::Forced`](crate::refresher::Cause::Forced)) that no request waits for.
    ///
    /// The flight is under way when this method returns; the future waits for it.
    ///
    /// ```
    /// # use tower_refresh::{Error, Session};
    /// # async fn f(session: Session) -> Result<(), Error> {
    /// // The user was given a role that only a new token has.
    /// session.refresh().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`RefreshFailed`](crate::ErrorKind::RefreshFailed): the refresher failed, now or less than
    ///   a back-off ago, and the login goes on.
    /// - [`LoggedOut`](crate::ErrorKind::LoggedOut): the login is over.
    /// - [`LoginChanged`](crate::ErrorKind::LoginChanged): another login has begun meanwhile.
    /// - [`Recursive`](crate::ErrorKind::Recursive): the caller is the refresher.
    /// - [`NoRuntime`](crate::ErrorKind::NoRuntime): the session knows no Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not cancel the flight.
    pub fn refresh(&self) -> impl Future<Output = Result<Arc<C>, Error>> + Send + use<C> {
        let now = self.0.settings().clock.now();
        self.acquired(self.join(|state| state.refresh(now)))
    }

    /// Ends the back-off after a failed refresh. Does nothing if there is none.
    ///
    /// For an application that knows more than the session: the network is back, or the user has
    /// pressed a button. The next request that needs a newer credential starts a flight, and
    /// [`keep_fresh`](Self::keep_fresh) starts a renewal that is due. To try at once without a
    /// request, call [`refresh`](Self::refresh) or [`acquire`](Self::acquire) afterwards.
    ///
    /// If that flight fails as well, the next back-off is longer than the one that was ended. The
    /// [`refresh_limit`](crate::session::SessionBuilder::refresh_limit) still applies.
    ///
    /// ```
    /// # use tower_refresh::{Error, Session};
    /// # async fn f(session: Session) -> Result<(), Error> {
    /// // The operating system has reported a network.
    /// session.retry_now();
    /// let token = session.acquire().await?;
    /// # drop(token);
    /// # Ok(()) }
    /// ```
    pub fn retry_now(&self) {
        let now = self.0.settings().clock.now();
        self.0.step_without_flight(|state| state.end_back_off(now));
    }

    /// A background task that renews the credential even while no request is sent. Spawn it.
    ///
    /// The future waits until a renewal is due
    /// ([`SessionBuilder::refresh_ahead`](crate::session::SessionBuilder::refresh_ahead)), starts
    /// it, and repeats this across back-offs, logouts and logins. It completes when the
    /// session is gone, and does not keep the session alive.
    ///
    /// ```
    /// # use tower_refresh::Session;
    /// # fn f(session: Session) {
    /// tokio::spawn(session.keep_fresh());
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When polled outside a Tokio runtime, or in one without a timer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not cancel a refresh that it has started.
    pub fn keep_fresh(&self) -> impl Future<Output = ()> + Send + use<C> {
        let session = self.downgrade();
        let mut changes = self.changes();
        async move {
            loop {
                // A change after this point wakes the loop. One that comes between this line and
                // the next causes one needless turn.
                changes.mark_unchanged();
                let Some(renewal_in) = session.upgrade().map(|session| session.renew_if_due())
                else {
                    return;
                };
                // Wake up from time to time: the wall clock may jump, and it continues while the
                // machine sleeps.
                let sleep = renewal_in.map_or(MAX_SLEEP, |due| due.clamp(MIN_SLEEP, MAX_SLEEP));
                if let Ok(Err(_closed)) = time::timeout(sleep, changes.changed()).await {
                    return;
                }
            }
        }
    }

    /// The name of the session, if it has one
    /// ([`SessionBuilder::name`](crate::session::SessionBuilder::name)).
    pub fn name(&self) -> Option<&str> {
        self.0.name().map(|name| &**name)
    }

    /// The current credential, even if it has expired.
    ///
    /// ```
    /// # use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
    /// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
    /// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
    /// let session = Session::new(Token::bearer("at-1")?, refresher);
    /// assert_eq!(session.credential().unwrap().access_token(), "at-1");
    ///
    /// drop(session.logout());
    /// assert!(session.credential().is_none());
    /// # Ok(()) }
    /// ```
    pub fn credential(&self) -> Option<Arc<C>> {
        self.0.snapshot().credential().cloned()
    }

    /// A snapshot of the session.
    ///
    /// ```
    /// # use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
    /// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
    /// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
    /// let session = Session::new(Token::bearer("at-1")?, refresher);
    /// let before = session.state();
    /// drop(session.logout());
    /// assert!(before.credential().is_some() && session.state().credential().is_none());
    /// # Ok(()) }
    /// ```
    pub fn state(&self) -> State<C> {
        State::clone(&self.0.snapshot())
    }

    /// A subscription to the changes of the session. It does not keep the session alive.
    ///
    /// ```
    /// use tower_refresh::{session::{Closed, Phase}, Session};
    ///
    /// async fn logged_out(session: Session) -> Result<(), Closed> {
    ///     let mut watcher = session.subscribe();
    ///     drop(session);
    ///     watcher.wait_for(|state| matches!(state.phase(), Phase::LoggedOut(_))).await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn subscribe(&self) -> Watcher<C> {
        Watcher::new(self.changes())
    }

    /// The number of requests that wait for a refresh now.
    ///
    /// ```
    /// # use tower_refresh::Session;
    /// /// Sheds batch jobs before `max_waiters` makes all requests fail.
    /// fn takes_batch_jobs(session: &Session) -> bool {
    ///     session.waiters() < 100
    /// }
    /// ```
    pub fn waiters(&self) -> usize {
        self.0.waiters()
    }

    /// A handle that does not keep the session alive.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_refresh::Session;
    ///
    /// /// Completes when the session is gone.
    /// fn report(session: &Session) -> impl Future<Output = ()> + use<> {
    ///     let session = session.downgrade();
    ///     async move {
    ///         while let Some(session) = session.upgrade() {
    ///             println!("{} requests wait", session.waiters());
    ///             drop(session);
    ///             tokio::time::sleep(Duration::from_secs(10)).await;
    ///         }
    ///     }
    /// }
    /// ```
    pub fn downgrade(&self) -> WeakSession<C> {
        WeakSession(Arc::downgrade(&self.0))
    }
}

// For the builder and the leaves.
impl<C: Credential> Session<C> {
    pub(super) fn with_state(
        state: State<C>,
        name: Option<Arc<str>>,
        refresher: Option<Arc<dyn SharedRefresher<C>>>,
        template: SessionTemplate<C>,
    ) -> Self {
        Self(Arc::new(Engine::new(state, name, refresher, template)))
    }

    /// Begins a login with a credential that may be shared.
    pub(crate) fn begin(&self, credential: Arc<C>) -> Login {
        let entry = self.0.new_entry(credential, None);
        self.0.step_without_flight(|state| state.log_in(&entry)).0
    }

    /// Replaces the credential of a login by one that may be shared. `None` when the login is over.
    #[allow(dead_code, reason = "a leaf uses it")]
    pub(crate) fn install(&self, login: Login, credential: Arc<C>) -> Option<Generation> {
        let entry = self.0.new_entry(credential, None);
        self.0.step_without_flight(|state| state.replace(login, &entry)).0
    }

    /// Whether the current task is a flight of this session.
    fn is_own_flight(&self) -> bool {
        matches!(scope::role_in(self.0.id()), Some(Role::Flight))
    }

    /// Ends a login, unless it is over or another one has begun. The hook runs.
    #[allow(dead_code, reason = "a leaf uses it")]
    pub(crate) fn end_login(&self, login: Login, reason: &EndReason) {
        drop(self.0.step_without_flight(|state| state.end_login(login, reason.clone())));
    }

    /// The observers, for a part that outlives the session. `None` if there is none.
    #[allow(dead_code, reason = "a leaf uses it")]
    pub(crate) fn reporter(&self) -> Option<Reporter> {
        self.0.reporter()
    }

    /// Starts a renewal if one is due. Returns the time until the next one, if it is known.
    fn renew_if_due(&self) -> Option<Duration> {
        self.renew();
        self.0.snapshot().renewal_in(self.0.settings().clock.now())
    }

    /// Takes the step of `acquire` or `refresh`, unless the caller is the flight that it would wait
    /// for.
    fn join(
        &self,
        transition: impl Fn(&State<C>) -> Step<C, Result<Acquisition, Error>>,
    ) -> Result<Acquisition, Error> {
        if self.is_own_flight() {
            return Err(Error::recursive());
        }
        self.step(None, transition)?.0
    }

    /// Waits for the flight of an acquisition, and returns the credential that its login has then.
    fn acquired(
        &self,
        acquisition: Result<Acquisition, Error>,
    ) -> impl Future<Output = Result<Arc<C>, Error>> + Send + use<C> {
        // Subscribed at the call, not at the first poll.
        let acquisition = acquisition.map(|Acquisition { login, flight }| {
            (login, flight.map(|flight| flight::settled(&self.0, flight)))
        });
        let session = self.clone();
        async move {
            let (login, settled) = acquisition?;
            if let Some(settled) = settled {
                settled.await.into_result()?;
            }
            session.credential_of(login)
        }
    }

    /// The credential of a login after a flight has renewed it. Other events may have happened
    /// since.
    fn credential_of(&self, login: Login) -> Result<Arc<C>, Error> {
        let state = self.0.snapshot();
        match (state.credential(), state.phase()) {
            _ if state.login() != login => Err(Error::login_changed()),
            (_, Phase::LoggedOut(reason)) => Err(reason.to_error()),
            (credential, _) => {
                Ok(credential.expect("a login that was renewed has a credential").clone())
            }
        }
    }

    pub(super) fn step<A>(
        &self,
        now: Option<&LazyNow<'_>>,
        transition: impl Fn(&State<C>) -> Step<C, A>,
    ) -> Result<(A, Logout), Error> {
        self.0.step(now, transition, |launch, runtime| flight::start(&self.0, launch, runtime))
    }
}

impl<C> Clone for Session<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> fmt::Debug for Session<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.snapshot();
        f.debug_struct("Session").field("state", &state).finish_non_exhaustive()
    }
}

// === impl WeakSession ===

impl<C> WeakSession<C> {
    /// A full handle, unless the session is gone.
    ///
    /// ```
    /// # use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
    /// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
    /// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
    /// let session = Session::new(Token::bearer("at-1")?, refresher);
    /// let weak = session.downgrade();
    /// assert!(weak.upgrade().is_some());
    ///
    /// drop(session);
    /// assert!(weak.upgrade().is_none());
    /// # Ok(()) }
    /// ```
    pub fn upgrade(&self) -> Option<Session<C>> {
        self.0.upgrade().map(Session)
    }
}

impl<C> Clone for WeakSession<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> fmt::Debug for WeakSession<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakSession").finish_non_exhaustive()
    }
}
