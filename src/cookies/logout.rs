use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::Body;
use tokio::time;
use tower_service::Service;

use crate::{
    cookies::{csrf::Csrf, endpoint::Endpoint, jar::Jar},
    error::BoxError,
    exchange::{InvalidUrl, RequestBody},
    refresher::BoxFuture,
    session::EndedLogin,
};

/// A hook that POSTs to the logout path of a web application, with the last cookies of the login,
/// and closes its jar.
///
/// For [`SessionBuilder::on_login_end`](crate::session::SessionBuilder::on_login_end). See the
/// [module docs](crate::cookies) for an example.
#[derive(Clone)]
pub struct LogoutEndpoint {
    endpoint: Endpoint,
    timeout: Duration,
}

/// Closes the jar when the hook ends, panics or is dropped.
struct Closing(Arc<Jar>);

// === impl LogoutEndpoint ===

impl LogoutEndpoint {
    /// The endpoint at this path of a jar's upstream, reached through any HTTP client that is a
    /// Tower service.
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
        Ok(Self { endpoint: Endpoint::new(http, path)?, timeout: Duration::from_secs(10) })
    }

    /// Sends a header with the logout.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.endpoint.header(name, value);
        self
    }

    /// Whether the cookies may go over `http://` to a host that isn't loopback, as
    /// [`Origins::any_with_cleartext`](crate::Origins::any_with_cleartext) says for other requests.
    /// Default: false, and the endpoint is not called.
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

    /// Sends a body with the logout. Default: none.
    #[must_use]
    pub fn body(mut self, content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        self.endpoint.header(CONTENT_TYPE, content_type);
        self.endpoint.body = body.into();
        self
    }

    /// Limits the time of the call. The jar is closed after it in any case. Default: 10 seconds.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// The hook.
    ///
    /// The hook calls the endpoint also after a refused refresh, because the upstream may know more
    /// of the session than the refused cookies. The login is over, whatever the endpoint answers.
    pub fn into_hook(
        self,
    ) -> impl Fn(EndedLogin<Jar>) -> BoxFuture<'static, ()> + Clone + Send + Sync + 'static {
        move |end| {
            let this = self.clone();
            Box::pin(async move {
                if let Some(jar) = end.credential() {
                    this.log_out(jar.clone()).await;
                }
            })
        }
    }

    async fn log_out(&self, jar: Arc<Jar>) {
        let jar = Closing(jar);
        // The login is over even if this request fails.
        let _ = time::timeout(self.timeout, async {
            if let Ok(answer) = self.endpoint.post(&jar.0).await {
                answer.skip().await;
            }
        })
        .await;
    }
}

impl fmt::Debug for LogoutEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogoutEndpoint")
            .field("path", &self.endpoint.path.path())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

// === impl Closing ===

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}
