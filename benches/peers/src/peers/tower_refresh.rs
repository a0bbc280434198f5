use tower::{BoxError, Layer};
use tower_refresh::{Origins, RefreshContext, RefreshLayer, Session, Token, refresher_fn};

use crate::{
    issuer::LIFETIME,
    peer::{Client, Peer, World},
    stack::{self, Outbound, Stack, UpstreamService},
    upstream::Upstream,
};

/// This crate's layer.
pub(crate) struct TowerRefresh;

// === impl TowerRefresh ===

impl Peer for TowerRefresh {
    const CRATE: &'static str = "tower-refresh";
    const PART: &'static str = "`RefreshLayer`";

    type Request = Outbound;

    fn request() -> Outbound {
        stack::request()
    }

    async fn client(world: &World) -> Result<impl Client<Outbound>, BoxError> {
        let issuer = world.issuer.clone();
        let refresher = refresher_fn(move |_: RefreshContext| {
            let issuer = issuer.clone();
            async move { Ok(Token::bearer(issuer.issue().await.token)?.with_expires_in(LIFETIME)) }
        });
        let session = Session::builder(refresher).acquire_on_demand(true).build();
        Ok(Stack(
            RefreshLayer::new(session, Origins::any())
                .layer(UpstreamService::new(world.upstream.clone())),
        ))
    }

    fn bare(upstream: Upstream) -> impl Client<Outbound> {
        Stack(UpstreamService::new(upstream))
    }
}
