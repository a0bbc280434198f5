use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use tokio::{task, time};

use crate::{
    credential::{contract::Credential, token::Token},
    error::Error,
    refresher::contract::BoxFuture,
    session::handle::Session,
    sessions::{
        loading::storage_failed, registry::Registry, shard::SLICE, source::Opened, tenant::Lookup,
    },
};

/// The sessions of many users: one for each key.
///
/// Clones are handles to the same registry. The [module docs](crate::sessions) describe its
/// behaviour.
pub struct Sessions<K, C = Token>(pub(super) Arc<Registry<K, C>>);

/// A login that has begun, or one that waits for a load or a store.
enum Begun<C> {
    LoggedIn(Session<C>),
    Waits(Lookup<C>, C),
}

/// The shortest and the longest pause between two sweeps of [`Sessions::maintain`].
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

// === impl Sessions ===

impl<K, C> Sessions<K, C>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    C: Credential,
{
    /// The session of a key. All callers get the same one, for as long as anything holds it
    /// (guarantee 20).
    ///
    /// If the registry does not have it, the login is
    /// [loaded](crate::sessions::SessionsBuilder::load), once for all callers, or the session
    /// starts as the template says: logged out, or with a login that acquires its credential on
    /// demand. A load is under way when this method returns.
    ///
    /// ```
    /// # use tower_refresh::{Error, sessions::Sessions};
    /// # async fn f(sessions: Sessions<String>) -> Result<(), Error> {
    /// let session = sessions.get(&"ann".to_owned()).await?;
    /// assert!(session.credential().is_some());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Overloaded`](crate::ErrorKind::Overloaded): the registry is full.
    /// - [`StorageFailed`](crate::ErrorKind::StorageFailed): the load failed. The next call tries
    ///   again.
    /// - [`NoRuntime`](crate::ErrorKind::NoRuntime): a load needs a Tokio runtime, and the caller
    ///   has none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not cancel the load.
    pub fn get(
        &self,
        key: &K,
    ) -> impl Future<Output = Result<Session<C>, Error>> + Send + use<K, C> {
        let found = self.0.look_up(key);
        async move { Ok(found?.wait().await?.session) }
    }

    /// The session of a key, if the registry has it now. Neither loads it nor makes it.
    pub fn peek(&self, key: &K) -> Option<Session<C>> {
        match self.0.find(key)? {
            Lookup::Open(opened) => Some(opened.session),
            Lookup::Opening(_) => None,
        }
    }

    /// Logs a user in with this credential, in the session of the key.
    ///
    /// Without a load in progress, and without a store, the login has begun when this method
    /// returns. A load comes first, and its failure does not matter. In a
    /// [store](crate::sessions::SessionsBuilder), the credential is saved first.
    ///
    /// ```
    /// # use tower_refresh::{Error, Token, sessions::Sessions};
    /// # async fn f(sessions: Sessions<String>, token: Token) -> Result<(), Error> {
    /// let session = sessions.login(&"ann".to_owned(), token).await?;
    /// # drop(session);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Overloaded`](crate::ErrorKind::Overloaded): the registry is full. No login has begun.
    /// - [`NoRuntime`](crate::ErrorKind::NoRuntime): a load needs a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped while it waits for a load, no login begins.
    pub fn login(
        &self,
        key: &K,
        credential: C,
    ) -> impl Future<Output = Result<Session<C>, Error>> + Send + use<K, C> {
        let (registry, key) = (self.0.clone(), key.clone());
        let found = registry.look_up(&key);
        let begun = match found {
            // Without a store, the login begins at the call.
            Ok(Lookup::Open(Opened { session, record: None })) => {
                session.login(credential);
                registry.note(&key);
                Ok(Begun::LoggedIn(session))
            }
            Ok(found) => Ok(Begun::Waits(found, credential)),
            Err(error) => Err(error),
        };
        async move {
            let (mut found, credential) = match begun? {
                Begun::LoggedIn(session) => return Ok(session),
                Begun::Waits(found, credential) => (found, credential),
            };
            let Opened { session, record } = loop {
                match found.wait().await {
                    Ok(opened) => break opened,
                    // The login replaces what could not be loaded.
                    Err(_) => found = registry.insert_new(&key)?,
                }
            };
            match record {
                None => drop(session.login(credential)),
                Some(record) => {
                    let saved = record.login(session.clone(), credential).await;
                    saved.map_err(storage_failed)?;
                }
            }
            registry.note(&key);
            Ok(session)
        }
    }

