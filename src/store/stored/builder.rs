use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    credential::{contract::Credential, token::Token},
    store::{
        codec::Codec,
        contract::Store,
        error::StoreError,
        stored::{OnOutage, desk::Desk, driver::Stored},
    },
};

/// Configures a [`Stored`]. Made by [`Stored::builder`].
#[must_use]
pub struct StoredBuilder<R, S, C = Token> {
    refresher: R,
    store: S,
    name: Arc<str>,
    settings: Settings<C>,
}

pub(super) struct Settings<C> {
    pub(super) codec: Arc<dyn Codec<C>>,
    pub(super) on_outage: OnOutage,
    pub(super) operation_timeout: Duration,
    pub(super) lease_ttl: Duration,
    pub(super) patience: Duration,
    pub(super) clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    pub(super) on_save_error: Option<Arc<Report>>,
}

type Report = dyn Fn(&StoreError) + Send + Sync;

const LEAST: Duration = Duration::from_millis(1);
const MOST: Duration = Duration::from_secs(60 * 60);

// === impl StoredBuilder ===

impl<R, S, C> StoredBuilder<R, S, C> {
    pub(super) fn new(refresher: R, store: S, name: Arc<str>, codec: Arc<dyn Codec<C>>) -> Self {
        let settings = Settings {
            codec,
            on_outage: OnOutage::Wait,
            operation_timeout: Duration::from_secs(3),
            lease_ttl: Duration::from_secs(10),
            patience: Duration::from_secs(15),
            clock: Arc::new(SystemTime::now),
            on_save_error: None,
        };
        Self { refresher, store, name, settings }
    }

    /// Decides what a refresh does while the store fails or hangs. Default: [`OnOutage::Wait`].
    pub fn on_outage(mut self, on_outage: OnOutage) -> Self {
        self.settings.on_outage = on_outage;
        self
    }

    /// How long one operation of the store may take. Default: 3 seconds. Clamped to at least
    /// 1 millisecond and at most 1 hour.
    pub fn operation_timeout(mut self, limit: Duration) -> Self {
        self.settings.operation_timeout = limit.clamp(LEAST, MOST);
        self
    }

    /// How long the lease lasts without being extended. Default: 10 seconds. Clamped to at least
    /// 1 millisecond and at most 1 hour.
    ///
    /// The driver extends it three times within that time. After the death of a replica in
    /// mid-exchange, the others wait for the rest of it.
    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.settings.lease_ttl = ttl.clamp(LEAST, MOST);
        self
    }

    /// How long a refresh waits for another replica's. Default: 15 seconds. Then it fails as
    /// transient.
    ///
    /// Keep it below the session's
    /// [`refresh_timeout`](crate::session::SessionBuilder::refresh_timeout), which counts as an
    /// ambiguous failure.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.settings.patience = patience.min(MOST);
        self
    }

    /// Reads the time from another clock than [`SystemTime::now`], to tell whether a stored
    /// credential has expired. Give the session the same one.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// Runs when a credential could not be saved by several attempts. The driver goes on trying.
    ///
    /// The session uses the credential, and no other process knows of it: if this one dies now, a
    /// rotated refresh token is lost.
    pub fn on_save_error(mut self, hook: impl Fn(&StoreError) + Send + Sync + 'static) -> Self {
        self.settings.on_save_error = Some(Arc::new(hook));
        self
    }
}

impl<R, S: Store, C: Credential + Clone> StoredBuilder<R, S, C> {
    /// Makes the driver.
    pub fn build(self) -> Stored<R, S, C> {
        Stored::from_parts(self.refresher, Desk::new(self.store, self.name, self.settings))
    }
}

impl<R, S, C> fmt::Debug for StoredBuilder<R, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredBuilder")
            .field("on_outage", &self.settings.on_outage)
            .field("operation_timeout", &self.settings.operation_timeout)
            .field("lease_ttl", &self.settings.lease_ttl)
            .field("patience", &self.settings.patience)
            .finish_non_exhaustive()
    }
}
