use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION,
        PROXY_AUTHORIZATION, REFERER, TRANSFER_ENCODING, WWW_AUTHENTICATE,
    },
};
use reqwest::{Request, Url};

/// The number of redirects that may be followed, in the extensions of a response whose client has
/// followed none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RedirectLimit(pub(super) usize);

/// The copy of a request, for the hop after a redirect.
pub(super) struct HopCopy {
    request: Request,
    /// The body is a stream, which can't be sent to another URL.
    has_lost_body: bool,
}

/// reqwest's default.
pub(super) const MAX_REDIRECTS: usize = 10;

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
    pub(super) fn redirected(self, status: StatusCode, headers: &HeaderMap) -> Option<Request> {
        let Self { mut request, mut has_lost_body } = self;
        let next = location(request.url(), headers)?;
        match status {
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
            _ => return None,
        }
        if has_lost_body {
            return None;
        }
        if request.url().origin() != next.origin() {
            drop_credentials_of_the_caller(request.headers_mut());
        }
        if let Some(referer) = referer(request.url(), &next) {
            request.headers_mut().insert(REFERER, referer);
        }
        *request.url_mut() = next;
        Some(request)
    }
}

fn location(base: &Url, headers: &HeaderMap) -> Option<Url> {
    let location = str::from_utf8(headers.get(LOCATION)?.as_bytes()).ok()?;
    let next = base.join(location).ok()?;
    matches!(next.scheme(), "http" | "https").then_some(next)
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
    for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, WWW_AUTHENTICATE] {
        headers.remove(name);
    }
    headers.remove("cookie2");
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
