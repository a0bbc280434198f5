use http::StatusCode;
use tower::BoxError;

use crate::{endpoint::Endpoint, issuer::Issuer, upstream::Upstream};

/// A way to keep a credential fresh.
pub(crate) trait Peer: 'static {
    /// The crate, as `Cargo.lock` names it.
    const CRATE: &'static str;
    /// The part of the crate, or the way to use it.
    const PART: &'static str;

    /// The request type of its clients, which is not `http::Request` for all peers.
    type Request: Send + 'static;

    /// A request without headers of the peer.
    fn request() -> Self::Request;

    /// A client whose clones share a token. The peer acquires the first token here or with the
    /// first request.
    async fn client(world: &World) -> Result<impl Client<Self::Request>, BoxError>;

    /// A client of the same upstream without the peer.
    fn bare(upstream: Upstream) -> impl Client<Self::Request>;
}

pub(crate) trait Client<R>: Clone + Send + 'static {
    /// Sends a request and returns the status that the caller gets.
    fn send(&mut self, request: R) -> impl Future<Output = Result<StatusCode, BoxError>> + Send;
}

/// The servers of a client, made anew for each run.
pub(crate) struct World {
    pub(crate) upstream: Upstream,
    pub(crate) issuer: Issuer,
    /// The issuer over HTTP, for peers that fetch tokens themselves.
    pub(crate) endpoint: Endpoint,
}

/// The expiry of the token that the issuer issues before a herd begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// The token is valid for an hour.
    Good,
    /// The token has expired.
    Expired,
}

// === impl World ===

impl World {
    /// Makes servers whose upstream holds back its rejections until there are `herd` of them.
    pub(crate) async fn new(herd: usize, first: First) -> Result<Self, BoxError> {
        let issuer = Issuer::new(first);
        let endpoint = Endpoint::serve(issuer.clone()).await?;
        Ok(Self { upstream: Upstream::new(herd), issuer, endpoint })
    }
}
