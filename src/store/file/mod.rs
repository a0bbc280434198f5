//! A store in a directory: one record, one lease and two lock files for each name.

mod directory;
mod lease;
mod record;
mod store;

pub use store::File;
