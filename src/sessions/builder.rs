use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use crate::{
    credential::{contract::Credential, token::Token},
    error::BoxError,
    session::SessionTemplate,
    sessions::{handle::Sessions, registry::Registry, settings::RegistrySettings, source::LoadFn},
};

/// Configures [`Sessions`]. Made by [`Sessions::builder`].
#[must_use]
pub struct SessionsBuilder<K, C = Token> {
    pub(super) settings: RegistrySettings<K, C>,
}

const LOAD_TIMEOUT: Duration = Duration::from_secs(10);
const CAPACITY: usize = 100_000;
/// The shortest and the longest time-out. A longer one is none.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
const MAX_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

// === impl Sessions ===

impl<K, C> Sessions<K, C>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    C: Credential,
{
    /// A registry with all settings at their defaults: sessions are made from this template.
    pub fn new(template: SessionTemplate<C>) -> Self {
        Self::builder(template).build()
    }

    /// Starts to configure a registry.
    pub fn builder(template: SessionTemplate<C>) -> SessionsBuilder<K, C> {
        SessionsBuilder::new(template)
    }
}

// === impl SessionsBuilder ===

impl<K, C> SessionsBuilder<K, C>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    C: Credential,
{
    pub(super) fn new(template: SessionTemplate<C>) -> Self {
        let settings = RegistrySettings {
            template,
            name: None,
            source: None,
            load_timeout: LOAD_TIMEOUT,
            capacity: CAPACITY,
            idle_timeout: None,
            lifetime: None,
        };
        Self { settings }
    }

    /// The name of the session of a key
    /// ([`SessionBuilder::name`](crate::session::SessionBuilder::name)). Default: the name of the
    /// template, if it has one.
    ///
    /// Names appear in logs. Where a key is a secret, such as the value of a session cookie, make
    /// the name from something else.
    ///
    /// If the function panics, a load in progress fails. Without a load, a
    /// [`SessionsLayer`](crate::sessions::SessionsLayer) takes the request for one without a key.
    pub fn name(mut self, name: impl Fn(&K) -> String + Send + Sync + 'static) -> Self {
        self.settings.name = Some(Arc::new(name));
        self
    }

    /// How the login of a key is found that is not in memory: after a restart, or after the
    /// eviction of its session. Default: it is not; the session starts as the template says.
    ///
    /// However many callers ask for a key at once, the function runs once, in a task of its own. It
    /// returns the credential and the key that it belongs to, so that a database that returns the
    /// row of another user causes an error and no login, or `None` if there is no login.
    ///
    /// ```
    /// use tower_refresh::{BoxError, Token, session::SessionTemplate, sessions::Sessions};
    ///
    /// # struct Row { user: String, refresh_token: String }
    /// # async fn select(_: &str) -> Result<Option<Row>, BoxError> { Ok(None) }
    /// fn sessions(template: SessionTemplate) -> Sessions<String> {
    ///     Sessions::builder(template)
    ///         .load(|user: String| async move {
    ///             let Some(row) = select(&user).await? else { return Ok(None) };
    ///             let token = Token::bearer("expired")?
    ///                 .with_refresh_token(row.refresh_token)
    ///                 .with_expires_at(std::time::UNIX_EPOCH);
    ///             Ok(Some((row.user, token)))
    ///         })
    ///         .build()
    /// }
    /// ```
    ///
    /// A load that fails, panics, or returns another key makes its callers fail with
    /// [`ErrorKind::StorageFailed`](crate::ErrorKind::StorageFailed). The next call tries again.
    ///
    /// With this function the registry may forget a session that is logged in, since it finds the
    /// login again. The function must therefore return the newest credential: the refresher has to
    /// save what it brings, before it returns.
    pub fn load<F, Fut>(mut self, load: F) -> Self
    where
        F: Fn(K) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<(K, C)>, BoxError>> + Send + 'static,
    {
        self.settings.source = Some(Arc::new(LoadFn::new(load)));
        self
    }

    /// How long a load may take. Default: 10 seconds. Clamped to at least 1 millisecond.
    pub fn load_timeout(mut self, limit: Duration) -> Self {
        self.settings.load_timeout = limit.clamp(MIN_TIMEOUT, MAX_TIMEOUT);
        self
    }

    /// How many sessions are in memory at most. Default: 100 000. With 0, there is none.
    ///
    /// When the registry is full, a new session takes the place of the one that was not used for
    /// the longest time, among those that may be forgotten: nothing holds it, no flight runs for
    /// it, and it is logged out or can be [loaded](Self::load) again. If there is none, the call
    /// fails with [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded). With more than 4096
    /// places the search is limited, and the choice approximate.
    pub fn capacity(mut self, sessions: usize) -> Self {
        self.settings.capacity = sessions;
        self
    }

    /// Ends a login that was not used for this time, with
    /// [`EndReason::Idle`](crate::session::EndReason::Idle). Default: never.
    ///
    /// A session is used when a call of the registry returns it, and as long as a request, a flight
    /// or a handle holds it. The time counts in this process: where several processes share the
    /// logins, each must see a user often enough.
    ///
    /// The end takes place at the next call for the key, or in
    /// [`Sessions::maintain`], which has to run for logins that are never used again.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.settings.idle_timeout = Some(limit.clamp(MIN_TIMEOUT, MAX_TIMEOUT));
        self
    }

    /// Ends a login after this time, however much it is used, with
    /// [`EndReason::Lifetime`](crate::session::EndReason::Lifetime). Default: never.
    ///
    /// The time counts from [`Sessions::login`], or from the moment at which the registry first
    /// sees a login that another call has begun. A login that was [loaded](Self::load) counts from
    /// the load: after a restart or an eviction it has the whole time again.
    pub fn lifetime(mut self, limit: Duration) -> Self {
        self.settings.lifetime = Some(limit.clamp(MIN_TIMEOUT, MAX_TIMEOUT));
        self
    }

    /// Builds the registry.
    pub fn build(self) -> Sessions<K, C> {
        Sessions(Arc::new(Registry::new(self.settings)))
    }
}

impl<K, C> fmt::Debug for SessionsBuilder<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionsBuilder").field(&self.settings).finish()
    }
}
