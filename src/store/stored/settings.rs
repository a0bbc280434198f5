use std::time::Duration;

use crate::{
    refresher::contract::Refresher,
    store::{codec::Codec, contract::Store, error::StoreError, stored::OnOutage},
};

/// The parts that a driver shares with all drivers that are made from it by name.
pub(super) struct DriverSettings<C> {
    pub(super) refresher: Box<dyn Refresher<C>>,
    pub(super) store: Box<dyn Store>,
    pub(super) codec: Box<dyn Codec<C>>,
    pub(super) on_outage: OnOutage,
    pub(super) operation_timeout: Duration,
    pub(super) lease_ttl: Duration,
    pub(super) patience: Duration,
    pub(super) on_save_error: Option<Box<Report>>,
}

/// The user's function that learns of a failed save.
type Report = dyn Fn(&StoreError) + Send + Sync;

// === impl DriverSettings ===

impl<C> DriverSettings<C> {
    pub(super) fn new(
        refresher: impl Refresher<C>,
        store: impl Store,
        codec: impl Codec<C>,
    ) -> Self {
        Self {
            refresher: Box::new(refresher),
            store: Box::new(store),
            codec: Box::new(codec),
            on_outage: OnOutage::Wait,
            operation_timeout: Duration::from_secs(3),
            lease_ttl: Duration::from_secs(10),
            patience: Duration::from_secs(15),
            on_save_error: None,
        }
    }
}