    /// Ends the login of a key. The logout takes effect at the call; the future waits for the hook.
    ///
    /// A login that is not in memory is [loaded](crate::sessions::SessionsBuilder::load) first, so
    /// that the hook can revoke its credential. A load that is in progress ends logged out, before
    /// any caller gets its session.
    ///
    /// # Errors
    ///
    /// - [`StorageFailed`](crate::ErrorKind::StorageFailed): the load failed, so that the hook did
    ///   not run.
    /// - [`Overloaded`](crate::ErrorKind::Overloaded), [`NoRuntime`](crate::ErrorKind::NoRuntime):
    ///   a load was necessary and could not start.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels neither the logout nor the hook.
    pub fn logout(&self, key: &K) -> impl Future<Output = Result<(), Error>> + Send + use<K, C> {
        let found = match self.0.find_to_log_out(key) {
            // Not found again: the load has already failed, and its caller learns of that.
            None if self.0.limits().loads => {
                self.0.look_up(key).map(|load| Some(self.0.find_to_log_out(key).unwrap_or(load)))
            }
            found => Ok(found),
        };
        let ending = found.map(|found| -> Option<BoxFuture<'static, Result<(), Error>>> {
            match found? {
                Lookup::Open(opened) => {
                    // Not within the future, since the logout takes effect now.
                    let ending = opened.log_out();
                    Some(Box::pin(async move { ending.await.map_err(storage_failed) }))
                }
                // Logged out by the load. The hook runs in a task of its own.
                Lookup::Opening(opening) => {
                    Some(Box::pin(async move { opening.wait().await.map(drop) }))
                }
            }
        });
        async move {
            match ending? {
                Some(ending) => ending.await,
                None => Ok(()),
            }
        }
    }

    /// Forgets the session of a key, without the end of its login. Returns whether the registry is
    /// without the key now.
    ///
    /// The registry keeps a session that anything holds, that a flight runs for, or whose login
    /// would be lost. To end a login, call [`logout`](Self::logout).
    pub fn remove(&self, key: &K) -> bool {
        self.0.remove(key)
    }

    /// Logs out all users for which the predicate returns `false`, such as the sessions of one user
    /// in a back-channel logout. Returns how many logins it has ended.
    ///
    /// The predicate sees the logins that are in memory, those included that are being loaded, and
    /// runs without a lock. A login that begins during the call may be missed. Loads in progress
    /// come last.
    ///
    /// ```
    /// # use tower_refresh::{Session, sessions::Sessions};
    /// # async fn f(sessions: Sessions<(String, u64)>) {
    /// // Keys are the user and a number for each browser.
    /// let ended = sessions.retain(|(user, _), _: &Session| user != "ann").await;
    /// println!("ann is logged out of {ended} browsers");
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// A dropped future has logged out a part of the users.
    pub fn retain<F>(&self, mut keep: F) -> impl Future<Output = usize> + Send + use<F, K, C>
    where
        F: FnMut(&K, &Session<C>) -> bool + Send,
    {
        let registry = self.0.clone();
        let mut ends = move |key: &K, opened: &Opened<C>| {
            let session = &opened.session;
            let ends = session.current_login().is_some() && !keep(key, session);
            if ends {
                drop(opened.log_out());
            }
            usize::from(ends)
        };
        async move {
            let mut ended = 0;
            let mut loads = Vec::new();
            for shard in registry.shards() {
                let mut place = 0;
                loop {
                    let Some(found) = shard.slice(place) else { break };
                    place += SLICE;
                    for (key, found) in found {
                        match found {
                            Lookup::Open(opened) => ended += ends(&key, &opened),
                            Lookup::Opening(opening) => loads.push((key, opening)),
                        }
                    }
                    task::yield_now().await;
                }
            }
            // After the others, whose logout does not wait for a slow load. The loads run in tasks
            // of their own, so that all of them take no longer than the slowest one.
            for (key, opening) in loads {
                if let Ok(opened) = opening.wait().await {
                    ended += ends(&key, &opened);
                }
            }
            ended
        }
    }

    /// The number of sessions in memory.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no session is in memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A background task that ends logins at their limits and forgets sessions without a login.
    /// Spawn it.
    ///
    /// The future visits all sessions in slices of a few entries, and pauses for a second to a
    /// minute, depending on the limits. It completes when the registry is gone, and does not keep
    /// it alive.
    ///
    /// ```
    /// # use tower_refresh::sessions::Sessions;
    /// # fn f(sessions: &Sessions<String>) {
    /// tokio::spawn(sessions.maintain());
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When polled outside a Tokio runtime, or in one without a timer.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub fn maintain(&self) -> impl Future<Output = ()> + Send + use<K, C> {
        let limits = self.0.limits();
        let shortest = [limits.idle_timeout, limits.lifetime].into_iter().flatten().min();
        let pause = (shortest.unwrap_or(MAX_PAUSE) / 4).clamp(MIN_PAUSE, MAX_PAUSE);
        let registry = Arc::downgrade(&self.0);
        async move {
            let mut shard = 0;
            let mut place = 0;
            loop {
                let Some(registry) = registry.upgrade() else { return };
                if registry.sweep(shard, place) {
                    place += SLICE;
                    drop(registry);
                    task::yield_now().await;
                    continue;
                }
                (shard, place) = (shard + 1, 0);
                if shard == registry.shards().len() {
                    shard = 0;
                    drop(registry);
                    time::sleep(pause).await;
                }
            }
        }
    }
}

impl<K, C> Clone for Sessions<K, C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, C> fmt::Debug for Sessions<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("len", &self.0.len())
            .field("settings", self.0.settings())
            .finish()
    }
}
