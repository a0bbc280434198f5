use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION,
        PROXY_AUTHORIZATION, REFERER, TRANSFER_ENCODING, WWW_AUTHENTICATE,
    },
};
use reqwest::{Request, Response, Url};

use crate::reqwest::error::{SendError, SendErrorKind};

/// The place where the redirects of a client are followed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Redirects {
    /// Above the layers, up to this number. The client itself follows none.
    Above(usize),
    /// Below the layers, by the client itself.
    Below,
}

/// A hop whose client follows no redirects itself, in the extensions of its response.
#[derive(Clone, Copy)]
pub(super) struct Hop {
    /// The number of redirects that may be followed for the request.
    pub(super) max_redirects: usize,
    /// The hop had a credential of the caller, so that the layer let it pass.
    pub(super) has_own_credential: bool,
}

/// The copy of a request, for the hop after a redirect.
pub(super) struct HopCopy {
    request: Request,
    /// The body is a stream, which can't be sent to another URL.
    has_lost_body: bool,
}

/// reqwest's default.
pub(super) const MAX_REDIRECTS: usize = 10;

/// The headers that reqwest removes at a redirect to another origin.
const DROPPED: [HeaderName; 5] = [
    AUTHORIZATION,
    COOKIE,
    HeaderName::from_static("cookie2"),
    PROXY_AUTHORIZATION,
    WWW_AUTHENTICATE,
];

/// The host of a response that was made without a URL, as reqwest names it.
const NO_URL: &str = "no.url.provided.local";

// === impl HopCopy ===

impl HopCopy {
    pub(super) fn of(request: &mut Request) -> Self {
        if let Some(request) = request.try_clone() {
            return Self { request, has_lost_body: false };
        }
        let stream = request.body_mut().take();
        let copy = request.try_clone().expect("a request without a body can be cloned");
        *request.body_mut() = stream;
        Self { request: copy, has_lost_body: true }
    }

    /// The request that follows a redirect, as reqwest makes it. `None` if the response is no
    /// redirect, or cannot be followed: the caller gets it.
    ///
    /// # Errors
    ///
    /// If the redirect leads away from HTTP, as in reqwest.
    pub(super) fn redirected(self, response: &Response) -> Result<Option<Request>, SendError> {
        let Self { mut request, mut has_lost_body } = self;
        match response.status() {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => {
                if request.method() == Method::POST {
                    *request.method_mut() = Method::GET;
                    drop_body(&mut request);
                    has_lost_body = false;
                }
            }
            StatusCode::SEE_OTHER => {
                if request.method() != Method::HEAD {
                    *request.method_mut() = Method::GET;
                }
                drop_body(&mut request);
                has_lost_body = false;
            }
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {}
            _ => return Ok(None),
        }
        let base = base(request.url(), response).clone();
        let Some(next) = location(&base, response.headers()).filter(|_| !has_lost_body) else {
            return Ok(None);
        };
        if !matches!(next.scheme(), "http" | "https") {
            return Err(SendError::new(SendErrorKind::ForeignScheme, next));
        }
        if base.origin() != next.origin() {
            drop_credentials_of_the_caller(request.headers_mut());
        }
        if let Some(referer) = referer(request.url(), &next) {
            request.headers_mut().insert(REFERER, referer);
        }
        *request.url_mut() = next;
        Ok(Some(request))
    }
}

/// Whether a secret is among the headers that reqwest sends to other origins at a redirect.
pub(super) fn has_exposed(
    headers: &HeaderMap,
    is_secret: impl Fn(&HeaderName, &HeaderValue) -> bool,
) -> bool {
    headers.iter().any(|(name, value)| !DROPPED.contains(name) && is_secret(name, value))
}

/// Whether this is the URL that a response came from. A middleware makes responses without one.
pub(super) fn is_known(url: &Url) -> bool {
    url.host_str() != Some(NO_URL)
}

/// The URL to which a redirect is relative: that of the response. If it differs from the caller's
/// URL in the query alone, the query may hold a credential, and the caller's URL is taken.
fn base<'a>(requested: &'a Url, response: &'a Response) -> &'a Url {
    let url = response.url();
    let is_elsewhere = url.origin() != requested.origin() || url.path() != requested.path();
    if is_known(url) && is_elsewhere { url } else { requested }
}

/// The URL of a redirect, if it can be followed.
fn location(base: &Url, headers: &HeaderMap) -> Option<Url> {
    let location = str::from_utf8(headers.get(LOCATION)?.as_bytes()).ok()?;
    let next = base.join(location).ok()?;
    // reqwest sends URIs. Some URLs are none: those that are too long, or have no host.
    Uri::try_from(next.as_str()).is_ok().then_some(next)
}

fn drop_body(request: &mut Request) {
    *request.body_mut() = None;
    for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING] {
        request.headers_mut().remove(name);
    }
}

/// Removes the headers that are meant for the first origin. The layer puts the session's credential
/// on each hop anew, if its origins permit.
fn drop_credentials_of_the_caller(headers: &mut HeaderMap) {
    for name in DROPPED {
        headers.remove(name);
    }
}

fn referer(previous: &Url, next: &Url) -> Option<HeaderValue> {
    if previous.scheme() == "https" && next.scheme() == "http" {
        return None;
    }
    let mut referer = previous.clone();
    referer.set_username("").ok()?;
    referer.set_password(None).ok()?;
    referer.set_fragment(None);
    HeaderValue::from_str(referer.as_str()).ok()
}
