use std::{
    error, fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use ::oauth2::{
    AccessToken, RefreshToken, RequestTokenError, RevocationUrl, StandardRevocableToken,
    basic::BasicRevocationErrorResponse,
};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    credential::token::Token,
    error::BoxError,
    oauth2::{
        client_auth::{ClientAuth, Inner},
        endpoint::ANSWER_LIMIT,
        error::Failure,
        form::Form,
        transport::{Call, Transport, over},
        url::EndpointUrl,
    },
    refresher::BoxFuture,
    session::EndedLogin,
};

/// Revokes what a login leaves behind ([RFC 7009](https://www.rfc-editor.org/rfc/rfc7009)): its
/// last refresh token, with which servers end the whole grant, or its access token if there is
/// none.
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
    transport: Arc<dyn Transport>,
    url: EndpointUrl,
    client: ClientAuth,
    timeout: Duration,
}

/// A token was not revoked, as far as is known.
#[derive(Debug)]
pub struct RevocationError(Option<Failure>);

const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// The `oauth2` crate takes no other scheme, and [`Call`] puts the real URL in its place, whose
/// scheme has been checked.
const PLACEHOLDER: &str = "https://revocation.invalid";

// === impl Revocation ===

impl Revocation {
    /// At the revocation endpoint at `url`, asked by `client` through `http`.
    pub fn new<S, B>(http: S, url: EndpointUrl, client: ClientAuth) -> Self
    where
        S: Service<Request<Form>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        Self { transport: over(http), url, client, timeout: Duration::from_secs(10) }
    }

    /// How long it may take. Default: 10 seconds. Clamped to at most 1 day.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit.min(MAX_TIMEOUT);
        self
    }

    /// A hook for [`SessionBuilder::on_login_end`](crate::session::SessionBuilder::on_login_end). It tries
    /// once. A hook of your own calls [`revoke`](Self::revoke) and sees what became of it.
    pub fn into_hook(
        self,
    ) -> impl Fn(EndedLogin) -> BoxFuture<'static, ()> + Send + Sync + 'static {
        let this = Arc::new(self);
        move |end| {
            let this = this.clone();
            Box::pin(async move {
                if let Some(token) = end.credential() {
                    // Nobody is there to be told.
                    let _ = this.revoke(token).await;
                }
            })
        }
    }

    /// Revokes the refresh token, or the access token if there is none.
    ///
    /// # Errors
    ///
    /// If it was refused, or not answered within the time limit. One that the server does not know
    /// counts as revoked.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; the token may have been revoked then.
    pub async fn revoke(&self, token: &Token) -> Result<(), RevocationError> {
        let revoked = tokio::time::timeout(self.timeout, self.ask(token)).await;
        revoked
            .map_err(|_| RevocationError(None))?
            .map_err(|failure| RevocationError(Some(failure)))
    }

    async fn ask(&self, token: &Token) -> Result<(), Failure> {
        let call = Call {
            transport: &*self.transport,
            uri: self.url.uri(),
            limit: ANSWER_LIMIT,
            connect_timeout: None,
            unsent_if: None,
            head: OnceLock::new(),
        };
        let inner: Inner = self.client.inner();
        let placeholder =
            RevocationUrl::new(PLACEHOLDER.to_owned()).map_err(|_| Failure::Unbuilt)?;
        let inner = inner.set_revocation_url(placeholder);
        let mut request = inner.revoke_token(revocable(token)).map_err(|_| Failure::Unbuilt)?;
        for (name, value) in self.client.params()? {
            request = request.add_extra_param(name, value);
        }
        let answer = request.request_async(&call).await;
        settle(answer, call)
    }
}

fn revocable(token: &Token) -> StandardRevocableToken {
    match token.refresh_token() {
        Some(refresh_token) => RefreshToken::new(refresh_token.to_owned()).into(),
        None => AccessToken::new(token.access_token().to_owned()).into(),
    }
}

fn settle(
    answer: Result<(), RequestTokenError<Failure, BasicRevocationErrorResponse>>,
    call: Call<'_>,
) -> Result<(), Failure> {
    match (answer, call.head.into_inner()) {
        // The body says nothing.
        (_, Some((status, _))) if status.is_success() => Ok(()),
        (Err(RequestTokenError::Request(failure)), _) => Err(failure),
        (Err(RequestTokenError::ServerResponse(refusal)), Some((status, _))) => {
            Err(Failure::refused(status, Some(refusal.error().as_ref())))
        }
        (_, Some((status, _))) => Err(Failure::refused(status, None)),
        (_, None) => Err(Failure::Unbuilt),
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
        self.0.as_ref().map(|failure| failure as _)
    }
}
