//! Stores.

mod codec;
mod contract;
mod error;
mod file;
mod frame;
mod memory;
mod stored;
pub mod testing;

pub use codec::{Codec, TokenCodec};
pub use contract::{Leased, Record, Store, Swapped, Version};
pub use error::{StoreError, StoreErrorKind};
pub use file::File;
pub use memory::Memory;
pub use stored::{NotSaved, OnOutage, Stored, StoredBuilder};
