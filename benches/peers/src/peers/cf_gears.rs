use toolkit_auth::{BearerAuthAutoRefreshLayer, OAuthClientConfig, SecretString, TokenProvider};
use toolkit_http::HttpError;
use tower::{BoxError, Layer};

use crate::{
    peer::{Client, Peer, World},
    stack::{self, Outbound, Stack, UpstreamService},
    upstream::Upstream,
};

/// The layer and its token provider, with their defaults. The provider fetches tokens from the
/// endpoint on loopback with client credentials.
pub(crate) struct CfGears;

// === impl CfGears ===

impl Peer for CfGears {
    const CRATE: &'static str = "cf-gears-toolkit-auth";
    const PART: &'static str = "`BearerAuthAutoRefreshLayer`";

    type Request = Outbound;

    fn request() -> Outbound {
        stack::request()
    }

    async fn client(world: &World) -> Result<impl Client<Outbound>, BoxError> {
        let tokens = TokenProvider::new(OAuthClientConfig {
            token_endpoint: Some(world.endpoint.token_url().parse()?),
            client_id: "peers".into(),
            client_secret: SecretString::new("s3cr3t"),
            ..OAuthClientConfig::default()
        })?;
        let upstream = UpstreamService::<HttpError>::with_error(world.upstream.clone());
        Ok(Stack(BearerAuthAutoRefreshLayer::new(tokens).layer(upstream)))
    }

    fn bare(upstream: Upstream) -> impl Client<Outbound> {
        Stack(UpstreamService::<HttpError>::with_error(upstream))
    }
}
