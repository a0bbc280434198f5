use std::sync::Mutex;

use bytes::Bytes;
use futures_util::future::BoxFuture;
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
    /// The request type of uploads.
    type Upload: Send + 'static;

    /// Whether the peer gets newer tokens at all.
    const REFRESHES: bool = true;
    /// The herd that makes the peer refresh.
    const REFRESHES_AFTER: FirstToken = FirstToken::Valid;
    /// Whether the peer's own code asks the issuer, in this process.
    const ASKS_IN_PROCESS: bool = true;
    /// The kind of body that its docs advise for an upload.
    const UPLOAD: &'static str = "in memory";

    /// A request before the peer adds its headers.
    fn request() -> Self::Request;

    /// A POST with this content.
    fn upload(content: Bytes) -> Self::Upload;

    /// A client whose clones share their token. It gets the first token here or with the first
    /// request.
    async fn client(
        environment: &Environment,
    ) -> Result<impl Client<Self::Request> + Client<Self::Upload>, BoxError>;

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
    /// The peer's operations for users, if it has some.
    pub(crate) account: Account,
}

/// The operations of a peer for the user at the keyboard. The peer sets those that it has.
#[derive(Default)]
pub(crate) struct Account {
    pub(crate) log_out: Mutex<Option<Operation>>,
    /// Logs in as another user, with [this token](crate::upstream::ANOTHER_USER).
    pub(crate) switch_user: Mutex<Option<Operation>>,
}

pub(crate) type Operation = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

// === impl Environment ===

impl Environment {
    /// Creates an upstream that delays its rejections until `herd` requests have arrived.
    pub(crate) async fn new(herd: usize, first: FirstToken) -> Result<Self, BoxError> {
        Self::of(Upstream::new(herd), Issuer::new(first)).await
    }

    pub(crate) async fn of(upstream: Upstream, issuer: Issuer) -> Result<Self, BoxError> {
        let endpoint = Endpoint::serve(issuer.clone()).await?;
        Ok(Self { upstream, issuer, endpoint, account: Account::default() })
    }
}

// === impl Account ===

impl Account {
    pub(crate) fn offer_log_out(
        &self,
        operation: impl FnOnce() -> BoxFuture<'static, ()> + Send + 'static,
    ) {
        *self.log_out.lock().expect("no thread panics with the lock") = Some(Box::new(operation));
    }

    pub(crate) fn offer_switch_user(
        &self,
        operation: impl FnOnce() -> BoxFuture<'static, ()> + Send + 'static,
    ) {
        let mut switch_user = self.switch_user.lock().expect("no thread panics with the lock");
        *switch_user = Some(Box::new(operation));
    }
}
