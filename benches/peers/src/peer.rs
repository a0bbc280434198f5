use crate::{endpoint::Endpoint, issuer::Issuer, upstream::Upstream};
use http::StatusCode;
use tower::BoxError;

/// A way to keep a credential fresh.
pub(crate) trait Peer: 'static {
    /// The crate, as `Cargo.lock` names it.
    const CRATE: &'static str;
    /// Which of its parts, or which way to use it.
    const PART: &'static str;

    /// What its clients send: not every peer speaks in `http::Request`.
    type Request: Send + 'static;

    /// Without any headers of the peer's.
    fn request() -> Self::Request;

    /// A client whose clones share their token. Whether it acquires its first one here or with the
    /// first request is the peer's business.
    async fn client(world: &World) -> Result<impl Client<Self::Request>, BoxError>;

    /// The same upstream for the same requests, without the peer.
    fn bare(upstream: Upstream) -> impl Client<Self::Request>;
}

pub(crate) trait Client<R>: Clone + Send + 'static {
    /// Sends a request, and says what came back to the caller.
    fn send(&mut self, request: R) -> impl Future<Output = Result<StatusCode, BoxError>> + Send;
}

/// What a client meets. A new one for every run.
pub(crate) struct World {
    pub(crate) upstream: Upstream,
    pub(crate) issuer: Issuer,
    /// The issuer over HTTP, for peers that ask for nothing less.
    pub(crate) endpoint: Endpoint,
}

/// What the issuer says of the token that it issues before a herd begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// That it is good for an hour.
    Good,
    /// That it has expired.
    Expired,
}

// === impl World ===

impl World {
    /// With an upstream that holds back its rejections until there are `herd` of them.
    pub(crate) async fn new(herd: usize, first: First) -> Result<Self, BoxError> {
        let issuer = Issuer::new(first);
        let endpoint = Endpoint::serve(issuer.clone()).await?;
        Ok(Self { upstream: Upstream::new(herd), issuer, endpoint })
    }
}
