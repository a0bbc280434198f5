use std::{
    fmt, mem,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    runtime::Handle,
    sync::watch,
    time::{self, Instant},
};

use crate::{
    credential::{contract::Credential, token::Token},
    error::Error,
    identity::{Generation, Login},
    refresher::{Refresher, Rejection},
    session::{
        builder::{SessionBuilder, Settings},
        flight, hook,
        hook::Logout,
        machine::{
            clock::{LazyNow, Now},
            held::Held,
            state::{Flight, Phase, Stamped, State},
            transition::{Admission, Ended, Reaction, Step},
        },
        scope,
        scope::{Role, SessionId},
        watcher::Watcher,
    },
};

/// What all clones of a client share: the current credential, and where it stands.
///
/// It is a handle: clones are the same session. See the [module docs](crate::session) for how it
/// behaves.
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
pub struct Session<C = Token>(Arc<Inner<C>>);

/// A handle that does not keep the session alive: for a refresher or a hook, which the session
/// keeps. Made by [`Session::downgrade`].
pub struct WeakSession<C = Token>(Weak<Inner<C>>);

struct Inner<C> {
    id: SessionId,
    /// In an `Arc`, so that a look at it costs one counter, whatever is in it.
    state: watch::Sender<Arc<State<C>>>,
    waiters: AtomicUsize,
    settings: Settings<C>,
    /// The first runtime that was seen, for calls from a thread that has none.
    runtime: OnceLock<Handle>,
}

/// The flight that a login waits for, if it has to.
type Joined = (Login, Option<Flight>);

/// How long [`Session::keep_fresh`] sleeps at the most, and at the least.
const NAP: Duration = Duration::from_secs(60);
const MIN_NAP: Duration = Duration::from_millis(1);

/// Counts a request among the waiters for as long as it lives.
struct Waiter<C>(Session<C>);

// === impl Session ===

impl<C: Credential> Session<C> {
    /// A session that starts logged in with this credential, and all settings at their defaults.
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

    /// Starts a session with settings of its own.
    ///
    /// ```
    /// # use tower_refresh::{refresher_fn, RefreshContext, RefreshError, Session, Token};
    /// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
    /// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
    /// let session: Session = Session::builder(refresher).build(); // signed out, until somebody logs in
    /// assert!(session.credential().is_none());
    /// # Ok(()) }
    /// ```
    pub fn builder(refresher: impl Refresher<C>) -> SessionBuilder<C> {
        SessionBuilder::new(refresher)
    }

