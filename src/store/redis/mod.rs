//! A store in Redis or Valkey: one record and one lease for each name, and one subscription for a
//! process.

mod error;
mod hints;
mod keys;
mod link;
mod script;
mod store;
mod subscription;
mod switchboard;

pub use store::Redis;
