use std::{error::Error, fmt, sync::Arc, time::Duration};

use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use http_body::Body;
use tower_service::Service;
use zeroize::Zeroizing;

use crate::{
    credential::token::Token,
    error::BoxError,
    exchange::{EndpointUrl, Exchange, RequestBody, retry_after},
    oauth2::{
        answer::{RawAnswer, TokenAnswer},
        classify::{Classify, DefaultClassify, Refusal},
        client_auth::ClientAuth,
        encode::Encoding,
        error::{Failure, TokenError},
    },
    refresher::context::RefreshContext,
};

/// A token endpoint and the request to it. [`RefreshTokenGrant`] and [`ClientCredentialsGrant`] are
/// made of one.
///
/// See the [module docs](crate::oauth2) for examples.
///
/// [`RefreshTokenGrant`]: crate::oauth2::RefreshTokenGrant
/// [`ClientCredentialsGrant`]: crate::oauth2::ClientCredentialsGrant
#[derive(Clone)]
#[must_use]
pub struct TokenEndpoint {
    exchange: Exchange,
    url: EndpointUrl,
    client: ClientAuth,
    scopes: Vec<String>,
    params: Vec<(String, String)>,
    encoding: Encoding,
    accepted_types: Vec<String>,
    read_answer: Arc<ReadAnswer>,
    classify: Arc<dyn Classify>,
    answer_limit: usize,
}

