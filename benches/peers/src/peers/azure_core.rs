use std::{convert::Infallible, sync::Arc};

use async_trait::async_trait;
use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    http::{
        AsyncRawResponse, Body, Context, HttpClient, Method, Request, StatusCode, Transport,
        headers::{AUTHORIZATION, HeaderName, HeaderValue, Headers, WWW_AUTHENTICATE},
        policies::{
            Policy, TransportPolicy,
            auth::{Authorizer, BearerTokenAuthorizationPolicy, OnChallenge},
        },
    },
    stream::{BytesStream, SeekableStream},
    time::OffsetDateTime,
};
use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use tower::BoxError;

use crate::{
    issuer::{FirstToken, Issuer, LIFETIME},
    peer::{Client, Environment, Peer},
    request::{HEADERS, URL},
    upstream::{CHALLENGE, Upstream},
};

const SCOPE: &str = "https://api.example.com/.default";

/// The policy by itself.
pub(crate) struct AzureCore;

/// The policy with a callback for challenges. With the callback it sends a request again after a
/// 401.
pub(crate) struct AzureCoreChallenged;

/// A pipeline of the measured policy and the transport. The pipeline of `azure_core` adds policies
/// for retries, telemetry and logs.
#[derive(Clone)]
struct Policies(Arc<[Arc<dyn Policy>]>);

/// A credential without a cache. The credentials of `azure_identity` have one.
#[derive(Debug)]
struct Credential(Issuer);

/// Authorizes the request again.
#[derive(Debug)]
struct Authorize;

#[derive(Debug)]
struct UpstreamClient(Upstream);

fn request() -> Request {
    let mut request = Request::new(URL.parse().expect("an absolute URL"), Method::Get);
    for (name, value) in HEADERS {
        request.insert_header(HeaderName::from_static(name), value.to_owned());
    }
    request
}

/// An upload of a stream that the policy can reset.
fn upload(content: Bytes) -> Request {
    let mut request = request();
    request.set_method(Method::Post);
    request.set_body(BytesStream::new(content));
    request
}

/// The stream as the body that a client sends.
fn body_of(stream: Box<dyn SeekableStream>) -> UnsyncBoxBody<Bytes, azure_core::Error> {
    StreamBody::new(stream.map_ok(Frame::data)).boxed_unsync()
}

fn policy(environment: &Environment) -> BearerTokenAuthorizationPolicy {
    BearerTokenAuthorizationPolicy::new(Arc::new(Credential(environment.issuer.clone())), [SCOPE])
}

/// Reads a header value. The method of `Headers` for strings creates an error with a backtrace for
/// a missing header.
fn as_str(value: &HeaderValue) -> Result<&str, Infallible> {
    Ok(value.as_str())
}

// === impl AzureCore ===

impl Peer for AzureCore {
    const CRATE: &'static str = "azure_core";
    const PART: &'static str = "`BearerTokenAuthorizationPolicy`";
    const REFRESHES_AFTER: FirstToken = FirstToken::Expired;

    type Request = Request;
    type Upload = Request;

    fn request() -> Request {
        request()
    }

    fn upload(content: Bytes) -> Request {
        upload(content)
    }

    async fn client(environment: &Environment) -> Result<impl Client<Request>, BoxError> {
        Ok(Policies::around(policy(environment), environment))
    }

    fn bare(upstream: Upstream) -> impl Client<Request> {
        Policies::transport(upstream)
    }
}

// === impl AzureCoreChallenged ===

impl Peer for AzureCoreChallenged {
    const CRATE: &'static str = "azure_core";
    const PART: &'static str = "the same with an `OnChallenge` that authorizes again";
    const UPLOAD: &'static str = "seekable";

    type Request = Request;
    type Upload = Request;

    fn request() -> Request {
        request()
    }

    fn upload(content: Bytes) -> Request {
        upload(content)
    }

    async fn client(environment: &Environment) -> Result<impl Client<Request>, BoxError> {
        Ok(Policies::around(
            policy(environment).with_on_challenge(Arc::new(Authorize)),
            environment,
        ))
    }

    fn bare(upstream: Upstream) -> impl Client<Request> {
        Policies::transport(upstream)
    }
}

// === impl Policies ===

impl Policies {
    fn around(policy: BearerTokenAuthorizationPolicy, environment: &Environment) -> Self {
        let Self(transport) = Self::transport(environment.upstream.clone());
        Self(Arc::new([Arc::new(policy), transport[0].clone()]))
    }

    fn transport(upstream: Upstream) -> Self {
        let client = UpstreamClient(upstream);
        Self(Arc::new([Arc::new(TransportPolicy::new(Transport::new(Arc::new(client))))]))
    }
}

impl Client<Request> for Policies {
    async fn send(&mut self, mut request: Request) -> Result<http::StatusCode, BoxError> {
        let response = self.0[0].send(&Context::new(), &mut request, &self.0[1..]).await?;
        Ok(http::StatusCode::from_u16(response.status().into())?)
    }
}

// === impl Credential ===

#[async_trait]
impl TokenCredential for Credential {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let issued = self.0.issue().await.map_err(|error| {
            azure_core::Error::new(azure_core::error::ErrorKind::Credential, error)
        })?;
        let now = OffsetDateTime::now_utc();
        Ok(AccessToken::new(issued.token, if issued.has_expired { now } else { now + LIFETIME }))
    }
}

// === impl Authorize ===

#[async_trait]
impl OnChallenge for Authorize {
    async fn on_challenge(
        &self,
        _: &Context,
        request: &mut Request,
        authorizer: &dyn Authorizer,
        _: &Headers,
    ) -> azure_core::Result<()> {
        authorizer.authorize(request, &[SCOPE], TokenRequestOptions::default()).await
    }
}

// === impl UpstreamClient ===

#[async_trait]
impl HttpClient for UpstreamClient {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let headers = request.headers();
        let authorization = headers.get_optional_with(&AUTHORIZATION, as_str)?.unwrap_or_default();
        let status = match request.body() {
            Body::SeekableStream(stream) if request.method() == Method::Post => {
                let body = body_of(stream.clone());
                Box::pin(self.0.respond_to_upload(authorization.as_bytes(), body)).await
            }
            _ => self.0.respond(authorization.as_bytes()).await,
        };
        let mut headers = Headers::new();
        if status == http::StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        Ok(AsyncRawResponse::from_bytes(StatusCode::from(status.as_u16()), headers, Bytes::new()))
    }
}
