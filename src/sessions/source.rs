use std::{error, fmt, sync::Arc};

use crate::{
    credential::contract::Credential,
    error::BoxError,
    identity::Login,
    refresher::contract::BoxFuture,
    session::{EndReason, SessionTemplate, handle::Session},
};

/// A session, and the record of its login if a store keeps it.
pub(super) struct Opened<C> {
    pub(super) session: Session<C>,
    pub(super) record: Option<Arc<dyn LoginRecord<C>>>,
}

/// The place where the logins of a registry are found again.
pub(super) trait Source<K, C>: Send + Sync {
    /// Makes the session of a key, without its login. Runs the user's code.
    fn make(&self, key: &K, template: &SessionTemplate<C>, name: Option<Arc<str>>) -> Opened<C>;

    /// Loads the login of a key into a session that has no record. Provided: there is no login.
    fn load(&self, _key: K, _session: Session<C>) -> BoxFuture<'static, Result<(), BoxError>> {
        Box::pin(async { Ok(()) })
    }
}

/// The record of one login in a store.
pub(super) trait LoginRecord<C>: Send + Sync {
    /// Whether the store has everything that this process knows of the login. Must not block.
    fn is_saved(&self) -> bool;

    /// Loads the login into its session.
    fn open(self: Arc<Self>, session: Session<C>) -> BoxFuture<'static, Result<(), BoxError>>;

    /// Saves a credential and logs in with it.
    fn login(
        self: Arc<Self>,
        session: Session<C>,
        credential: C,
    ) -> BoxFuture<'static, Result<(), BoxError>>;

    /// Logs out, and saves the end of the login. Has taken effect when it returns.
    fn logout(self: Arc<Self>, session: &Session<C>) -> BoxFuture<'static, Result<(), BoxError>>;
}

/// A source that is a function of the user.
pub(super) struct LoadFn<F>(Arc<F>);

/// The load returned the login of another key.
#[derive(Debug)]
struct ForeignLogin;

// === impl Opened ===

impl<C: Credential> Opened<C> {
    /// A session whose login no store keeps.
    pub(super) fn unsaved(template: &SessionTemplate<C>, name: Option<Arc<str>>) -> Self {
        Self { session: template.tenant(name, None), record: None }
    }

    /// Loads the login: from its record, or else from the source.
    pub(super) fn load<K>(
        &self,
        source: &dyn Source<K, C>,
        key: K,
    ) -> BoxFuture<'static, Result<(), BoxError>> {
        match &self.record {
            Some(record) => record.clone().open(self.session.clone()),
            None => source.load(key, self.session.clone()),
        }
    }

    /// Logs out, in the store too. Has taken effect when it returns; the future waits for the hook
    /// and the store.
    pub(super) fn log_out(&self) -> BoxFuture<'static, Result<(), BoxError>> {
        if let Some(record) = &self.record {
            return record.clone().logout(&self.session);
        }
        let hook = self.session.logout();
        Box::pin(async move {
            hook.await;
            Ok(())
        })
    }

    /// Ends a login that has reached a limit, unless it is over or another one has begun.
    pub(super) fn end_login(&self, login: Login, reason: &EndReason) {
        self.session.end_login(login, reason);
        if let (Some(record), None) = (&self.record, self.session.current_login()) {
            drop(record.clone().logout(&self.session));
        }
    }
}

impl<C> Clone for Opened<C> {
    fn clone(&self) -> Self {
        Self { session: self.session.clone(), record: self.record.clone() }
    }
}

// === impl LoadFn ===

impl<F> LoadFn<F> {
    pub(super) fn new(load: F) -> Self {
        Self(Arc::new(load))
    }
}

impl<F, Fut, K, C> Source<K, C> for LoadFn<F>
where
    F: Fn(K) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<(K, C)>, BoxError>> + Send + 'static,
    K: Clone + Eq + Send + Sync + 'static,
    C: Credential,
{
    fn make(&self, _: &K, template: &SessionTemplate<C>, name: Option<Arc<str>>) -> Opened<C> {
        Opened::unsaved(template, name)
    }

    fn load(&self, key: K, session: Session<C>) -> BoxFuture<'static, Result<(), BoxError>> {
        let load = self.0.clone();
        Box::pin(async move {
            match load(key.clone()).await? {
                Some((owner, _)) if owner != key => return Err(ForeignLogin.into()),
                Some((_, credential)) => drop(session.login(credential)),
                None => {}
            }
            Ok(())
        })
    }
}

// === impl ForeignLogin ===

impl fmt::Display for ForeignLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the load returned the login of another key")
    }
}

impl error::Error for ForeignLogin {}
