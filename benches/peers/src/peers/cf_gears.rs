use bytes::Bytes;
use toolkit_auth::{BearerAuthAutoRefreshLayer, OAuthClientConfig, SecretString, TokenProvider};
use toolkit_http::HttpError;
use tower::{BoxError, Layer};

use crate::{
    peer::{Client, Environment, Peer},
    stack::{self, ServiceClient, UpstreamRequest, UpstreamService},
    upstream::Upstream,
};

/// The layer with its defaults, and the provider that it requires. The provider fetches tokens with
/// client credentials from the endpoint on loopback.
pub(crate) struct CfGears;

// === impl CfGears ===

impl Peer for CfGears {
    const CRATE: &'static str = "cf-gears-toolkit-auth";
    const PART: &'static str = "`BearerAuthAutoRefreshLayer`";
    const ASKS_IN_PROCESS: bool = false;

    type Request = UpstreamRequest;
    type Upload = UpstreamRequest;

    fn request() -> UpstreamRequest {
        stack::request()
    }

    fn upload(content: Bytes) -> UpstreamRequest {
        stack::upload(content)
    }

    async fn client(environment: &Environment) -> Result<impl Client<UpstreamRequest>, BoxError> {
        let tokens = TokenProvider::new(OAuthClientConfig {
            token_endpoint: Some(environment.endpoint.token_url().parse()?),
            client_id: "peers".into(),
            client_secret: SecretString::new("s3cr3t"),
            ..OAuthClientConfig::default()
        })?;
        let upstream = UpstreamService::<HttpError>::with_error(environment.upstream.clone());
        Ok(ServiceClient(BearerAuthAutoRefreshLayer::new(tokens).layer(upstream)))
    }

    fn bare(upstream: Upstream) -> impl Client<UpstreamRequest> {
        ServiceClient(UpstreamService::<HttpError>::with_error(upstream))
    }
}
