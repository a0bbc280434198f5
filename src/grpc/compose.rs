use crate::{
    credential::contract::Credential, detect::GrpcUnauthenticated, middleware::layer::RefreshLayer,
    session::handle::Session,
};

/// A [`RefreshLayer`] as gRPC needs it: it [detects](GrpcUnauthenticated) gRPC's rejections, and
/// [exposes the stamp](RefreshLayer::expose_stamp) by which a
/// [`TrailersLayer`](crate::grpc::TrailersLayer) below knows which calls are the session's.
///
/// ```
/// use tower_refresh::{detect::GrpcUnauthenticated, grpc, RefreshLayer, Session};
///
/// # fn compose(session: Session) {
/// let layer = grpc::refresh_layer(session.clone()).replay_limit(1024 * 1024);
/// # drop(layer);
/// // is the same as
/// let layer = RefreshLayer::new(session)
///     .detect(GrpcUnauthenticated)
///     .expose_stamp(true)
///     .replay_limit(1024 * 1024);
/// # drop(layer) }
/// ```
pub fn refresh_layer<C: Credential>(session: Session<C>) -> RefreshLayer<C> {
    RefreshLayer::new(session).detect(GrpcUnauthenticated).expose_stamp(true)
}
