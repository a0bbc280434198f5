use bytes::Bytes;
use tower::{BoxError, ServiceBuilder, retry::RetryLayer};
use tower_http::auth::AddAuthorizationLayer;

use crate::{
    peer::{Client, Environment, Peer},
    stack::{self, ServiceClient, UpstreamRequest, UpstreamService},
    support::retry::CloneAndRetry,
    upstream::Upstream,
};

/// A stack of existing Tower middleware, which can replay and cannot refresh.
pub(crate) struct TowerRetry;

// === impl TowerRetry ===

impl Peer for TowerRetry {
    const CRATE: &'static str = "tower";
    const PART: &'static str = "`Retry` over tower-http's `AddAuthorization`";
    const REFRESHES: bool = false;

    type Request = UpstreamRequest;
    type Upload = UpstreamRequest;

    fn request() -> UpstreamRequest {
        stack::request()
    }

    fn upload(content: Bytes) -> UpstreamRequest {
        stack::upload(content)
    }

    async fn client(environment: &Environment) -> Result<impl Client<UpstreamRequest>, BoxError> {
        let issued = environment.issuer.issue().await?;
        let service = ServiceBuilder::new()
            .layer(RetryLayer::new(CloneAndRetry::once()))
            .layer(AddAuthorizationLayer::bearer(&issued.token))
            .service(UpstreamService::new(environment.upstream.clone()));
        Ok(ServiceClient(service))
    }

    fn bare(upstream: Upstream) -> impl Client<UpstreamRequest> {
        ServiceClient(UpstreamService::new(upstream))
    }
}
