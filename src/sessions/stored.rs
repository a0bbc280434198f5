//! Logins that a store keeps: a driver for each session.

use std::{hash::Hash, marker::PhantomData, sync::Arc};

use tokio::runtime::Handle;

use crate::{
    credential::contract::Credential,
    error::{BoxError, Error},
    refresher::contract::{BoxFuture, Refresher},
    session::{SessionTemplate, handle::Session},
    sessions::{
        builder::SessionsBuilder,
        source::{LoginRecord, Opened, Source},
    },
    store::{Desk, Store, Stored},
};

/// A source whose logins are in a store.
pub(super) struct StoredSource<F, R, S> {
    /// Makes the driver of a key.
    drive: F,
    driver: PhantomData<fn() -> (R, S)>,
}

// === impl SessionsBuilder ===

/// Needs the feature `store`.
impl<K, C> SessionsBuilder<K, C>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    C: Credential + Clone,
{
    /// Keeps the logins in a store: a driver for each session, which this function makes.
    ///
    /// The refresher of the driver takes the place of the template's. After a restart, or the
    /// eviction of a session, the registry finds the login in the store again. Replicas that share
    /// the store share the logins: one refresh for all of them, and a logout ends the login
    /// everywhere ([guarantees 15 to 19](crate::store#guarantees)).
    ///
    /// Log in and out by the registry. It takes the place of [`load`](Self::load).
    ///
    /// Drivers that [`Stored::with_name`] makes share their refresher, store and settings. Each of
    /// them then takes little memory.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tower_refresh::{
    ///     Refresher, Session, sessions::Sessions, store::{File, Stored},
    /// };
    ///
    /// fn sessions(refresher: impl Refresher) -> Sessions<String> {
    ///     let refresher = Arc::new(refresher);
    ///     let template = Session::builder(refresher.clone()).template();
    ///     let driver = Stored::new(refresher, File::new("/var/lib/gateway/logins"), "");
    ///     Sessions::builder(template)
    ///         .stored(move |user: &String| driver.with_name(user.as_str()))
    ///         .build()
    /// }
    /// ```
    pub fn stored<F, R, S>(mut self, drive: F) -> Self
    where
        F: Fn(&K) -> Stored<R, S, C> + Send + Sync + 'static,
        R: Refresher<C>,
        S: Store,
    {
        self.settings.source = Some(Arc::new(StoredSource { drive, driver: PhantomData }));
        self
    }
}

// === impl StoredSource ===

impl<F, R, S, K, C> Source<K, C> for StoredSource<F, R, S>
where
    F: Fn(&K) -> Stored<R, S, C> + Send + Sync,
    R: Refresher<C>,
    S: Store,
    C: Credential + Clone,
{
    fn make(&self, key: &K, template: &SessionTemplate<C>, name: Option<Arc<str>>) -> Opened<C> {
        let desk = (self.drive)(key).into_desk();
        let session = template.tenant(name, Some(desk.clone()));
        Opened { session, record: Some(desk) }
    }
}

// === impl LoginRecord ===

impl<C: Credential + Clone> LoginRecord<C> for Desk<C> {
    fn is_saved(&self) -> bool {
        Self::is_saved(self)
    }

    fn open(self: Arc<Self>, session: Session<C>) -> BoxFuture<'static, Result<(), BoxError>> {
        Box::pin(async move { Ok(Self::open(&self, &session).await.map(drop)?) })
    }

    fn login(
        self: Arc<Self>,
        session: Session<C>,
        credential: C,
    ) -> BoxFuture<'static, Result<(), BoxError>> {
        Box::pin(async move { Ok(Self::login(&self, &session, credential).await.map(drop)?) })
    }

    fn logout(self: Arc<Self>, session: &Session<C>) -> BoxFuture<'static, Result<(), BoxError>> {
        if Handle::try_current().is_err() {
            // Without a runtime the driver cannot save the end of the login.
            drop(session.logout());
            return Box::pin(async { Err(Error::no_runtime().into()) });
        }
        let saved = Self::logout(&self, session);
        Box::pin(async move { Ok(saved.await?) })
    }
}
