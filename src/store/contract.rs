use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time;

use crate::{
    refresher::contract::BoxFuture,
    store::{error::StoreError, version::Version},
};

/// Where credentials are kept, for the next start and for other processes.
///
/// A store maps a name to a record. A compare-and-set on the record's [`Version`] decides which
/// writer wins. The lease only saves calls: a store whose leases are lost or ignored is slower and
/// still right.
///
/// The driver, [`Stored`](crate::store::Stored), gives each operation a deadline and drops its
/// future when that passes. The operation may take effect later nevertheless.
///
/// The checks of [`testing`](crate::store::testing) are the exact contract.
pub trait Store: Send + Sync + 'static {
    /// Reads the record of this name. `None` where there is none, or where it was deleted.
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>>;

    /// Writes `next` if the record still has the version `seen`. `seen: None` stands for "there is
    /// no record", and `next: None` deletes it.
    ///
    /// A new record has a greater version than every earlier one of this name, deleted records
    /// included. The answer to a deletion is the version that the deletion has used up.
    fn swap<'a>(
        &'a self,
        name: &'a str,
        seen: Option<Version>,
        next: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Swapped, StoreError>>;

    /// Takes the lease of this name, extends it for the same holder, or gives it up where `ttl` is
    /// zero. A lease ends by itself after its `ttl`, or sooner where the store cannot express that
    /// time. Giving up another holder's lease changes nothing.
    fn lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Leased, StoreError>>;

    /// Waits until the record may have another version than `seen`.
    ///
    /// The end of this future is a hint: it may be late, early or wrong. The default waits for half
    /// a second.
    fn changed<'a>(&'a self, name: &'a str, seen: Option<Version>) -> BoxFuture<'a, ()> {
        let _ = (name, seen);
        Box::pin(time::sleep(Duration::from_millis(500)))
    }
}

/// A stored record and its version.
///
/// `Debug` shows the length of the content.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    version: Version,
    bytes: Bytes,
}

/// The answer to [`Store::swap`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Swapped {
    /// The record was written, or deleted, with this version.
    Done(Version),
    /// The record did not have the expected version. This is what is there instead.
    Lost(Option<Record>),
}

/// The answer to [`Store::lease`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leased {
    /// The holder has the lease for its `ttl`, or has given it up.
    Held,
    /// Another holder has the lease, for this long at most unless it extends it.
    Busy(Duration),
}

// === impl Store ===

macro_rules! forward {
    ($($pointer:ident),*) => {$(
        impl<S: Store + ?Sized> Store for $pointer<S> {
            fn load<'a>(
                &'a self,
                name: &'a str,
            ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
                (**self).load(name)
            }

            fn swap<'a>(
                &'a self,
                name: &'a str,
                seen: Option<Version>,
                next: Option<Bytes>,
            ) -> BoxFuture<'a, Result<Swapped, StoreError>> {
                (**self).swap(name, seen, next)
            }

            fn lease<'a>(
                &'a self,
                name: &'a str,
                holder: &'a str,
                ttl: Duration,
            ) -> BoxFuture<'a, Result<Leased, StoreError>> {
                (**self).lease(name, holder, ttl)
            }

            fn changed<'a>(&'a self, name: &'a str, seen: Option<Version>) -> BoxFuture<'a, ()> {
                (**self).changed(name, seen)
            }
        }
    )*};
}

forward!(Arc, Box);

// === impl Record ===

impl Record {
    /// A record of this version.
    pub fn new(version: Version, bytes: impl Into<Bytes>) -> Self {
        Self { version, bytes: bytes.into() }
    }

    /// The version, to be expected by the next [`Store::swap`].
    pub fn version(&self) -> Version {
        self.version
    }

    /// The content.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("version", &self.version)
            .field("len", &self.bytes.len())
            .finish()
    }
}
