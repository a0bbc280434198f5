//! Authenticated encryption around any store.

mod error;
mod key;
mod store;

pub use error::SealError;
pub use key::SealKey;
pub use store::Sealed;
