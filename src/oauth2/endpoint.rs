use std::{
    error::Error,
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use ::oauth2::{EndpointNotSet, EndpointSet, RequestTokenError, Scope, TokenUrl};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;
use zeroize::Zeroize;

use crate::{
    error::{BoxError, RefreshError, RefreshErrorKind},
    exchange::retry_after::retry_after,
    oauth2::{
        answer::{RefusalAnswer, TokenAnswer},
        classify::{Classify, DefaultClassify, Refusal},
        client_auth::{ClientAuth, Inner},
        error::Failure,
        form::Form,
        transport::{Call, Transport, UnsentIf, over},
        url::EndpointUrl,
    },
};

/// A token endpoint, and what to ask it for. [`RefreshTokenGrant`](crate::oauth2::RefreshTokenGrant) and
/// [`ClientCredentialsGrant`](crate::oauth2::ClientCredentialsGrant) are made of it.
///
/// See the [module docs](crate::oauth2) for examples.
#[derive(Clone)]
#[must_use]
pub struct TokenEndpoint {
    transport: Arc<dyn Transport>,
    url: EndpointUrl,
    client: ClientAuth,
    scopes: Vec<String>,
    params: Vec<(String, String)>,
    classify: Arc<dyn Classify>,
    unsent_if: Option<UnsentIf>,
    answer_limit: usize,
    connect_timeout: Duration,
}

/// What the `oauth2` crate made of an answer.
pub(super) type Parsed = Result<TokenAnswer, RequestTokenError<Failure, RefusalAnswer>>;

/// The `oauth2` crate's client, where there is a token endpoint.
pub(super) type Asking = ::oauth2::Client<
    RefusalAnswer,
    TokenAnswer,
    ::oauth2::basic::BasicTokenIntrospectionResponse,
    ::oauth2::StandardRevocableToken,
    ::oauth2::basic::BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

pub(super) const ANSWER_LIMIT: usize = 64 * 1024;

// === impl TokenEndpoint ===

impl TokenEndpoint {
    /// The token endpoint at `url`, asked by `client` through `http`.
    ///
    /// `http` is any HTTP client that is a Tower service. What it should not do is follow
    /// redirects: the body holds the refresh token. One that wears the session itself may be used:
    /// requests are marked [`Anonymous`](crate::extension::Anonymous).
    pub fn new<S, B>(http: S, url: EndpointUrl, client: ClientAuth) -> Self
    where
        S: Service<Request<Form>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        Self {
            transport: over(http),
            url,
            client,
            scopes: Vec::new(),
            params: Vec::new(),
            classify: Arc::new(DefaultClassify),
            unsent_if: None,
            answer_limit: ANSWER_LIMIT,
            connect_timeout: Duration::from_secs(10),
        }
    }

    /// Asks for this scope; several are asked for one after another. Default: none, which is up to
    /// the server, and for a refresh token means the scope that it has.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// Asks for a token for this resource ([RFC 8707](https://www.rfc-editor.org/rfc/rfc8707));
    /// several are all sent.
    pub fn resource(self, resource: impl Into<String>) -> Self {
        self.param("resource", resource)
    }

    /// Asks for a token for this audience, as Auth0 and others call it.
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.param("audience", audience)
    }

    /// Sends one more parameter. One that this crate sends itself would be there twice, which
    /// servers refuse.
    pub fn param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.params.push((name.into(), value.into()));
        self
    }

    /// Decides what a refusal says about the login. Default: [`DefaultClassify`].
    pub fn classify(mut self, classify: impl Classify) -> Self {
        self.classify = Arc::new(classify);
        self
    }

    /// How many bytes of an answer are read. Default: 64 KiB. A longer one counts as one that broke
    /// off.
    pub fn answer_limit(mut self, bytes: usize) -> Self {
        self.answer_limit = bytes;
        self
    }

    /// How long it may take until the HTTP client asks for the [`Form`]'s content: until it is
    /// ready, and has a connection. Default: 10 seconds. After that the refresh has failed,
    /// transiently, and the form is given to nobody.
    ///
    /// From then on the time of the session counts, whose end is ambiguous
    /// ([`SessionBuilder::refresh_timeout`](crate::session::SessionBuilder::refresh_timeout)).
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Recognises more errors of the HTTP client that say that nothing was sent. They are
    /// transient; every other error after the [`Form`] was asked for its content is ambiguous.
    ///
    /// Without it that content decides, which needs no help unless something between here and the
    /// wire buffers it ([`Form::into_bytes`] does). Say `true` only for what rules out *every*
    /// attempt of that client.
    ///
    /// ```
    /// use hyper_util::client::legacy;
    ///
    /// # fn with(endpoint: tower_refresh::oauth2::TokenEndpoint) -> tower_refresh::oauth2::TokenEndpoint {
    /// endpoint.unsent_if(|error| error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect))
    /// # }
    /// ```
    pub fn unsent_if<F>(mut self, is_unsent: F) -> Self
    where
        F: Fn(&(dyn Error + 'static)) -> bool + Send + Sync + 'static,
    {
        self.unsent_if = Some(Arc::new(is_unsent));
        self
    }

    pub(super) fn inner(&self) -> Asking {
        let inner: Inner = self.client.inner();
        inner.set_token_uri(TokenUrl::from_url(self.url.url().clone()))
    }

    pub(super) fn scopes(&self) -> impl Iterator<Item = Scope> {
        self.scopes.iter().cloned().map(Scope::new)
    }

    /// The user's parameters, and what authenticates the client.
    pub(super) fn params(&self) -> Result<Vec<(&str, String)>, RefreshError> {
        let params = self.client.params().map_err(RefreshError::transient)?;
        let own = self.params.iter().map(|(name, value)| (name.as_str(), value.clone()));
        Ok(params.into_iter().chain(own).collect())
    }

    pub(super) fn call(&self) -> Call<'_> {
        Call {
            transport: &*self.transport,
            uri: self.url.uri(),
            limit: self.answer_limit,
            connect_timeout: Some(self.connect_timeout),
            unsent_if: self.unsent_if.as_ref(),
            head: OnceLock::new(),
        }
    }

    /// The answer with a token, or how the refresh failed.
    pub(super) fn settle(
        &self,
        parsed: Parsed,
        call: Call<'_>,
    ) -> Result<TokenAnswer, RefreshError> {
        let head = call.head.into_inner();
        match (parsed, head) {
            (Ok(answer), Some(head)) => match answer.error() {
                Some((code, description)) => Err(self.refused(&head, Some(code), description)),
                None => Ok(answer),
            },
            (Err(RequestTokenError::ServerResponse(refusal)), Some(head)) => {
                let (code, description) = refusal.error();
                Err(self.refused(&head, Some(code), description))
            }
            (Err(RequestTokenError::Parse(error, mut body)), Some((status, _)))
                if status.is_success() =>
            {
                body.zeroize();
                // Not as the source: its text quotes what it could not read.
                let (line, column) = (error.inner().line(), error.inner().column());
                Err(RefreshError::ambiguous(Failure::Malformed { line, column }))
            }
            (Err(RequestTokenError::Other(_)), Some((status, _))) if status.is_success() => {
                Err(RefreshError::ambiguous(Failure::NoAccessToken))
            }
            (Err(RequestTokenError::Request(failure)), head) => {
                let error = match &failure {
                    Failure::Unanswered(_) | Failure::Unreadable(..) => {
                        RefreshError::ambiguous(failure)
                    }
                    _ => RefreshError::transient(failure),
                };
                Err(waiting(error, head.as_ref()))
            }
            (Err(_), Some(head)) => Err(self.refused(&head, None, None)),
            (_, None) => Err(RefreshError::transient(Failure::Unbuilt)),
        }
    }

    fn refused(
        &self,
        head: &(StatusCode, HeaderMap),
        code: Option<&str>,
        description: Option<&str>,
    ) -> RefreshError {
        let (status, headers) = head;
        let mut refusal = Refusal::new(*status, headers);
        if let Some(code) = code.filter(|code| !code.is_empty()) {
            refusal = refusal.with_error(code);
        }
        if let Some(description) = description {
            refusal = refusal.with_description(description);
        }
        let failure = Failure::refused(*status, code);
        let error = match self.classify.classify(&refusal) {
            RefreshErrorKind::Terminal => RefreshError::terminal(failure),
            RefreshErrorKind::Transient => RefreshError::transient(failure),
            RefreshErrorKind::Ambiguous => RefreshError::ambiguous(failure),
        };
        waiting(error, Some(head))
    }
}

fn waiting(error: RefreshError, head: Option<&(StatusCode, HeaderMap)>) -> RefreshError {
    match head.and_then(|(_, headers)| retry_after(headers, SystemTime::now())) {
        Some(wait) => error.with_retry_after(wait),
        None => error,
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
            .field("answer_limit", &self.answer_limit)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}
