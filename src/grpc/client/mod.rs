//! One layer for a gRPC client: its settings, its service, and its response future.

mod convert;
mod future;
mod layer;
mod service;

pub use future::GrpcResponseFuture;
pub use layer::GrpcRefreshLayer;
pub use service::GrpcRefresh;
