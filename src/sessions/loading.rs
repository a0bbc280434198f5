use std::{error, fmt, hash::Hash, sync::Arc, time::Duration};

use tokio::{runtime::Handle, time};

use crate::{
    credential::contract::Credential,
    error::{BoxError, Error, ErrorKind},
    sessions::{
        opening::Opening,
        registry::Registry,
        source::{Opened, Source},
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

/// The load panicked, or its runtime has shut down.
#[derive(Debug)]
struct LoadInterrupted;

/// Starts a load in a task of its own, so that no caller can cancel it.
pub(super) fn start<K, C>(
    registry: &Arc<Registry<K, C>>,
    key: K,
    opening: Arc<Opening<C>>,
    source: Arc<dyn Source<K, C>>,
    runtime: &Handle,
) where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    C: Credential,
{
    let guard = LoadGuard { registry: registry.clone(), key, opening, is_settled: false };
    // If the runtime is shutting down, `spawn` drops the task, and the guard settles the opening.
    drop(runtime.spawn(guard.run(source)));
}

pub(super) fn storage_failed(cause: impl Into<BoxError>) -> Error {
    Error::caused(ErrorKind::StorageFailed, Some(cause.into().into()), None)
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
        let Some(source) = &self.settings().source else { return self.insert_new(key) };
        // Everything that can fail or panic comes before the entry: an entry without a load would
        // never open.
        let runtime = Handle::try_current().map_err(|_| Error::no_runtime())?;
        let (owned, opening) = (key.clone(), Arc::new(Opening::new()));
        if let Some(found) = self.insert(key, Slot::Opening(opening.clone()), Tier::Guest)? {
            return Ok(found);
        }
        start(self, owned, opening.clone(), source.clone(), &runtime);
        Ok(Lookup::Opening(opening))
    }
}

// === impl LoadGuard ===

impl<K, C> LoadGuard<K, C>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    C: Credential,
{
    async fn run(mut self, source: Arc<dyn Source<K, C>>) {
        let limit = self.registry.settings().load_timeout;
        let opened = self.registry.settings().make(&self.key);
        let load = opened.load(&*source, self.key.clone());
        let outcome = match time::timeout(limit, load).await {
            Ok(Ok(())) => Ok(opened),
            Ok(Err(error)) => Err(storage_failed(error)),
            Err(_) => Err(storage_failed(LoadTimedOut(limit))),
        };
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Result<Opened<C>, Error>) {
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
            self.settle(Err(storage_failed(LoadInterrupted)));
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

// === impl LoadInterrupted ===

impl fmt::Display for LoadInterrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the load panicked, or its runtime has shut down")
    }
}

impl error::Error for LoadInterrupted {}
