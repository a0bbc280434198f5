use retry::CloneAndRetry;
use tower::{BoxError, ServiceBuilder, retry::RetryLayer};
use tower_http::auth::AddAuthorizationLayer;

use crate::{
    peer::{Client, Peer, World},
    stack::{self, Outbound, Stack, UpstreamService},
    upstream::Upstream,
};

// The policy of the bench `overhead`.
#[path = "../../../support/retry.rs"]
mod retry;

/// A stack of Tower's own layers. It replays, and cannot refresh.
pub(crate) struct ByHand;

// === impl ByHand ===

impl Peer for ByHand {
    const CRATE: &'static str = "tower";
    const PART: &'static str = "`Retry` over tower-http's `AddAuthorization`";

    type Request = Outbound;

    fn request() -> Outbound {
        stack::request()
    }

    async fn client(world: &World) -> Result<impl Client<Outbound>, BoxError> {
        let issued = world.issuer.issue().await;
        let service = ServiceBuilder::new()
            .layer(RetryLayer::new(CloneAndRetry::once()))
            .layer(AddAuthorizationLayer::bearer(&issued.token))
            .service(UpstreamService::new(world.upstream.clone()));
        Ok(Stack(service))
    }

    fn bare(upstream: Upstream) -> impl Client<Outbound> {
        Stack(UpstreamService::new(upstream))
    }
}
