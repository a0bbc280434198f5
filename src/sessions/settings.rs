use std::{fmt, sync::Arc, time::Duration};

use crate::{
    credential::contract::Credential,
    error::BoxError,
    refresher::contract::BoxFuture,
    session::{SessionTemplate, handle::Session},
};

/// The settings of a registry.
pub(super) struct RegistrySettings<K, C> {
    pub(super) template: SessionTemplate<C>,
    pub(super) name: Option<Arc<NameFn<K>>>,
    pub(super) load: Option<Arc<LoadFn<K, C>>>,
    pub(super) load_timeout: Duration,
    pub(super) capacity: usize,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) lifetime: Option<Duration>,
}

/// The user's function that finds the login of a key.
pub(super) type LoadFn<K, C> =
    dyn Fn(K) -> BoxFuture<'static, Result<Option<(K, C)>, BoxError>> + Send + Sync;

type NameFn<K> = dyn Fn(&K) -> String + Send + Sync;

// === impl RegistrySettings ===

impl<K, C: Credential> RegistrySettings<K, C> {
    /// Makes the session of a key. Runs the user's code.
    pub(super) fn make(&self, key: &K) -> Session<C> {
        match &self.name {
            Some(name) => self.template.named(name(key)),
            None => self.template.session(),
        }
    }
}

impl<K, C> fmt::Debug for RegistrySettings<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrySettings")
            .field("template", &self.template)
            .field("loads", &self.load.is_some())
            .field("load_timeout", &self.load_timeout)
            .field("capacity", &self.capacity)
            .field("idle_timeout", &self.idle_timeout)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}
