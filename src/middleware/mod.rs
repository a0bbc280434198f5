//! The path of one request: the layer, its service, and the future of a response.

pub(crate) mod binding;
pub(crate) mod detour;
pub mod extension;
pub mod future;
pub(crate) mod layer;
pub(crate) mod policy;
pub(crate) mod service;
pub(crate) mod snapshot;
