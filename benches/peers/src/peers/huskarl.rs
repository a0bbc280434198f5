use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{Empty, Full};
use huskarl::{
    authorizer::{HttpAuthorizer, parse_challenges},
    cache::{InMemoryTokenCache, Recovery, TokenError, TokenSource},
    core::{
        Error, OAuthErrorCode, RetryAdvice,
        platform::{MaybeSendBoxFuture, SystemTime},
    },
    grant::core::{RawTokenResponse, TokenResponse},
};
use tower::{BoxError, Service};

use crate::{
    endpoint,
    issuer::{IssueError, Issuer},
    peer::{Client, Environment, Peer},
    stack::{self, ServiceClient, UpstreamRequest, UpstreamService},
    upstream::Upstream,
};

/// The cache and the authorizer, with the loop of the crate's example: a 401 with `invalid_token`
/// is sent again once.
pub(crate) struct Huskarl;

#[derive(Clone)]
struct Authorized {
    authorizer: Arc<HttpAuthorizer>,
    upstream: UpstreamService,
}

/// The issuer in place of a grant.
struct Source {
    issuer: Issuer,
    /// The logout has removed the refresh token.
    is_cleared: AtomicBool,
}

/// The wait of the crate's example before it asks again.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);

// === impl Huskarl ===

impl Peer for Huskarl {
    const CRATE: &'static str = "huskarl";
    const PART: &'static str = "`HttpAuthorizer`, with the loop of its example";

    type Request = UpstreamRequest;
    type Upload = UpstreamRequest;

    fn request() -> UpstreamRequest {
        stack::request()
    }

    fn upload(content: Bytes) -> UpstreamRequest {
        stack::upload(content)
    }

    async fn client(environment: &Environment) -> Result<impl Client<UpstreamRequest>, BoxError> {
        let source =
            Source { issuer: environment.issuer.clone(), is_cleared: AtomicBool::new(false) };
        let cache = Arc::new(InMemoryTokenCache::builder().source(source).build());
        environment.account.offer_log_out({
            let cache = cache.clone();
            || Box::pin(async move { drop(cache.logout().await) })
        });
        let authorizer = HttpAuthorizer::builder().cache(cache).build();
        let upstream = UpstreamService::new(environment.upstream.clone());
        Ok(Authorized { authorizer: Arc::new(authorizer), upstream })
    }

    fn bare(upstream: Upstream) -> impl Client<UpstreamRequest> {
        ServiceClient(UpstreamService::new(upstream))
    }
}

// === impl Authorized ===

impl Authorized {
    /// The headers, asked for once more where the cache advises it, as in the crate's example.
    async fn headers(&self, method: &Method, uri: &Uri) -> Result<HeaderMap, TokenError> {
        match self.authorizer.get_headers(method, uri).await {
            Err(error) if let Recovery::Retry { after } = error.recovery() => {
                tokio::time::sleep(after.unwrap_or(DEFAULT_RETRY)).await;
                self.authorizer.get_headers(method, uri).await
            }
            result => result,
        }
    }

    async fn attempt(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Empty<Bytes>>, BoxError> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        request.headers_mut().extend(self.headers(&method, &uri).await?);
        let response = self.upstream.call(request).await?;
        self.authorizer.process_response(&uri, response.headers());
        Ok(response)
    }
}

impl Client<UpstreamRequest> for Authorized {
    async fn send(&mut self, request: UpstreamRequest) -> Result<StatusCode, BoxError> {
        let response = self.attempt(request.clone()).await?;
        let is_invalid = response.status() == StatusCode::UNAUTHORIZED
            && parse_challenges(response.headers())
                .iter()
                .any(|challenge| challenge.error() == Some(OAuthErrorCode::InvalidToken));
        if !is_invalid {
            return Ok(response.status());
        }
        Ok(self.attempt(request).await?.status())
    }
}

// === impl Source ===

impl TokenSource for Source {
    fn token(&self) -> MaybeSendBoxFuture<'_, Result<Arc<TokenResponse>, TokenError>> {
        Box::pin(async {
            if self.is_cleared.load(Ordering::Acquire) {
                return Err(Error::new(RetryAdvice::No, IssueError::Refused).into());
            }
            let issued = self.issuer.issue().await.map_err(|error| {
                let advice = match error {
                    IssueError::Unavailable => RetryAdvice::Retry { after: None },
                    IssueError::Refused => RetryAdvice::No,
                };
                Error::new(advice, error)
            })?;
            let received_at = SystemTime::now() - Duration::ZERO;
            let answer: RawTokenResponse =
                serde_json::from_str(&endpoint::token(&issued)).expect("the answer is JSON");
            let response = answer.into_token_response(None, received_at);
            Ok(Arc::new(response.expect("the answer has a token")))
        })
    }

    fn clear(&self) -> MaybeSendBoxFuture<'_, Result<(), Error>> {
        self.is_cleared.store(true, Ordering::Release);
        Box::pin(async { Ok(()) })
    }
}
