use http::StatusCode;
use tower::BoxError;

use crate::{
    endpoint::Endpoint,
    issuer::{FirstToken, Issuer},
    upstream::Upstream,
};

/// A crate or a recipe that keeps a credential fresh.
pub(crate) trait Peer: 'static {
    /// The name of the crate in `Cargo.lock`.
    const CRATE: &'static str;
    /// The part of the crate that is used, and how.
    const PART: &'static str;

    /// The request type of its clients, which is not `http::Request` for every peer.
    type Request: Send + 'static;

    /// A request before the peer adds its headers.
    fn request() -> Self::Request;

    /// A client whose clones share their token. It gets the first token here or with the first
    /// request.
    async fn client(environment: &Environment) -> Result<impl Client<Self::Request>, BoxError>;

    /// A client of the same upstream without the peer.
    fn bare(upstream: Upstream) -> impl Client<Self::Request>;
}

/// A client of the upstream.
pub(crate) trait Client<R>: Clone + Send + 'static {
    /// Sends a request and returns the status that the caller gets.
    fn send(&mut self, request: R) -> impl Future<Output = Result<StatusCode, BoxError>> + Send;
}

/// The upstream and the issuer of one run.
pub(crate) struct Environment {
    pub(crate) upstream: Upstream,
    pub(crate) issuer: Issuer,
    /// The issuer over HTTP, for peers that fetch tokens themselves.
    pub(crate) endpoint: Endpoint,
}

// === impl Environment ===

impl Environment {
    /// Creates an upstream that delays its rejections until `herd` requests have arrived.
    pub(crate) async fn new(herd: usize, first: FirstToken) -> Result<Self, BoxError> {
        let issuer = Issuer::new(first);
        let endpoint = Endpoint::serve(issuer.clone()).await?;
        Ok(Self { upstream: Upstream::new(herd), issuer, endpoint })
    }
}
