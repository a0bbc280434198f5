//! tonic: one layer around its channel.
//!
//! ```sh
//! cargo add tower-refresh --features grpc
//! cargo add tonic tower
//! ```

use tonic::{
    body::Body,
    transport::{Channel, Endpoint},
};
use tower::Layer;
use tower_refresh::{
    Origin, Session,
    grpc::{GrpcRefresh, GrpcRefreshLayer},
};

/// Generated clients take this channel: `GreeterClient::new(channel)`. Compression is a setting of
/// the generated client, above the layer.
pub fn channel(session: Session, api: Origin, endpoint: Endpoint) -> GrpcRefresh<Channel, Body> {
    GrpcRefreshLayer::new(session, api, Body::new).layer(endpoint.connect_lazy())
}
