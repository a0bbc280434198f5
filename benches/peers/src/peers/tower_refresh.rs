use tower::{BoxError, Layer};
use tower_refresh::{Origins, RefreshContext, RefreshLayer, Session, Token, refresher_fn};

use crate::{
    issuer::LIFETIME,
    peer::{Client, Environment, Peer},
    stack::{self, ServiceClient, UpstreamRequest, UpstreamService},
    upstream::Upstream,
};

/// The layer of tower-refresh.
pub(crate) struct TowerRefresh;

// === impl TowerRefresh ===

impl Peer for TowerRefresh {
    const CRATE: &'static str = "tower-refresh";
    const PART: &'static str = "`RefreshLayer`";

    type Request = UpstreamRequest;

    fn request() -> UpstreamRequest {
        stack::request()
    }

    async fn client(environment: &Environment) -> Result<impl Client<UpstreamRequest>, BoxError> {
        let issuer = environment.issuer.clone();
        let refresher = refresher_fn(move |_: RefreshContext| {
            let issuer = issuer.clone();
            async move { Ok(Token::bearer(issuer.issue().await.token)?.with_expires_in(LIFETIME)) }
        });
        let session = Session::builder(refresher).acquire_on_demand(true).build();
        Ok(ServiceClient(
            RefreshLayer::new(session, Origins::any())
                .layer(UpstreamService::new(environment.upstream.clone())),
        ))
    }

    fn bare(upstream: Upstream) -> impl Client<UpstreamRequest> {
        ServiceClient(UpstreamService::new(upstream))
    }
}
