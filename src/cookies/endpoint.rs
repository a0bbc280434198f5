use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, uri::PathAndQuery};
use http_body::Body;
use tower_service::Service;

use crate::{
    cookies::{base, csrf::Csrf, jar::Jar},
    credential::origin,
    error::{BoxError, Error, RefreshError},
    exchange::{Answer, Exchange, InvalidUrl, RequestBody},
};

/// A path of the upstream that takes POST requests with the cookies of a jar.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) exchange: Exchange,
    pub(super) path: PathAndQuery,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) csrf: Option<Csrf>,
    pub(super) allows_cleartext: bool,
}

// === impl Endpoint ===

impl Endpoint {
    pub(super) fn new<S, B>(http: S, path: &str) -> Result<Self, InvalidUrl>
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Ok(Self {
            exchange: Exchange::new(http),
            path: base::parse_path(path)?,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            csrf: None,
            allows_cleartext: false,
        })
    }

    pub(super) fn header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    /// Sends the cookies that the jar holds now.
    pub(super) async fn post(&self, jar: &Jar) -> Result<Answer, RefreshError> {
        let uri = jar.base().endpoint(&self.path);
        if !self.allows_cleartext && origin::is_cleartext(&uri) {
            return Err(RefreshError::transient(Error::cleartext()));
        }
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        let (mut head, ()) = request.into_parts();
        jar.apply_with(self.csrf.as_ref(), &mut head);
        let request = Request::from_parts(head, RequestBody::from(self.body.clone()));
        Ok(self.exchange.send(request).await?)
    }
}
