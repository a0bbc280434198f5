//! tonic-web: gRPC-Web over HTTP/1.1, below the one layer.
//!
//! ```sh
//! cargo add tower-refresh --features grpc
//! cargo add tonic tonic-web tower
//! cargo add hyper-util --features client-legacy,http1,tokio
//! ```

use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tonic::body::Body;
use tonic_web::{GrpcWebCall, GrpcWebClientLayer, GrpcWebClientService};
use tower::ServiceBuilder;
use tower_refresh::{
    Origin, Session,
    grpc::{GrpcRefresh, GrpcRefreshLayer},
};

pub type Channel =
    GrpcRefresh<GrpcWebClientService<Client<HttpConnector, GrpcWebCall<Body>>>, Body>;

/// Generated clients take this channel: `GreeterClient::with_origin(channel, base)`.
pub fn channel(session: Session, api: Origin) -> Channel {
    ServiceBuilder::new()
        .layer(GrpcRefreshLayer::new(session, api, Body::new))
        .layer(GrpcWebClientLayer::new())
        .service(Client::builder(TokioExecutor::new()).build_http())
}
