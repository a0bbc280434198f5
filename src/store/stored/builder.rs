use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use crate::{
    credential::token::Token,
    store::{
        error::StoreError,
        stored::{OnOutage, settings::DriverSettings},
    },
};

/// Configures a [`Stored`](crate::store::Stored). Made by
/// [`Stored::builder`](crate::store::Stored::builder).
#[must_use]
pub struct StoredBuilder<R, S, C = Token> {
    pub(super) name: Arc<str>,
    pub(super) settings: DriverSettings<C>,
    types: PhantomData<fn() -> (R, S)>,
}

const LEAST: Duration = Duration::from_millis(1);
const MOST: Duration = Duration::from_secs(60 * 60);

// === impl StoredBuilder ===

impl<R, S, C> StoredBuilder<R, S, C> {
    pub(super) fn new(name: Arc<str>, settings: DriverSettings<C>) -> Self {
        Self { name, settings, types: PhantomData }
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
    /// mid-exchange, the others wait for the rest of it. Keep it above twice the
    /// [`operation_timeout`](Self::operation_timeout): a slow store may take that long between the
    /// lease and the exchange.
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

    /// Runs when a credential could not be saved by several attempts. The driver goes on trying. A
    /// panic of the hook is caught.
    ///
    /// The session uses the credential, and no other process knows of it: if this one dies now, a
    /// rotated refresh token is lost.
    pub fn on_save_error(mut self, hook: impl Fn(&StoreError) + Send + Sync + 'static) -> Self {
        self.settings.on_save_error = Some(Box::new(hook));
        self
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
