use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    credential::token::Token,
    observe::observers::Observers,
    refresher::contract::Refresher,
    session::{
        hook::Hook,
        machine::{
            clock::Clock,
            rules::Rules,
            timing::{Backoff, RenewalMargin},
        },
        runtimes::Runtimes,
    },
};

/// The settings from which sessions are made, one for each user of a proxy or a gateway. Made by
/// [`SessionBuilder::template`](crate::session::SessionBuilder::template).
///
/// All sessions of a template share its settings, so that each of them takes little memory. They
/// share nothing else: each has its own login, credential, flight and waiters.
///
/// ```
/// use tower_refresh::{
///     refresher_fn, session::SessionTemplate, RefreshContext, RefreshError, Session, Token,
/// };
///
/// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
/// # let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
/// let template: SessionTemplate = Session::builder(refresher).max_waiters(100).template();
///
/// let ann = template.named("ann");
/// ann.login(Token::bearer("anns")?);
/// let bob = template.named("bob");
/// assert!(ann.credential().is_some() && bob.credential().is_none());
/// # Ok(()) }
/// ```
///
/// A flight of a session runs on the runtime of its caller, or else on one that any session of the
/// template has seen ([the runtime](crate::session#the-runtime)).
pub struct SessionTemplate<C = Token>(Arc<Shared<C>>);

/// The parts that all sessions of a template share.
struct Shared<C> {
    settings: Settings<C>,
    runtimes: Runtimes,
}

/// The settings of a session that never change.
pub(super) struct Settings<C> {
    /// The name of the sessions that have none of their own.
    pub(super) name: Option<Arc<str>>,
    pub(super) acquire_on_demand: bool,
    pub(super) rules: Rules,
    pub(super) refresher: Box<dyn Refresher<C>>,
    pub(super) refresh_timeout: Duration,
    pub(super) refresh_attempts: u32,
    pub(super) on_login_end: Option<Hook<C>>,
    pub(super) renewal: RenewalMargin,
    pub(super) backoff: Backoff,
    pub(super) max_waiters: usize,
    pub(super) clock: Clock,
    pub(super) observers: Observers,
}

// === impl SessionTemplate ===

impl<C> SessionTemplate<C> {
    pub(super) fn new(settings: Settings<C>) -> Self {
        Self(Arc::new(Shared { settings, runtimes: Runtimes::default() }))
    }

    pub(super) fn settings(&self) -> &Settings<C> {
        &self.0.settings
    }

    pub(super) fn runtimes(&self) -> &Runtimes {
        &self.0.runtimes
    }
}

impl<C> Clone for SessionTemplate<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> fmt::Debug for SessionTemplate<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionTemplate").field(&self.0.settings).finish()
    }
}

// === impl Settings ===

impl<C> Settings<C> {
    pub(super) fn new(refresher: impl Refresher<C>) -> Self {
        Self {
            name: None,
            acquire_on_demand: false,
            rules: Rules::DEFAULT,
            refresher: Box::new(refresher),
            refresh_timeout: Duration::from_secs(30),
            refresh_attempts: 3,
            on_login_end: None,
            renewal: RenewalMargin::DEFAULT,
            backoff: Backoff::DEFAULT,
            max_waiters: usize::MAX,
            clock: Clock::new(SystemTime::now),
            observers: Observers::NONE,
        }
    }
}

impl<C> fmt::Debug for Settings<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("acquire_on_demand", &self.acquire_on_demand)
            .field("refresh_timeout", &self.refresh_timeout)
            .field("refresh_attempts", &self.refresh_attempts)
            .field("has_hook", &self.on_login_end.is_some())
            .field("rules", &self.rules)
            .field("renewal", &self.renewal)
            .field("backoff", &self.backoff)
            .field("max_waiters", &self.max_waiters)
            .field("observers", &self.observers.len())
            .finish_non_exhaustive()
    }
}
