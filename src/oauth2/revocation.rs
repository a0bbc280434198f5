use std::{error, fmt, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    credential::token::Token,
    error::BoxError,
    exchange::{EndpointUrl, Exchange, RequestBody},
    oauth2::{
        answer::{RawAnswer, TokenAnswer},
        client_auth::ClientAuth,
        encode::Encoding,
        endpoint::{ANSWER_LIMIT, post},
        error::Failure,
    },
    refresher::BoxFuture,
    session::EndedLogin,
};

/// Revokes the last token of a login ([RFC 7009](https://www.rfc-editor.org/rfc/rfc7009)): its
/// refresh token, with which servers end the whole grant, or its access token if there is no
/// refresh token.
///
/// ```
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower_refresh::{Session, Token};
/// use tower_refresh::oauth2::{self, EndpointUrl, RefreshTokenGrant, Revocation, TokenEndpoint};
///
/// # fn build() -> Result<Session, tower::BoxError> {
/// let http = Client::builder(TokioExecutor::new()).build_http();
/// let me = oauth2::ClientAuth::basic("my-service", "s3cr3t");
/// let tokens = TokenEndpoint::new(http.clone(), EndpointUrl::new("https://login.example.com/token")?, me.clone());
/// let revocation = Revocation::new(http, EndpointUrl::new("https://login.example.com/revoke")?, me);
///
/// let session = Session::builder(RefreshTokenGrant::new(tokens))
///     .credential(Token::bearer("at-1")?.with_refresh_token("rt-1"))
///     .on_login_end(revocation.into_hook())
///     .build();
/// # Ok(session) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Revocation {
    exchange: Exchange,
    url: EndpointUrl,
    client: ClientAuth,
    timeout: Duration,
}

/// A token was not revoked, as far as is known. The source is the cause, or `None` after the time
/// limit.
#[derive(Debug)]
pub struct RevocationError(Option<BoxError>);

const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

// === impl Revocation ===

impl Revocation {
    /// The revocation endpoint at `url`, asked by `client` through `http`.
    pub fn new<S, B>(http: S, url: EndpointUrl, client: ClientAuth) -> Self
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self { exchange: Exchange::new(http), url, client, timeout: Duration::from_secs(10) }
    }

    /// Limits the time of a revocation. Default: 10 seconds. Clamped to at most 1 day.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit.min(MAX_TIMEOUT);
        self
    }

    /// A hook for [`SessionBuilder::on_login_end`](crate::session::SessionBuilder::on_login_end).
    /// The hook tries once and ignores a failure. A hook that has to know calls
    /// [`revoke`](Self::revoke).
    pub fn into_hook(
        self,
    ) -> impl Fn(EndedLogin) -> BoxFuture<'static, ()> + Send + Sync + 'static {
        let this = Arc::new(self);
        move |end| {
            let this = this.clone();
            Box::pin(async move {
                if let Some(token) = end.credential() {
                    let _ = this.revoke(token).await;
                }
            })
        }
    }

    /// Revokes the refresh token, or the access token if there is none.
    ///
    /// # Errors
    ///
    /// If the server refused, or did not answer within the time limit. A token that the server does
    /// not know counts as revoked.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time. The token may have been revoked by then.
    pub async fn revoke(&self, token: &Token) -> Result<(), RevocationError> {
        match tokio::time::timeout(self.timeout, self.ask(token)).await {
            Ok(revoked) => revoked.map_err(|cause| RevocationError(Some(cause))),
            Err(_) => Err(RevocationError(None)),
        }
    }

    async fn ask(&self, token: &Token) -> Result<(), BoxError> {
        let proof = self.client.prove().await?;
        let (hint, token) = match token.refresh_token() {
            Some(refresh_token) => ("refresh_token", refresh_token),
            None => ("access_token", token.access_token()),
        };
        let mut params = vec![("token", token), ("token_type_hint", hint)];
        params.extend(proof.params.iter().map(|(name, value)| (*name, value.expose())));
        let request = post(&self.url, Encoding::Form, proof.header, &params)?;
        let mut answer = self.exchange.send(request).await?;
        let status = answer.status();
        if status.is_success() {
            answer.skip().await;
            return Ok(());
        }
        let mut body = Vec::new();
        // An error code in the part that came is as good.
        let _ = answer.read(&mut body, ANSWER_LIMIT).await;
        let content = TokenAnswer::read(&RawAnswer::new(status, answer.headers(), &body));
        Err(Failure::refused(status, content.error()).into())
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation")
            .field("url", &self.url)
            .field("client", &self.client)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

// === impl RevocationError ===

impl fmt::Display for RevocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => "the token was not revoked",
            None => "the revocation took too long",
        })
    }
}

impl error::Error for RevocationError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.as_ref().map(|cause| &**cause as _)
    }
}
