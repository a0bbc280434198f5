use std::{sync::Arc, time::Duration};

use crate::store::{codec::Codec, error::StoreError, stored::OnOutage};

/// The settings of a driver.
pub(super) struct DriverSettings<C> {
    pub(super) codec: Arc<dyn Codec<C>>,
    pub(super) on_outage: OnOutage,
    pub(super) operation_timeout: Duration,
    pub(super) lease_ttl: Duration,
    pub(super) patience: Duration,
    pub(super) on_save_error: Option<Arc<Report>>,
}

/// The user's function that learns of a failed save.
type Report = dyn Fn(&StoreError) + Send + Sync;

// === impl DriverSettings ===

impl<C> DriverSettings<C> {
    pub(super) fn new(codec: Arc<dyn Codec<C>>) -> Self {
        Self {
            codec,
            on_outage: OnOutage::Wait,
            operation_timeout: Duration::from_secs(3),
            lease_ttl: Duration::from_secs(10),
            patience: Duration::from_secs(15),
            on_save_error: None,
        }
    }
}
