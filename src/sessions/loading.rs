use std::{error, fmt, hash::Hash, sync::Arc, time::Duration};

use tokio::{runtime::Handle, time};

use crate::{
    credential::contract::Credential,
    error::{BoxError, Error, ErrorKind},
    session::handle::Session,
    sessions::{
        opening::Opening,
        registry::Registry,
        settings::LoadFn,
        table::Tier,
        tenant::{Lookup, Slot},
    },
};

/// Settles an opening exactly once, also if its task panics or its runtime shuts down.
struct LoadGuard<K, C>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    C: Credential,
{
    registry: Arc<Registry<K, C>>,
    key: K,
    opening: Arc<Opening<C>>,
    is_settled: bool,
}

/// The load did not end within its time limit.
#[derive(Debug)]
struct LoadTimedOut(Duration);

/// The load returned the login of another key.
#[derive(Debug)]
struct ForeignLogin;

/// The load panicked, or its runtime has shut down.
#[derive(Debug)]
struct LoadInterrupted;

/// Starts a load in a task of its own, so that no caller can cancel it.
pub(super) fn start<K, C>(
    registry: &Arc<Registry<K, C>>,
    key: K,
    opening: Arc<Opening<C>>,
    load: Arc<LoadFn<K, C>>,
    runtime: &Handle,
) where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    C: Credential,
{
    let guard = LoadGuard { registry: registry.clone(), key, opening, is_settled: false };
    // If the runtime is shutting down, `spawn` drops the task, and the guard settles the opening.
    drop(runtime.spawn(guard.run(load)));
}

fn load_failed(cause: impl Into<BoxError>) -> Error {
    Error::caused(ErrorKind::LoadFailed, Some(cause.into().into()), None)
}

// === impl Registry ===

impl<K, C> Registry<K, C>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    C: Credential,
{
    /// Finds the session of a key, or makes it, or joins its load.
    pub(super) fn look_up(self: &Arc<Self>, key: &K) -> Result<Lookup<C>, Error> {
        if let Some(found) = self.find(key) {
            return Ok(found);
        }
        let Some(load) = &self.settings().load else { return self.insert_new(key) };
        // Everything that can fail or panic comes before the entry: an entry without a load would
        // never open.
        let runtime = Handle::try_current().map_err(|_| Error::no_runtime())?;
        let (owned, opening) = (key.clone(), Arc::new(Opening::new()));
        if let Some(found) = self.insert(key, Slot::Opening(opening.clone()), Tier::Guest)? {
            return Ok(found);
        }
        start(self, owned, opening.clone(), load.clone(), &runtime);
        Ok(Lookup::Opening(opening))
    }
}

// === impl LoadGuard ===

impl<K, C> LoadGuard<K, C>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    C: Credential,
{
    async fn run(mut self, load: Arc<LoadFn<K, C>>) {
        let settings = self.registry.settings();
        let limit = settings.load_timeout;
        // The user's function runs inside the time limit, and inside this task.
        let load = time::timeout(limit, async { load(self.key.clone()).await });
        let session = match load.await {
            Ok(Ok(Some((owner, _)))) if owner != self.key => Err(load_failed(ForeignLogin)),
            Ok(Ok(found)) => {
                let session = settings.make(&self.key);
                if let Some((_, credential)) = found {
                    session.login(credential);
                }
                Ok(session)
            }
            Ok(Err(error)) => Err(load_failed(error)),
            Err(_) => Err(load_failed(LoadTimedOut(limit))),
        };
        self.settle(session);
    }

    fn settle(&mut self, outcome: Result<Session<C>, Error>) {
        self.is_settled = true;
        self.registry.opened(&self.key, &self.opening, outcome);
    }
}

impl<K, C> Drop for LoadGuard<K, C>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    C: Credential,
{
    fn drop(&mut self) {
        if !self.is_settled {
            self.settle(Err(load_failed(LoadInterrupted)));
        }
    }
}

// === impl LoadTimedOut ===

impl fmt::Display for LoadTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the load did not end within {:?}", self.0)
    }
}

impl error::Error for LoadTimedOut {}

// === impl ForeignLogin ===

impl fmt::Display for ForeignLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the load returned the login of another key")
    }
}

impl error::Error for ForeignLogin {}

// === impl LoadInterrupted ===

impl fmt::Display for LoadInterrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the load panicked, or its runtime has shut down")
    }
}

impl error::Error for LoadInterrupted {}
