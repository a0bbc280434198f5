//! The path of one request: the layer and its service, the direct path of most requests, and the
//! detour of those that wait for a refresh or are replayed.

mod binding;
mod detour;
pub mod extension;
pub mod future;
mod instance;
pub(crate) mod layer;
mod outgoing;
pub(crate) mod per_request;
pub(crate) mod policy;
pub(crate) mod service;
mod snapshot;
pub(crate) mod source;