/// The user's reader for answers that differ from RFC 6749.
type ReadAnswer = dyn Fn(&RawAnswer<'_>) -> TokenAnswer + Send + Sync;

pub(super) const ANSWER_LIMIT: usize = 64 * 1024;

/// Makes a POST request with these parameters.
pub(super) fn post(
    url: &EndpointUrl,
    encoding: Encoding,
    authorization: Option<HeaderValue>,
    params: &[(&str, &str)],
) -> Result<Request<RequestBody>, Failure> {
    let request = Request::post(url.uri())
        .header(CONTENT_TYPE, encoding.content_type())
        .header(ACCEPT, "application/json")
        .body(RequestBody::from(encoding.encode(params)));
    let mut request = request.map_err(|_| Failure::Unbuilt)?;
    if let Some(value) = authorization {
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    Ok(request)
}

// === impl TokenEndpoint ===

impl TokenEndpoint {
    /// The token endpoint at `url`, asked by `client` through `http`.
    ///
    /// `http` is any HTTP client that is a Tower service. It must not follow redirects, because the
    /// body holds the refresh token. A client that uses the session itself is fine: requests are
    /// marked [`Anonymous`](crate::extension::Anonymous).
    pub fn new<S, B>(http: S, url: EndpointUrl, client: ClientAuth) -> Self
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self {
            exchange: Exchange::new(http),
            url,
            client,
            scopes: Vec::new(),
            params: Vec::new(),
            encoding: Encoding::Form,
            accepted_types: vec!["Bearer".to_owned()],
            read_answer: Arc::new(TokenAnswer::read),
            classify: Arc::new(DefaultClassify),
            answer_limit: ANSWER_LIMIT,
        }
    }

    /// Asks for one more scope. Default: none. The server then decides, and a refresh token keeps
    /// the scope that it has.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// Asks for a token for one more resource ([RFC 8707](https://www.rfc-editor.org/rfc/rfc8707)).
    pub fn resource(self, resource: impl Into<String>) -> Self {
        self.param("resource", resource)
    }

    /// Asks for a token for this audience, as Auth0 and others call it.
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.param("audience", audience)
    }

    /// Sends one more parameter. A parameter that this crate sends itself would be there twice, and
    /// servers refuse that.
    pub fn param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.params.push((name.into(), value.into()));
        self
    }

    /// Whether the parameters are sent as a JSON object in place of a form, for servers that take
    /// nothing else. Default: false.
    pub fn json_requests(mut self, is_json: bool) -> Self {
        self.encoding = if is_json { Encoding::Json } else { Encoding::Form };
        self
    }

    /// Takes tokens of one more type for bearer tokens, in any case: `bot` for Slack, `BearerToken`
    /// for Apigee. Default: `Bearer` only, which a token without a type is.
    ///
    /// ```
    /// # use tower_refresh::oauth2::TokenEndpoint;
    /// # fn with(endpoint: TokenEndpoint) -> TokenEndpoint {
    /// endpoint.accept_token_type("bot")
    /// # }
    /// ```
    pub fn accept_token_type(mut self, token_type: impl Into<String>) -> Self {
        self.accepted_types.push(token_type.into());
        self
    }

    /// Reads answers of another form than RFC 6749's. The closure sees every answer, also one with
    /// the status of a failure, and the default for an answer that it does not know is
    /// [`TokenAnswer::from_json`].
    ///
    /// ```
    /// use serde_json::Value;
    /// use tower_refresh::oauth2::{TokenAnswer, TokenEndpoint};
    ///
    /// # fn with(endpoint: TokenEndpoint) -> TokenEndpoint {
    /// // {"data":{"accessToken":"…","refreshToken":"…"}}
    /// endpoint.read_answer(|answer| {
    ///     let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    ///     match (&body["data"]["accessToken"], &body["data"]["refreshToken"]) {
    ///         (Value::String(access), Value::String(refresh)) => TokenAnswer::new()
    ///             .with_access_token(&**access)
    ///             .with_refresh_token(&**refresh),
    ///         _ => TokenAnswer::from_json(answer.body()),
    ///     }
    /// })
    /// # }
    /// ```
    pub fn read_answer<F>(mut self, read: F) -> Self
    where
        F: Fn(&RawAnswer<'_>) -> TokenAnswer + Send + Sync + 'static,
    {
        self.read_answer = Arc::new(read);
        self
    }

    /// Decides what a refusal says about the login. Default: [`DefaultClassify`].
    pub fn classify(mut self, classify: impl Classify) -> Self {
        self.classify = Arc::new(classify);
        self
    }

    /// Limits how many bytes of an answer are read. Default: 64 KiB. A longer answer counts as one
    /// that broke off.
    pub fn answer_limit(mut self, bytes: usize) -> Self {
        self.answer_limit = bytes;
        self
    }

    /// Limits the time until the HTTP client asks for the [`RequestBody`], which it does when it
    /// has a connection. Default: 10 seconds. After that the refresh has failed transiently, and
    /// nothing is sent.
    ///
    /// After the connection is made,
    /// [`SessionBuilder::refresh_timeout`](crate::session::SessionBuilder::refresh_timeout) limits
    /// the wait for the answer, and its end is ambiguous.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.exchange = self.exchange.connect_timeout(limit);
        self
    }

    /// Recognises more errors of the HTTP client that say that nothing was sent, as
    /// [`Exchange::unsent_if`] does. They are transient, and every other failure without an answer
    /// is ambiguous.
    pub fn unsent_if<F>(mut self, is_unsent: F) -> Self
    where
        F: Fn(&(dyn Error + 'static)) -> bool + Send + Sync + 'static,
    {
        self.exchange = self.exchange.unsent_if(is_unsent);
        self
    }

    /// Whether requests may use kept-alive connections, as [`Exchange::keep_alive`] says. Default:
    /// false.
    pub fn keep_alive(mut self, keeps_alive: bool) -> Self {
        self.exchange = self.exchange.keep_alive(keeps_alive);
        self
    }

    /// Sends the parameters of a grant, and reads the answer. Its token is a bearer token.
    pub(super) async fn ask(
        &self,
        grant: &[(&str, &str)],
        context: &RefreshContext,
    ) -> Result<(Token, TokenAnswer), TokenError> {
        let request = self.request(grant).await.map_err(TokenError::transient)?;
        let mut answer = self.exchange.send(request).await?;
        let mut body = Zeroizing::new(Vec::new());
        let is_read = answer.read(&mut body, self.answer_limit).await;
        let (status, headers) = (answer.status(), answer.headers());
        let raw = RawAnswer::new(status, headers, &body);
        let content = (self.read_answer)(&raw);
        let asked = if !status.is_success() || content.is_refused() {
            Err(self.refused(&raw, &content))
        } else if let Err(error) = is_read {
            Err(TokenError::ambiguous(error))
        } else {
            self.token(&content).map_err(TokenError::ambiguous)
        };
        match asked {
            Ok(token) => Ok((token, content)),
            Err(error) => {
                let retry_after = retry_after(headers, context.now());
                let is_unprocessed = match status {
                    StatusCode::SERVICE_UNAVAILABLE => true,
                    StatusCode::TOO_MANY_REQUESTS => retry_after.is_some(),
                    _ => false,
                };
                Err(TokenError { is_unprocessed, retry_after, ..error })
            }
        }
    }

    async fn request(&self, grant: &[(&str, &str)]) -> Result<Request<RequestBody>, Failure> {
        let proof = self.client.prove().await?;
        let scopes = self.scopes.join(" ");
        let mut params = grant.to_vec();
        if !scopes.is_empty() {
            params.push(("scope", &scopes));
        }
        params.extend(proof.params.iter().map(|(name, value)| (*name, value.expose())));
        params.extend(self.params.iter().map(|(name, value)| (&**name, &**value)));
        post(&self.url, self.encoding, proof.header, &params)
    }

    /// The server has done what it was asked for, so the refresh token that was sent may be used up
    /// and a failure is ambiguous.
    fn token(&self, answer: &TokenAnswer) -> Result<Token, BoxError> {
        if answer.is_cut_off() {
            return Err(Failure::CutOff.into());
        }
        let access_token = answer.access_token().ok_or(Failure::NoAccessToken)?;
        let token_type = answer.token_type().unwrap_or("Bearer");
        if !self.accepted_types.iter().any(|accepted| accepted.eq_ignore_ascii_case(token_type)) {
            return Err(Failure::token_type(token_type).into());
        }
        let token = Token::bearer(access_token)?;
        Ok(match answer.expires_in() {
            Some(lifetime) => token.with_expires_in(lifetime),
            None => token,
        })
    }

    fn refused(&self, raw: &RawAnswer<'_>, answer: &TokenAnswer) -> TokenError {
        let body = String::from_utf8_lossy(raw.body());
        let mut refusal = Refusal::new(raw.status(), raw.headers()).with_body(&body);
        if let Some(code) = answer.error() {
            refusal = refusal.with_error(code);
        }
        if let Some(description) = answer.description() {
            refusal = refusal.with_description(description);
        }
        let kind = self.classify.classify(&refusal);
        TokenError::new(kind, Failure::refused(raw.status(), answer.error()))
    }
}

impl fmt::Debug for TokenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let params: Vec<_> = self.params.iter().map(|(name, _)| name).collect();
        f.debug_struct("TokenEndpoint")
            .field("url", &self.url)
            .field("client", &self.client)
            .field("scopes", &self.scopes)
            .field("params", &params)
            .field("encoding", &self.encoding)
            .field("accepted_types", &self.accepted_types)
            .field("answer_limit", &self.answer_limit)
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}
