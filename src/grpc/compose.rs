use crate::{
    credential::{contract::Credential, origin::Origin, origins::Origins},
    detect::GrpcUnauthenticated,
    middleware::layer::RefreshLayer,
    session::handle::Session,
};

/// Creates a [`RefreshLayer`] for a gRPC channel to `origin`.
///
/// The layer [detects](GrpcUnauthenticated) the rejections of gRPC, and
/// [exposes the stamp](RefreshLayer::expose_stamp) by which a
/// [`TrailersLayer`](crate::grpc::TrailersLayer) below recognises calls that carry the credential.
/// A generated client sends URIs without an authority, which the channel completes by its own
/// address. The layer has to be told that address: an origin that is `http://…` is the permission
/// to send the credential in cleartext.
///
/// ```
/// use tower_refresh::{
///     Origin, Origins, RefreshLayer, Session, detect::GrpcUnauthenticated, grpc,
/// };
///
/// # fn compose(session: Session) {
/// let api = Origin::from_static("https://api.example.com");
/// let layer = grpc::refresh_layer(session.clone(), api.clone()).replay_limit(1024 * 1024);
/// # drop(layer);
/// // The same, by its parts:
/// let layer = RefreshLayer::new(session, Origins::from(api.clone()).relative_to(api))
///     .detect(GrpcUnauthenticated)
///     .expose_stamp(true)
///     .replay_limit(1024 * 1024);
/// # drop(layer) }
/// ```
pub fn refresh_layer<C: Credential>(session: Session<C>, origin: Origin) -> RefreshLayer<C> {
    let origins = Origins::from(origin.clone()).relative_to(origin);
    RefreshLayer::new(session, origins).detect(GrpcUnauthenticated).expose_stamp(true)
}
