use std::{error::Error, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE,
};
use http_body::Body;
use tower_service::Service;

use crate::{
    cookies::{csrf::Csrf, endpoint::Endpoint, jar::Jar},
    error::{BoxError, RefreshError},
    exchange::{Answer, InvalidUrl, RequestBody},
    refresher::{BoxFuture, context::RefreshContext, contract::Refresher},
};

/// A [`Refresher`] that POSTs to the refresh path of a web application with the cookies of the jar,
/// and takes the cookies that the answer sets.
///
/// Its requests are marked [`Anonymous`](crate::extension::Anonymous). The [module
/// docs](crate::cookies#answers) say which answers are failures.
#[derive(Clone)]
pub struct RefreshEndpoint {
    endpoint: Endpoint,
    classify: Option<Arc<ClassifyAnswer>>,
}

/// The user's decision whether an answer renewed the cookies.
type ClassifyAnswer = dyn Fn(StatusCode, &HeaderMap) -> Result<(), RefreshError> + Send + Sync;

/// There is no login, so there are no cookies to refresh.
#[derive(Debug)]
struct NoJar;

/// The endpoint answered with a page for people, which a firewall may have written.
#[derive(Debug)]
struct Page(StatusCode);

// === impl RefreshEndpoint ===

impl RefreshEndpoint {
    /// The endpoint at this path of a jar's upstream, reached through any HTTP client that is a
    /// Tower service. The path may have a query.
    ///
    /// The client must not follow redirects, and must not answer from a cache. A hyper-util client
    /// does neither.
    ///
    /// # Errors
    ///
    /// If the path does not start with a slash, or has a character that no path has.
    pub fn new<S, B>(http: S, path: &str) -> Result<Self, InvalidUrl>
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Ok(Self { endpoint: Endpoint::new(http, path)?, classify: None })
    }

    /// Sends a header with the refresh: `Referer`, which Django checks over HTTPS, or
    /// `X-Requested-With`.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.endpoint.header(name, value);
        self
    }

    /// Whether the cookies may go over `http://` to a host that isn't loopback, as
    /// [`Origins`](crate::Origins) says for other
    /// requests. Default: false, and every refresh fails.
    #[must_use]
    pub fn allow_cleartext(mut self, allow: bool) -> Self {
        self.endpoint.allows_cleartext = allow;
        self
    }

    /// Replaces the CSRF check of the jar, for this path only. Flask-JWT-Extended, for example, has
    /// a cookie `csrf_refresh_token` for it. Default: the check of the jar, if it has one.
    #[must_use]
    pub fn csrf(mut self, csrf: Csrf) -> Self {
        self.endpoint.csrf = Some(csrf);
        self
    }

    /// Sends a body with the refresh. Default: none.
    #[must_use]
    pub fn body(mut self, content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        self.endpoint.header(CONTENT_TYPE, content_type);
        self.endpoint.body = body.into();
        self
    }

    /// Decides by the head of the answer whether the refresh has succeeded, and if not, how it has
    /// failed.
    ///
    /// Default: a 2xx is a success. Every other answer fails as [`RefreshError::from_status`] says,
    /// with the wait that its `Retry-After` asks for. A 401 or 403 with a
    /// [page](crate::exchange::is_page) is transient: a firewall may have written it.
    #[must_use]
    pub fn classify<F>(mut self, classify: F) -> Self
    where
        F: Fn(StatusCode, &HeaderMap) -> Result<(), RefreshError> + Send + Sync + 'static,
    {
        self.classify = Some(Arc::new(classify));
        self
    }

    /// Limits the time until the HTTP client has a connection. Default: 10 seconds. After that the
    /// refresh has failed transiently, and nothing is sent.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.endpoint.exchange = self.endpoint.exchange.connect_timeout(limit);
        self
    }

    /// Recognises more errors of the HTTP client that say that nothing was sent, as
    /// [`Exchange::unsent_if`](crate::exchange::Exchange::unsent_if) does. They are transient, and
    /// every other failure without an answer is ambiguous.
    #[must_use]
    pub fn unsent_if<F>(mut self, is_unsent: F) -> Self
    where
        F: Fn(&(dyn Error + 'static)) -> bool + Send + Sync + 'static,
    {
        self.endpoint.exchange = self.endpoint.exchange.unsent_if(is_unsent);
        self
    }

    /// Whether the refresh may use a kept-alive connection, as
    /// [`Exchange::keep_alive`](crate::exchange::Exchange::keep_alive) says. Default: false.
    #[must_use]
    pub fn keep_alive(mut self, keeps_alive: bool) -> Self {
        self.endpoint.exchange = self.endpoint.exchange.keep_alive(keeps_alive);
        self
    }

    async fn renew(&self, jar: &Jar, context: &RefreshContext<Jar>) -> Result<Jar, RefreshError> {
        let mut answer = self.endpoint.post(jar).await?;
        match &self.classify {
            Some(classify) => classify(answer.status(), answer.headers())?,
            None => by_default(&mut answer, context).await?,
        }
        let head = answer.skip().await;
        jar.renewed_at(&head.headers, context.now())
    }
}

impl Refresher<Jar> for RefreshEndpoint {
    /// The cookies of the answer go only into the jar that is returned. If a logout or a login has
    /// overtaken the refresh, the session drops that jar. After a logout the hook gets it first,
    /// because the old cookies may have been used up.
    fn refresh(&self, context: RefreshContext<Jar>) -> BoxFuture<'_, Result<Jar, RefreshError>> {
        Box::pin(async move {
            let jar = context.current().ok_or_else(|| RefreshError::terminal(NoJar))?;
            self.renew(jar, &context).await
        })
    }
}

async fn by_default(
    answer: &mut Answer,
    context: &RefreshContext<Jar>,
) -> Result<(), RefreshError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let error = RefreshError::from_status(status);
    let error = if error.is_terminal() && answer.is_page().await {
        RefreshError::transient(Page(status))
    } else {
        error
    };
    Err(match answer.retry_after(context.now()) {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    })
}

impl fmt::Debug for RefreshEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshEndpoint")
            .field("path", &self.endpoint.path.path())
            .finish_non_exhaustive()
    }
}

// === impl NoJar ===

impl fmt::Display for NoJar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there are no cookies to refresh before a login")
    }
}

impl Error for NoJar {}

// === impl Page ===

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the refresh endpoint answered {} with a page", self.0)
    }
}

impl Error for Page {}
