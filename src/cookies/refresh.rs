use std::{error::Error, fmt, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE,
};
use http_body::Body;
use tower_service::Service;

use crate::{
    cookies::{
        base::InvalidUrl,
        csrf::Csrf,
        exchange,
        exchange::{Exchange, Unanswered},
        jar::Jar,
    },
    error::{BoxError, RefreshError},
    exchange::retry_after::retry_after,
    refresher::{BoxFuture, RefreshContext, Refresher},
};

/// A [`Refresher`] that POSTs to the refresh path of a web application, with the cookies of the
/// jar, and takes those that its answer sets.
///
/// What it sends is marked [`Anonymous`](crate::extension::Anonymous). What an answer means is told in the
/// [module docs](crate::cookies#what-an-answer-means).
#[derive(Clone)]
pub struct RefreshEndpoint {
    exchange: Exchange,
    classify: Arc<Classify>,
    unsent_if: Arc<UnsentIf>,
}

type Classify = dyn Fn(StatusCode, &HeaderMap) -> Result<(), RefreshError> + Send + Sync;
type UnsentIf = dyn Fn(&(dyn Error + 'static)) -> bool + Send + Sync;

/// Nobody has logged in yet, so that there are no cookies to refresh.
#[derive(Debug)]
struct NoJar;

// === impl RefreshEndpoint ===

impl RefreshEndpoint {
    /// The endpoint at this path of the upstream that a jar is for, reached through any HTTP
    /// service: a path like `/auth/refresh`, with a query where the application wants one.
    ///
    /// The service must not follow redirects, nor answer from a cache. A hyper-util client does
    /// neither.
    ///
    /// # Errors
    ///
    /// If the path does not start with a slash, or has a character that no path has.
    pub fn new<S, B, ResBody>(service: S, path: &str) -> Result<Self, InvalidUrl>
    where
        S: Service<Request<B>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: From<Bytes> + 'static,
        ResBody: Body + Send + 'static,
    {
        Ok(Self {
            exchange: Exchange::new(service, path)?,
            classify: Arc::new(by_status),
            unsent_if: Arc::new(exchange::is_unconnected),
        })
    }

    /// Sends a header with the refresh: `Referer`, which Django checks over HTTPS, or
    /// `X-Requested-With`.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.exchange.header(name, value);
        self
    }

    /// Whether the cookies may go over `http://` to a host that isn't loopback, as
    /// [`Origins`](crate::Origins) says for other
    /// requests. Default: false, and every refresh fails.
    #[must_use]
    pub fn allow_cleartext(mut self, allow: bool) -> Self {
        self.exchange.allow_cleartext(allow);
        self
    }

    /// Another CSRF check than that of the jar, for this path alone: Flask-JWT-Extended has a
    /// cookie of its own for it, `csrf_refresh_token`. Default: that of the jar, if it has one.
    #[must_use]
    pub fn csrf(mut self, csrf: Csrf) -> Self {
        self.exchange.csrf(csrf);
        self
    }

    /// Sends a body with the refresh. Default: none.
    #[must_use]
    pub fn body(mut self, content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        self.exchange.header(CONTENT_TYPE, content_type);
        self.exchange.body(body.into());
        self
    }

    /// Decides by the head of the answer whether the refresh has succeeded, and if not, what that
    /// means.
    ///
    /// Default: any 2xx has; everything else is what [`RefreshError::from_status`] makes of it,
    /// with the time that its `Retry-After` names.
    #[must_use]
    pub fn classify<F>(mut self, classify: F) -> Self
    where
        F: Fn(StatusCode, &HeaderMap) -> Result<(), RefreshError> + Send + Sync + 'static,
    {
        self.classify = Arc::new(classify);
        self
    }

    /// Recognises the errors of the service that say that nothing was sent. They are transient;
    /// every other error is ambiguous.
    ///
    /// Default: a connection refused, or a host or network that can't be reached, by the
    /// [`std::io::Error`] among the causes. That a service fails to become ready is transient in
    /// any case. For a hyper-util client
    /// `|error| error.downcast_ref::<Error>().is_some_and(Error::is_connect)` knows more.
    #[must_use]
    pub fn unsent_if<F>(mut self, is_unsent: F) -> Self
    where
        F: Fn(&(dyn Error + 'static)) -> bool + Send + Sync + 'static,
    {
        self.unsent_if = Arc::new(is_unsent);
        self
    }

    async fn renew(&self, jar: &Jar) -> Result<Jar, RefreshError> {
        let answer = self.exchange.run(jar).await.map_err(|unanswered| self.failure(unanswered))?;
        (self.classify)(answer.status, &answer.headers)?;
        jar.renewed(&answer.headers)
    }

    fn failure(&self, Unanswered { is_unsent, cause }: Unanswered) -> RefreshError {
        if is_unsent || (self.unsent_if)(&*cause) {
            RefreshError::transient(cause)
        } else {
            RefreshError::ambiguous(cause)
        }
    }
}

impl Refresher<Jar> for RefreshEndpoint {
    /// The cookies of the answer go into the jar that is returned, and into no other: when a logout
    /// or a login has overtaken the refresh, the session drops it, and all it brought. After a
    /// logout it is first handed to the hook, for which the old cookies may be no good any more.
    fn refresh(&self, context: RefreshContext<Jar>) -> BoxFuture<'_, Result<Jar, RefreshError>> {
        Box::pin(async move {
            let jar = context.current().ok_or_else(|| RefreshError::terminal(NoJar))?;
            self.renew(jar).await
        })
    }
}

fn by_status(status: StatusCode, headers: &HeaderMap) -> Result<(), RefreshError> {
    if status.is_success() {
        return Ok(());
    }
    let error = RefreshError::from_status(status);
    Err(match retry_after(headers, SystemTime::now()) {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    })
}

impl fmt::Debug for RefreshEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshEndpoint")
            .field("path", &self.exchange.path.path())
            .finish_non_exhaustive()
    }
}

// === impl NoJar ===

impl fmt::Display for NoJar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there are no cookies to refresh before somebody logs in")
    }
}

impl Error for NoJar {}
