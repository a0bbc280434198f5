use std::{error, fmt, marker::PhantomData, sync::Arc, time::Duration};

use tokio::time;

use crate::{
    credential::{contract::Credential, token::Token},
    identity::Login,
    refresher::contract::Refresher,
    session::handle::Session,
    store::{
        codec::{Codec, TokenCodec},
        contract::Store,
        error::StoreError,
        stored::{
            builder::StoredBuilder,
            desk::{Desk, Operation},
            settings::DriverSettings,
        },
    },
};

/// A [`Refresher`] over a [`Store`], and a handle of what the session does not see.
///
/// One `Stored` serves one session. Clones are the same driver: one goes into the session, and one
/// stays with the application. See the [module docs](crate::store) for an example.
pub struct Stored<R, S, C = Token>(Arc<Desk<C>>, PhantomData<fn() -> (R, S)>);

/// A login could not be saved, and has not begun.
///
/// `Debug` does not show the credential.
pub struct NotSaved<C> {
    credential: C,
    error: StoreError,
}

/// How long [`Stored::follow`] waits without a hint before it looks, and at least between two
/// looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const MIN_NAP: Duration = Duration::from_millis(10);
const MAX_NAP: Duration = Duration::from_secs(1);

// === impl Stored ===

impl<R, S> Stored<R, S>
where
    R: Refresher,
    S: Store,
{
    /// A driver for tokens that are stored under this name, with all settings at their defaults.
    ///
    /// The name says whose login it is. It may be any text, and is no secret.
    pub fn new(refresher: R, store: S, name: impl Into<Arc<str>>) -> Self {
        Self::builder(refresher, store, name).build()
    }

    /// Starts a driver for tokens with settings of its own.
    pub fn builder(refresher: R, store: S, name: impl Into<Arc<str>>) -> StoredBuilder<R, S> {
        Self::builder_with(refresher, store, name, TokenCodec)
    }
}

impl<R, S, C> Stored<R, S, C>
where
    R: Refresher<C>,
    S: Store,
    C: Credential + Clone,
{
    /// Starts a driver for credentials of another type.
    pub fn builder_with(
        refresher: R,
        store: S,
        name: impl Into<Arc<str>>,
        codec: impl Codec<C>,
    ) -> StoredBuilder<R, S, C> {
        StoredBuilder::new(name.into(), DriverSettings::new(refresher, store, codec))
    }
}

impl<R, S: Store, C: Credential + Clone> Stored<R, S, C> {
    fn assemble(settings: Arc<DriverSettings<C>>, name: Arc<str>) -> Self {
        Self(Arc::new(Desk::new(settings, name)), PhantomData)
    }

    /// A driver for another login: with this refresher, this store and these settings, which all
    /// such drivers share, and for a session of its own. For programs with many sessions.
    ///
    /// ```
    /// use tower_refresh::{RefreshContext, Session, Token, refresher_fn, store::{Memory, Stored}};
    ///
    /// # let refresher = refresher_fn(|_: RefreshContext| async { Ok(Token::bearer("at-2")?) });
    /// let template = Stored::new(refresher, Memory::new(), "");
    /// let session_of = |user: &str| {
    ///     let stored = template.with_name(format!("user/{user}"));
    ///     (Session::builder(stored.clone()).build(), stored)
    /// };
    /// let (ann, ann_stored) = session_of("ann");
    /// # let _ = (ann, ann_stored);
    /// ```
    pub fn with_name(&self, name: impl Into<Arc<str>>) -> Self {
        Self::assemble(self.desk().settings.clone(), name.into())
    }

    /// The driver without the types of its parts.
    #[allow(dead_code, reason = "a leaf uses it")]
    pub(crate) fn into_desk(self) -> Arc<Desk<C>> {
        self.0
    }

    pub(super) fn desk(&self) -> &Arc<Desk<C>> {
        &self.0
    }