    /// Begins a new login with this credential, from any phase.
    ///
    /// A refresh in progress is overtaken: its outcome changes nothing any more, and requests that
    /// wait for it fail with [`ErrorKind::LoginChanged`](crate::ErrorKind::LoginChanged). The hook
    /// does not run for the login that is replaced; call [`logout`](Self::logout) first where it
    /// should.
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
        let held = self.hold(credential, None);
        self.step_without_flight(|state| state.log_in(&held)).0
    }

    /// Takes a newer credential of that login, obtained elsewhere: by another process, by a cookie
    /// that rolled.
    ///
    /// A refresh in progress is overtaken: its outcome changes nothing any more, and requests that
    /// wait for it go on with this credential.
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
    /// Gives the credential back when that login is over.
    pub fn replace(&self, login: Login, credential: C) -> Result<Generation, C> {
        let held = self.hold(credential, None);
        match self.step_without_flight(|state| state.replace(login, &held)).0 {
            Some(generation) => Ok(generation),
            None => Err(held.into_inner().expect("a refused credential is not shared")),
        }
    }

    /// Ends the login, when this is called. The returned future ends when the hook has; it may be
    /// dropped.
    ///
    /// Requests that wait fail with [`ErrorKind::LoggedOut`](crate::ErrorKind::LoggedOut), as do
    /// all later ones, until somebody logs in. A refresh in progress runs to its end, but changes
    /// nothing any more; what it brings is handed to the hook. Where there is no login, nothing
    /// happens.
    ///
    /// Called by a refresher of this session, the future ends at once: the hook waits for that
    /// refresher.
    ///
    /// The hook runs on the Tokio runtime of the caller, or on the first one that this session has
    /// seen.
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
    /// See [`Logout`]: the future may be dropped at any time.
    pub fn logout(&self) -> Logout {
        let ((), logout) = self.step_without_flight(State::log_out);
        match scope::role_in(self.id()) {
            Some(Role::Flight) => Logout::nothing(),
            _ => logout,
        }
    }

    /// Acquires a credential through the refresher ([`Cause::Missing`](crate::refresher::Cause::Missing)) and
    /// begins a new login with it, where there is none. Otherwise hands out the current credential,
    /// after a refresh if it has expired or the last one failed. The flight has started, or was
    /// joined, when this returns.
    ///
    /// A new login starts without the back-off of the one before: don't call this in a loop, or
    /// from a hook, without a pause of your own.
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
    /// - [`RefreshFailed`](crate::ErrorKind::RefreshFailed): the refresher failed, or failed before
    ///   and the back-off is not over. A new login goes on without a credential, and a request
    ///   after the back-off tries again.
    /// - [`EndedLogin`](crate::ErrorKind::LoggedOut): the refresher was refused, or somebody
    ///   logged out.
    /// - [`LoginChanged`](crate::ErrorKind::LoginChanged): somebody logged in.
    /// - [`Recursive`](crate::ErrorKind::Recursive): called by the refresher.
    /// - [`NoRuntime`](crate::ErrorKind::NoRuntime): no Tokio runtime is known to this session.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the flight as it is.
    pub fn acquire(&self) -> impl Future<Output = Result<Arc<C>, Error>> + Send + use<C> {
        let now = self.now();
        self.renewed(self.join(|state| state.acquire(now)))
    }

    /// Refreshes the credential, whether or not it is due: joins the flight in progress, or starts
    /// one ([`Cause::Forced`](crate::refresher::Cause::Forced)) that no request waits for. It has started when
    /// this returns.
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
    /// - [`RefreshFailed`](crate::ErrorKind::RefreshFailed): the refresher failed, and the login
    ///   goes on; or it failed before, the back-off is not over, and none was started.
    /// - [`EndedLogin`](crate::ErrorKind::LoggedOut): the login is over.
    /// - [`LoginChanged`](crate::ErrorKind::LoginChanged): somebody logged in meanwhile.
    /// - [`Recursive`](crate::ErrorKind::Recursive): called by the refresher.
    /// - [`NoRuntime`](crate::ErrorKind::NoRuntime): no Tokio runtime is known to this session.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the flight as it is.
    pub fn refresh(&self) -> impl Future<Output = Result<Arc<C>, Error>> + Send + use<C> {
        let now = self.now();
        self.renewed(self.join(|state| {
            let login = state.login();
            state.refresh(now).map(|flight| Ok((login, Some(flight?))))
        }))
    }

    /// Renews the credential also while nothing is sent: a future for a service to spawn.
    ///
    /// It waits until a renewal is due ([`SessionBuilder::refresh_ahead`]), starts it, and goes on
    /// so through back-offs, logouts and logins. It ends when the session is gone, and does not
    /// keep it alive.
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
    /// When it is polled outside a Tokio runtime, or in one whose time is not enabled.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; a refresh that it has started goes on.
    pub fn keep_fresh(&self) -> impl Future<Output = ()> + Send + use<C> {
        let session = self.downgrade();
        let mut changes = self.changes();
        async move {
            loop {
                // What comes after this look wakes it up again.
                changes.mark_unchanged();
                let Some(renewal_in) = session.upgrade().map(|session| session.renew_if_due())
                else {
                    return;
                };
                // Looks again from time to time: the wall clock may jump, and go on while the
                // machine sleeps.
                let nap = renewal_in.map_or(NAP, |due| due.clamp(MIN_NAP, NAP));
                if let Ok(Err(_closed)) = time::timeout(nap, changes.changed()).await {
                    return;
                }
            }
        }
    }

    /// The current credential, whether or not it has expired.
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
        self.snapshot().credential().cloned()
    }

    /// A snapshot of the state.
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
        State::clone(&self.snapshot())
    }

    /// A view of the state that can wait for changes. It does not keep the session alive.
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

    /// How many requests wait for a refresh at the moment.
    ///
    /// ```
    /// # use tower_refresh::Session;
    /// /// Sheds what can wait, before `max_waiters` refuses everybody.
    /// fn takes_batch_jobs(session: &Session) -> bool {
    ///     session.waiters() < 100
    /// }
    /// ```
    pub fn waiters(&self) -> usize {
        self.0.waiters.load(Ordering::Relaxed)
    }

    /// A handle that does not keep the session alive.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_refresh::Session;
    ///
    /// /// Ends with the session.
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

