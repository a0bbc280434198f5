use std::{fmt, sync::Arc, time::Duration};

use crate::{
    credential::contract::Credential,
    session::SessionTemplate,
    sessions::source::{Opened, Source},
};

/// The settings of a registry.
pub(super) struct RegistrySettings<K, C> {
    pub(super) template: SessionTemplate<C>,
    pub(super) name: Option<Arc<NameFn<K>>>,
    pub(super) source: Option<Arc<dyn Source<K, C>>>,
    pub(super) load_timeout: Duration,
    pub(super) capacity: usize,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) lifetime: Option<Duration>,
}

type NameFn<K> = dyn Fn(&K) -> String + Send + Sync;

// === impl RegistrySettings ===

impl<K, C: Credential> RegistrySettings<K, C> {
    /// Makes the session of a key. Runs the user's code.
    pub(super) fn make(&self, key: &K) -> Opened<C> {
        let name = self.name.as_ref().map(|name| Arc::from(name(key)));
        match &self.source {
            Some(source) => source.make(key, &self.template, name),
            None => Opened::unsaved(&self.template, name),
        }
    }
}

impl<K, C> fmt::Debug for RegistrySettings<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrySettings")
            .field("template", &self.template)
            .field("has_source", &self.source.is_some())
            .field("load_timeout", &self.load_timeout)
            .field("capacity", &self.capacity)
            .field("idle_timeout", &self.idle_timeout)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}
