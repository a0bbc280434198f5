use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::Body;
use tokio::time;
use tower_service::Service;

use crate::{
    cookies::{base::InvalidUrl, csrf::Csrf, exchange::Exchange, jar::Jar},
    error::BoxError,
    refresher::BoxFuture,
    session::EndedLogin,
};

/// A hook that POSTs to the logout path of a web application, with the last cookies of the login,
/// and closes its jar.
///
/// For [`SessionBuilder::on_login_end`](crate::session::SessionBuilder::on_login_end). See the [module
/// docs](crate::cookies) for an example.
#[derive(Clone)]
pub struct LogoutEndpoint {
    exchange: Exchange,
    timeout: Duration,
}

/// Closes the jar at the end of the hook, also of one that panics or is dropped.
struct Closing(Arc<Jar>);

// === impl LogoutEndpoint ===

impl LogoutEndpoint {
    /// The endpoint at this path of the upstream that a jar is for, reached through any HTTP
    /// service.
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
        Ok(Self { exchange: Exchange::new(service, path)?, timeout: Duration::from_secs(10) })
    }

    /// Sends a header with the logout.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.exchange.header(name, value);
        self
    }

    /// Whether the cookies may go over `http://` to a host that isn't loopback, as
    /// [`Origins`](crate::Origins) says for other
    /// requests. Default: false, and it is not called then.
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

    /// Sends a body with the logout. Default: none.
    #[must_use]
    pub fn body(mut self, content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        self.exchange.header(CONTENT_TYPE, content_type);
        self.exchange.body(body.into());
        self
    }

    /// How long the call may take. The jar is closed at its end in any case. Default: 10 seconds.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// The hook.
    ///
    /// It calls the endpoint also for a login that ended by a refused refresh: the cookies that
    /// were refused need not be all that the upstream knows of the session. Whatever the endpoint
    /// answers, the login is over; there is nobody to tell.
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
        _ = time::timeout(self.timeout, self.exchange.run(&jar.0)).await;
    }
}

impl fmt::Debug for LogoutEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogoutEndpoint")
            .field("path", &self.exchange.path.path())
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
