use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use oauth2::{
    AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError,
    TokenResponse, TokenUrl,
    basic::{BasicClient, BasicErrorResponse, BasicTokenResponse},
};
use tokio::time::timeout;
use tower_refresh::{BoxError, Token, credential::InvalidToken};
use url::Url;

/// The auth server, as a client sees it.
pub(super) struct Provider {
    client: BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>,
    http: Client<HttpConnector, Full<Bytes>>,
}

/// The addresses of an auth server, and a client that it knows.
#[derive(Clone)]
pub(crate) struct ProviderSettings {
    /// The page where browsers log in.
    pub(crate) authorization: String,
    /// The endpoint that issues tokens.
    pub(crate) token: String,
    /// The endpoint that revokes tokens.
    pub(crate) revocation: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) redirect_uri: String,
}

/// A login that a browser has begun. Only the browser has it, in a cookie, so that logins which are
/// begun and given up take no memory.
pub(super) struct PendingLogin {
    pub(super) state: CsrfToken,
    pub(super) verifier: PkceCodeVerifier,
}

/// A login that the auth server has begun and the back-end could not end.
#[derive(Debug)]
pub(super) enum LoginError {
    /// The auth server refuses the code or its verifier.
    Refused,
    /// The auth server does not answer, or not as it should.
    Unavailable,
}

type ExchangeError = RequestTokenError<std::io::Error, BasicErrorResponse>;

const ANSWER_LIMIT: usize = 64 * 1024;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

// === impl Provider ===

impl Provider {
    pub(super) fn new(settings: &ProviderSettings) -> Result<Self, BoxError> {
        let client = BasicClient::new(ClientId::new(settings.client_id.clone()))
            .set_client_secret(ClientSecret::new(settings.client_secret.clone()))
            .set_auth_uri(AuthUrl::new(settings.authorization.clone())?)
            .set_token_uri(TokenUrl::new(settings.token.clone())?)
            .set_redirect_uri(RedirectUrl::new(settings.redirect_uri.clone())?);
        Ok(Self { client, http: Client::builder(TokioExecutor::new()).build_http() })
    }

    /// Begins a login. Returns the address that the browser has to visit.
    pub(super) fn begin(&self) -> (Url, PendingLogin) {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let state = || CsrfToken::new_random_len(32);
        let (url, state) = self.client.authorize_url(state).set_pkce_challenge(challenge).url();
        (url, PendingLogin { state, verifier })
    }

    /// Exchanges the code of a login for its first token.
    pub(super) async fn finish(
        &self,
        code: String,
        verifier: PkceCodeVerifier,
    ) -> Result<Token, LoginError> {
        let exchange = self.client.exchange_code(AuthorizationCode::new(code));
        let send = |request| send(self.http.clone(), request);
        let exchange = exchange.set_pkce_verifier(verifier).request_async(&send);
        let answer = timeout(ANSWER_TIMEOUT, exchange).await;
        let answer = answer.map_err(|_| LoginError::Unavailable)??;
        token(&answer).map_err(|_| LoginError::Unavailable)
    }
}

/// The answer of a token endpoint as a credential.
fn token(answer: &BasicTokenResponse) -> Result<Token, InvalidToken> {
    let mut token = Token::bearer(answer.access_token().secret())?;
    if let Some(refresh_token) = answer.refresh_token() {
        token = token.with_refresh_token(refresh_token.secret().as_str());
    }
    if let Some(lifetime) = answer.expires_in() {
        token = token.with_expires_in(lifetime);
    }
    Ok(token)
}

/// Sends a request of the crate `oauth2`.
async fn send(
    http: Client<HttpConnector, Full<Bytes>>,
    request: HttpRequest,
) -> Result<HttpResponse, std::io::Error> {
    let response = http.request(request.map(Full::from)).await.map_err(std::io::Error::other)?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_LIMIT).collect().await.map_err(std::io::Error::other)?;
    Ok(HttpResponse::from_parts(head, body.to_bytes().into()))
}

// === impl LoginError ===

impl From<ExchangeError> for LoginError {
    fn from(error: ExchangeError) -> Self {
        match error {
            RequestTokenError::ServerResponse(_) => Self::Refused,
            _ => Self::Unavailable,
        }
    }
}
