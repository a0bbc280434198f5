use std::{sync::Arc, time::Duration};

use crate::{
    error::Error,
    identity::Login,
    session::EndReason,
    sessions::{opening::Opening, source::Opened, table::Tier},
};

/// The value of a key in the registry.
pub(super) enum Slot<C> {
    /// The login of the key is being loaded.
    Opening(Arc<Opening<C>>),
    Open(Tenant<C>),
}

/// A session in the registry.
pub(super) struct Tenant<C> {
    pub(super) opened: Opened<C>,
    pub(super) last_used: Moment,
    /// The login that the registry saw last, and since when.
    login: Option<(Login, Moment)>,
}

/// The answer for a key.
pub(super) enum Lookup<C> {
    Open(Opened<C>),
    Opening(Arc<Opening<C>>),
}

/// Milliseconds since the registry was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) u64);

/// The time limits of a registry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) idle_timeout: Option<Duration>,
    pub(super) lifetime: Option<Duration>,
    /// Whether a login that is forgotten can be loaded again.
    pub(super) loads: bool,
}

/// The action that is due for a session.
#[derive(Clone, Debug)]
pub(super) enum Due {
    Nothing,
    /// The login has reached a limit.
    End(Login, EndReason),
    /// Nothing uses the session, and nothing is lost with it.
    Forget,
}

/// How long a session without a login stays in memory after its last use.
const LINGER: Duration = Duration::from_secs(60);

// === impl Slot ===

impl<C> Slot<C> {
    pub(super) fn lookup(&self) -> Lookup<C> {
        match self {
            Self::Opening(opening) => Lookup::Opening(opening.clone()),
            Self::Open(tenant) => Lookup::Open(tenant.opened.clone()),
        }
    }
}

// === impl Tenant ===

impl<C> Tenant<C> {
    pub(super) fn new(opened: Opened<C>, now: Moment) -> Self {
        let mut tenant = Self { opened, last_used: now, login: None };
        tenant.observe(now);
        tenant
    }

    /// Notes the login of the session, which may have begun without a call of the registry.
    pub(super) fn observe(&mut self, now: Moment) {
        let login = self.opened.session.current_login();
        if login != self.login.map(|(login, _)| login) {
            self.login = login.map(|login| (login, now));
        }
    }

    /// The list to which the session belongs.
    pub(super) fn tier(&self) -> Tier {
        if self.login.is_some() { Tier::Member } else { Tier::Guest }
    }

    /// Observes the session, and decides what is due. A session that is held is in use now.
    pub(super) fn due(&mut self, limits: Limits, now: Moment) -> Due {
        self.observe(now);
        let is_held = self.opened.session.is_held();
        if is_held {
            self.last_used = now;
        }
        let idle = now.since(self.last_used);
        match self.login {
            Some((login, since)) => {
                if limits.lifetime.is_some_and(|lifetime| now.since(since) >= lifetime) {
                    Due::End(login, EndReason::Lifetime)
                } else if !is_held && limits.idle_timeout.is_some_and(|limit| idle >= limit) {
                    Due::End(login, EndReason::Idle)
                } else {
                    Due::Nothing
                }
            }
            None if !is_held && idle >= LINGER && self.is_saved() => Due::Forget,
            None => Due::Nothing,
        }
    }

    /// Whether the session may be forgotten for another one.
    pub(super) fn may_be_forgotten(&mut self, limits: Limits, now: Moment) -> bool {
        self.observe(now);
        let is_safe = self.login.is_none() || limits.loads;
        is_safe && !self.opened.session.is_held() && self.is_saved()
    }

    /// Whether the store has all of the login, if a store keeps it.
    fn is_saved(&self) -> bool {
        self.opened.record.as_ref().is_none_or(|record| record.is_saved())
    }
}

// === impl Lookup ===

impl<C> Lookup<C> {
    /// The session, after its load if one is in progress.
    pub(super) async fn wait(self) -> Result<Opened<C>, Error> {
        match self {
            Self::Open(opened) => Ok(opened),
            Self::Opening(opening) => opening.wait().await,
        }
    }
}

// === impl Moment ===

impl Moment {
    fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