// What the service, its future and the flight use.
impl<C: Credential> Session<C> {
    pub(super) fn with_state(state: State<C>, settings: Settings<C>) -> Self {
        let session = Self(Arc::new(Inner {
            id: SessionId::next(),
            state: watch::Sender::new(Arc::new(state)),
            waiters: AtomicUsize::new(0),
            settings,
            runtime: OnceLock::new(),
        }));
        session.runtime();
        session
    }

    pub(super) fn id(&self) -> SessionId {
        self.0.id
    }

    pub(crate) fn wall(&self) -> SystemTime {
        self.0.settings.clock.wall()
    }

    pub(super) fn now(&self) -> Now {
        self.0.settings.clock.now()
    }

    /// Takes a credential in. Runs the user's code.
    pub(super) fn hold(&self, credential: C, refreshed_at: Option<Instant>) -> Held<C> {
        let (wall, ahead) = (self.wall(), self.0.settings.ahead);
        Held::new(Arc::new(credential), refreshed_at, wall, |expires_at| {
            ahead.renew_at(wall, expires_at)
        })
    }

    pub(super) fn backoff(&self, failures: u32, requested: Option<Duration>) -> Duration {
        self.0.settings.backoff.wait(failures, requested)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<Arc<State<C>>> {
        self.0.state.subscribe()
    }

    pub(super) fn refresher(&self) -> &dyn Refresher<C> {
        &*self.0.settings.refresher
    }

    pub(super) fn refresh_timeout(&self) -> Duration {
        self.0.settings.refresh_timeout
    }

    /// Whether the current task is a flight or a hook of this session: what it sends passes
    /// untouched.
    pub(crate) fn is_recursive(&self) -> bool {
        scope::role_in(self.id()).is_some()
    }

    /// Asks for a request of `login` that is about to be sent.
    pub(crate) fn admit(&self, login: Login, may_elect: bool) -> Admission<C> {
        let now = LazyNow::new(&self.0.settings.clock);
        let step = self.step_at(Some(&now), |state| state.admit(login, may_elect, || now.get()));
        step.map_or_else(Admission::Fail, |(admission, _)| admission)
    }

    /// Reports that a request which was sent with this stamp was rejected.
    pub(crate) fn rejected(&self, stamp: Stamped, rejection: impl Fn() -> Rejection) -> Reaction {
        let now = LazyNow::new(&self.0.settings.clock);
        let step =
            self.step_at(Some(&now), |state| state.rejected(stamp, &rejection, || now.get()));
        step.map_or_else(Reaction::Fail, |(reaction, _)| reaction)
    }

    /// Starts a renewal that is due. How long until the next one is, as far as that is known.
    fn renew_if_due(&self) -> Option<Duration> {
        self.renew();
        self.snapshot().renewal_in(self.now())
    }

    /// Starts a flight that nobody waits for, if the credential is due for it and there is a
    /// runtime to run it on.
    pub(crate) fn renew(&self) {
        let now = self.now();
        // Without a runtime the requests go on as they are, and the one after the expiry says so.
        drop(self.step(|state| state.renew(now)));
    }

    /// Waits for a flight to settle, as a request that is counted from this call on; or fails as
    /// `Overloaded`, where as many wait as may.
    pub(crate) fn wait(
        &self,
        flight: Flight,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<C> {
        let waiter = Waiter::new(self);
        let settled = flight::settled(self, flight);
        async move {
            let waiter = waiter?;
            let outcome = settled.await;
            drop(waiter);
            outcome.into_result()
        }
    }

    /// Waits for the flight that was joined, and hands out the credential that there is then.
    fn renewed(
        &self,
        joined: Result<Joined, Error>,
    ) -> impl Future<Output = Result<Arc<C>, Error>> + Send + use<C> {
        let joined = joined
            .map(|(login, flight)| (login, flight.map(|flight| flight::settled(self, flight))));
        let session = self.clone();
        async move {
            let (login, settled) = joined?;
            if let Some(settled) = settled {
                settled.await.into_result()?;
            }
            session.credential_of(login)
        }
    }

    /// Joins the flight that a transition finds or starts.
    fn join(
        &self,
        transition: impl Fn(&State<C>) -> Step<C, Result<Joined, Error>>,
    ) -> Result<Joined, Error> {
        match scope::role_in(self.id()) {
            Some(Role::Flight) => Err(Error::recursive()),
            _ => self.step(transition)?.0,
        }
    }

    /// The credential of that login, after a flight that renewed it.
    fn credential_of(&self, login: Login) -> Result<Arc<C>, Error> {
        let state = self.snapshot();
        match (state.credential(), state.phase()) {
            _ if state.login() != login => Err(Error::login_changed()),
            (_, Phase::LoggedOut(reason)) => Err(reason.to_error()),
            (credential, _) => {
                Ok(credential.expect("a login that was renewed has a credential").clone())
            }
        }
    }

    /// Takes a step that starts no flight.
    pub(super) fn step_without_flight<A>(
        &self,
        transition: impl Fn(&State<C>) -> Step<C, A>,
    ) -> (A, Logout) {
        self.step(transition).expect("a step that starts no flight needs no runtime")
    }

    /// Takes one step of the state machine: the only way in which the state changes.
    ///
    /// # Errors
    ///
    /// `NoRuntime`, and nothing has changed, when a flight is to start and there is nothing to run
    /// it on.
    fn step<A>(&self, transition: impl Fn(&State<C>) -> Step<C, A>) -> Result<(A, Logout), Error> {
        self.step_at(None, transition)
    }

    /// The same, with the time that the transition asks for, if it does.
    fn step_at<A>(
        &self,
        now: Option<&LazyNow<'_>>,
        transition: impl Fn(&State<C>) -> Step<C, A>,
    ) -> Result<(A, Logout), Error> {
        // Most steps change nothing: of a thousand rejections one does. They take effect at this
        // look, and the others have to be decided under the lock.
        let mut glance = transition(&self.snapshot());
        if now.is_some_and(LazyNow::is_read) {
            // Again: the clock may be the user's code, and take its time.
            glance = transition(&self.snapshot());
        }
        if glance.next.is_none() {
            return Ok((glance.answer, Logout::nothing()));
        }
        if let Some(now) = now {
            // Not under the lock.
            now.read();
        }
        let runtime = self.runtime();
        let mut taken = None;
        self.0.state.send_if_modified(|state| {
            let (step, displaced) = taken.insert((transition(state), None));
            if step.effects.launch.is_some() && runtime.is_none() {
                return false;
            }
            let Some(next) = step.next.take() else { return false };
            *displaced = Some(mem::replace(state, Arc::new(next)));
            // Told before the lock is released, so that nobody sees a state whose flight has no
            // outcome.
            if let Some((flight, outcome)) = step.effects.settled.take() {
                flight.outcome.set(outcome);
            }
            true
        });
        let (Step { answer, effects, .. }, displaced) =
            taken.expect("the closure of `send_if_modified` was called");
        if let Some(launch) = effects.launch {
            flight::launch(self, launch, &runtime.clone().ok_or_else(Error::no_runtime)?);
        }
        let logout = self.run_hook(effects.ended, runtime.as_ref());
        // Last, and outside the lock: the `Drop` of a credential may do anything, panic or call the
        // session.
        drop(displaced);
        Ok((answer, logout))
    }

    fn run_hook(&self, ended: Option<Ended<C>>, runtime: Option<&Handle>) -> Logout {
        match (ended, &self.0.settings.on_login_end) {
            (Some(ended), Some(hook)) => hook::launch(hook.clone(), self.id(), ended, runtime),
            _ => Logout::nothing(),
        }
    }

    /// The runtime of the caller, or the first one that was seen.
    fn runtime(&self) -> Option<Handle> {
        match Handle::try_current() {
            Ok(current) => {
                self.0.runtime.get_or_init(|| current.clone());
                Some(current)
            }
            Err(_) => self.0.runtime.get().cloned(),
        }
    }
}

impl<C> Session<C> {
    /// The latest state, shared with everybody who looks at it.
    fn snapshot(&self) -> Arc<State<C>> {
        self.0.state.borrow().clone()
    }
}

impl<C> Clone for Session<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> fmt::Debug for Session<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.snapshot();
        f.debug_struct("Session").field("state", &state).finish_non_exhaustive()
    }
}

// === impl WeakSession ===

impl<C> WeakSession<C> {
    /// The session, unless it is gone.
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

// === impl Waiter ===

impl<C: Credential> Waiter<C> {
    fn new(session: &Session<C>) -> Result<Self, Error> {
        let Inner { waiters, settings, .. } = &*session.0;
        let one_more = |count| (count < settings.max_waiters).then(|| count + 1);
        match waiters.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Self(session.clone())),
            Err(_) => Err(Error::overloaded()),
        }
    }
}

impl<C> Drop for Waiter<C> {
    fn drop(&mut self) {
        self.0.0.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}
