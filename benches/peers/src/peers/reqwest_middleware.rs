use async_trait::async_trait;
use bytes::Bytes;
use http::Extensions;
use reqwest::{
    Body, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE},
};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error, Middleware, Next};
use tokio::sync::Mutex;
use tower::BoxError;

use crate::{
    issuer::Issuer,
    peer::{Client, Environment, Peer},
    request::{URL, headers},
    upstream::{CHALLENGE, Upstream},
};

/// The usual recipe: after a 401, lock, refresh, unlock, and send the request again.
pub(crate) struct ReqwestMutex;

/// The recipe with a check. With the lock held, it refreshes only if the token is still the
/// rejected one.
pub(crate) struct ReqwestChecked;

struct Recipe {
    token: Mutex<Option<String>>,
    issuer: Issuer,
    checks: bool,
}

/// The last middleware of the chain. It responds itself, so reqwest sends nothing.
struct UpstreamMiddleware(Upstream);

fn request() -> Request {
    let mut request = Request::new(Method::GET, URL.parse().expect("an absolute URL"));
    *request.headers_mut() = headers();
    request
}

/// An upload from memory: `Request::try_clone` returns `None` for a stream.
fn upload(content: Bytes) -> Request {
    let mut request = request();
    *request.method_mut() = Method::POST;
    *request.body_mut() = Some(Body::from(content));
    request
}

fn builder() -> ClientBuilder {
    ClientBuilder::new(reqwest::Client::new())
}

fn authorize(request: &mut Request, token: &str) -> Result<(), Error> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(Error::middleware)?;
    value.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, value);
    Ok(())
}

// === impl ReqwestMutex ===

impl Peer for ReqwestMutex {
    const CRATE: &'static str = "reqwest-middleware";
    const PART: &'static str = "the usual recipe: refresh under a mutex";

    type Request = Request;
    type Upload = Request;

    fn request() -> Request {
        request()
    }

    fn upload(content: Bytes) -> Request {
        upload(content)
    }

    async fn client(environment: &Environment) -> Result<impl Client<Request>, BoxError> {
        Ok(Recipe::new(environment, false).client(environment))
    }

    fn bare(upstream: Upstream) -> impl Client<Request> {
        builder().with(UpstreamMiddleware(upstream)).build()
    }
}

// === impl ReqwestChecked ===

impl Peer for ReqwestChecked {
    const CRATE: &'static str = "reqwest-middleware";
    const PART: &'static str = "the same, if the token is still the rejected one";

    type Request = Request;
    type Upload = Request;

    fn request() -> Request {
        request()
    }

    fn upload(content: Bytes) -> Request {
        upload(content)
    }

    async fn client(environment: &Environment) -> Result<impl Client<Request>, BoxError> {
        Ok(Recipe::new(environment, true).client(environment))
    }

    fn bare(upstream: Upstream) -> impl Client<Request> {
        builder().with(UpstreamMiddleware(upstream)).build()
    }
}

impl Client<Request> for ClientWithMiddleware {
    async fn send(&mut self, request: Request) -> Result<StatusCode, BoxError> {
        Ok(self.execute(request).await?.status())
    }
}

// === impl Recipe ===

impl Recipe {
    fn new(environment: &Environment, checks: bool) -> Self {
        Self { token: Mutex::new(None), issuer: environment.issuer.clone(), checks }
    }

    fn client(self, environment: &Environment) -> ClientWithMiddleware {
        builder().with(self).with(UpstreamMiddleware(environment.upstream.clone())).build()
    }

    async fn token(&self) -> Result<String, Error> {
        let mut token = self.token.lock().await;
        match &*token {
            Some(token) => Ok(token.clone()),
            None => Ok(token.insert(self.issue().await?).clone()),
        }
    }

    async fn renew(&self, rejected: &str) -> Result<String, Error> {
        let mut token = self.token.lock().await;
        match &*token {
            Some(newer) if self.checks && newer != rejected => Ok(newer.clone()),
            _ => Ok(token.insert(self.issue().await?).clone()),
        }
    }

    async fn issue(&self) -> Result<String, Error> {
        Ok(self.issuer.issue().await.map_err(Error::middleware)?.token)
    }
}

#[async_trait]
impl Middleware for Recipe {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        let again = request.try_clone();
        let token = self.token().await?;
        authorize(&mut request, &token)?;
        let response = next.clone().run(request, extensions).await?;
        match again {
            Some(mut request) if response.status() == StatusCode::UNAUTHORIZED => {
                authorize(&mut request, &self.renew(&token).await?)?;
                next.run(request, extensions).await
            }
            _ => Ok(response),
        }
    }
}

// === impl UpstreamMiddleware ===

#[async_trait]
impl Middleware for UpstreamMiddleware {
    async fn handle(
        &self,
        mut request: Request,
        _: &mut Extensions,
        _: Next<'_>,
    ) -> Result<Response, Error> {
        let upload = request.body_mut().take().filter(|_| request.method() == Method::POST);
        let authorization = request.headers().get(AUTHORIZATION);
        let authorization = authorization.map_or(b"".as_slice(), HeaderValue::as_bytes);
        let status = match upload {
            Some(body) => Box::pin(self.0.respond_to_upload(authorization, body)).await,
            None => self.0.respond(authorization).await,
        };
        let mut response = http::Response::new("");
        *response.status_mut() = status;
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        Ok(response.into())
    }
}