    /// Loads what is stored, and logs in with it: what a program does at its start. `None` where
    /// nothing is stored, or where the login has ended.
    ///
    /// A credential that has expired is not used. Its refresh has started when this returns, and
    /// requests wait for it.
    ///
    /// # Errors
    ///
    /// The store fails, or has something that cannot be read. The session stays as it is.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time: the session then stays as it is.
    pub async fn open(&self, session: &Session<C>) -> Result<Option<Login>, StoreError> {
        self.0.open(session).await
    }

    /// Saves a credential, and begins a new login with it, in this order. It takes the place of
    /// everything that is stored, the end of an earlier login included.
    ///
    /// # Errors
    ///
    /// [`NotSaved`] gives the credential back. The session stays as it is. Where the store gave no
    /// answer, other processes may find the credential nevertheless, and use its refresh token up.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// The login takes place even if the future is dropped after its first poll.
    pub async fn login(&self, session: &Session<C>, credential: C) -> Result<Login, NotSaved<C>> {
        let result = self.0.login(session, credential.clone()).await;
        result.map_err(|error| NotSaved { credential, error })
    }

    /// Ends the session's login when this is called, and leaves a tombstone in the store: all other
    /// processes end it at their next refresh. The future ends when the tombstone is saved and the
    /// session's hook has run.
    ///
    /// # Errors
    ///
    /// The tombstone could not be saved by several attempts. The session is logged out, and the
    /// driver goes on trying.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time: the logout takes place.
    pub fn logout(
        &self,
        session: &Session<C>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<R, S, C> {
        self.0.logout(session)
    }

    /// Takes over what other processes write, and their logouts: a future for a program to spawn.
    ///
    /// Without it a session learns of them at its next refresh. It ends when the session is gone,
    /// and does not keep it alive.
    ///
    /// # Panics
    ///
    /// When it is polled outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub fn follow(&self, session: &Session<C>) -> impl Future<Output = ()> + Send + use<R, S, C> {
        let desk = self.desk().clone();
        drop(desk.bind(session));
        let weak = session.downgrade();
        async move {
            let mut nap = MIN_NAP;
            loop {
                let (at, before) = {
                    let state = desk.state();
                    (state.knowledge.at(), state.knowledge.rank())
                };
                drop(time::timeout(LOOK_EVERY, desk.changed(at)).await);
                let Some(reporter) = weak.upgrade().map(|session| session.reporter()) else {
                    return;
                };
                let desk = Operation::start(&desk, reporter);
                let looked = desk.look().await;
                desk.start_saving(None, None);
                let Some(session) = weak.upgrade() else { return };
                if looked.is_ok() && desk.state().knowledge.rank() != before {
                    desk.deliver(&session);
                    nap = MIN_NAP;
                    continue;
                }
                drop((session, desk));
                // A store that is down, or whose hints are wrong.
                time::sleep(nap).await;
                nap = (nap * 2).min(MAX_NAP);
            }
        }
    }

    /// Whether everything that this driver knows is in the store.
    pub fn is_saved(&self) -> bool {
        self.0.is_saved()
    }
}

impl<R, S, C> Clone for Stored<R, S, C> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<R, S, C> fmt::Debug for Stored<R, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").finish_non_exhaustive()
    }
}

// === impl StoredBuilder ===

impl<R, S: Store, C: Credential + Clone> StoredBuilder<R, S, C> {
    /// Makes the driver.
    pub fn build(self) -> Stored<R, S, C> {
        Stored::assemble(Arc::new(self.settings), self.name)
    }
}

// === impl NotSaved ===

impl<C> NotSaved<C> {
    /// The credential of the login.
    pub fn credential(&self) -> &C {
        &self.credential
    }

    /// The credential of the login, to try again with.
    pub fn into_credential(self) -> C {
        self.credential
    }

    /// Why it could not be saved.
    pub fn error(&self) -> &StoreError {
        &self.error
    }
}

impl<C> fmt::Debug for NotSaved<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotSaved").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<C> fmt::Display for NotSaved<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the login could not be saved")
    }
}

impl<C> error::Error for NotSaved<C> {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}
