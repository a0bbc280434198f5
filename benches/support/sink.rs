//! A store that takes no memory.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use tower_refresh::{
    refresher::BoxFuture,
    store::{Leased, Record, Store, StoreError, Swapped, Version},
};

/// A store that acknowledges everything, and has nothing.
#[derive(Default)]
pub(crate) struct Sink(AtomicU64);

// === impl Sink ===

impl Store for Sink {
    fn load<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn swap<'a>(
        &'a self,
        _: &'a str,
        _: Option<Version>,
        _: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Swapped, StoreError>> {
        let version = Version::from_u64(self.0.fetch_add(1, Ordering::Relaxed));
        Box::pin(async move { Ok(Swapped::Done(version)) })
    }

    fn lease<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: Duration,
    ) -> BoxFuture<'a, Result<Leased, StoreError>> {
        Box::pin(async { Ok(Leased::Held) })
    }
}
