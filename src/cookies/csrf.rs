use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use percent_encoding::percent_decode_str;

use crate::cookies::store::Pair;

/// A double-submit check: the copy of a cookie in a header shows that a request was made by the
/// application, and not by another site.
///
/// The application defines the names: `csrftoken` and `X-CSRFToken` in Django, `XSRF-TOKEN` and
/// `X-XSRF-TOKEN` in Angular, Laravel and Spring, `csrf_access_token` and `X-CSRF-TOKEN` in
/// Flask-JWT-Extended.
///
/// ```
/// use http::{HeaderName, Request};
/// use tower_refresh::{cookies::{Csrf, Jar}, Credential};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let csrf = Csrf::new("csrftoken", HeaderName::from_static("x-csrftoken"));
/// let jar = Jar::new("https://app.example.com")?
///     .with_csrf(csrf)
///     .with_cookie("csrftoken=6Qx2; Path=/; Secure")?;
///
/// let (mut request, ()) = Request::post("https://app.example.com/api/orders").body(())?.into_parts();
/// jar.apply(&mut request);
/// assert_eq!(request.headers["x-csrftoken"], "6Qx2");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Csrf {
    cookie: Box<str>,
    header: HeaderName,
    is_decoded: bool,
    on_safe_methods: bool,
}

// === impl Csrf ===

impl Csrf {
    /// Copies the cookie of this name into this header. The names of cookies are case-sensitive.
    pub fn new(cookie: impl Into<Box<str>>, header: HeaderName) -> Self {
        Self { cookie: cookie.into(), header, is_decoded: false, on_safe_methods: false }
    }

    /// Decodes the percent-encoding of the cookie on the way into the header, as axios and Angular
    /// do: Laravel needs it. Default: false.
    #[must_use]
    pub fn percent_decoded(mut self, is_decoded: bool) -> Self {
        self.is_decoded = is_decoded;
        self
    }

    /// Whether requests that change nothing (`GET`, `HEAD`, `OPTIONS`, `TRACE`) have the header as
    /// well. Default: false.
    #[must_use]
    pub fn on_safe_methods(mut self, on_safe_methods: bool) -> Self {
        self.on_safe_methods = on_safe_methods;
        self
    }

    /// Sets the header from the cookies of the request. A request without the cookie gets no
    /// header.
    pub(super) fn apply(&self, method: &Method, cookies: &[Pair], headers: &mut HeaderMap) {
        if method.is_safe() && !self.on_safe_methods {
            return;
        }
        let token = cookies.iter().find(|(name, _)| **name == *self.cookie);
        if let Some(mut value) = token.and_then(|(_, token)| self.header_value(token.expose())) {
            value.set_sensitive(true);
            headers.insert(self.header.clone(), value);
        }
    }

    /// `None` if the decoded token has characters that no header may have.
    fn header_value(&self, token: &str) -> Option<HeaderValue> {
        if !self.is_decoded {
            return HeaderValue::from_bytes(token.as_bytes()).ok();
        }
        let decoded = percent_decode_str(token).decode_utf8().ok()?;
        HeaderValue::from_bytes(decoded.as_bytes()).ok()
    }
}

impl fmt::Debug for Csrf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Csrf")
            .field("cookie", &self.cookie)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: HeaderName = HeaderName::from_static("x-csrf");

    fn applied(csrf: &Csrf, method: Method, token: &str) -> Option<HeaderValue> {
        let cookies = [("sid".to_owned(), "1".into()), ("csrf".to_owned(), token.into())];
        let mut headers = HeaderMap::new();
        csrf.apply(&method, &cookies, &mut headers);
        headers.remove(HEADER)
    }

    #[test]
    fn requests_with_unsafe_methods_have_the_header() {
        let csrf = Csrf::new("csrf", HEADER);
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert_eq!(applied(&csrf, method, "t").unwrap(), "t");
        }
        assert_eq!(applied(&csrf, Method::GET, "t"), None);
        assert_eq!(applied(&csrf.clone().on_safe_methods(true), Method::GET, "t").unwrap(), "t");
        assert_eq!(applied(&Csrf::new("CSRF", HEADER), Method::POST, "t"), None);
    }

    #[test]
    fn a_token_is_decoded_only_if_configured_and_never_to_a_line_break() {
        let csrf = Csrf::new("csrf", HEADER);
        assert_eq!(applied(&csrf, Method::POST, "a%3D").unwrap(), "a%3D");
        let decoding = csrf.percent_decoded(true);
        assert_eq!(applied(&decoding, Method::POST, "a%3D").unwrap(), "a=");
        assert_eq!(applied(&decoding, Method::POST, "a%0D%0Ax-evil: 1"), None);
        assert_eq!(applied(&decoding, Method::POST, "%FF"), None);
    }

    #[test]
    fn the_token_is_not_shown() {
        let value = applied(&Csrf::new("csrf", HEADER), Method::POST, "s3cr3t").unwrap();
        assert!(!format!("{value:?}").contains("s3cr3t"));
    }

    proptest! {
        #[test]
        fn a_token_is_decoded_or_no_header_is_sent(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let encoded: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
            let decoding = Csrf::new("csrf", HEADER).percent_decoded(true);
            let expected = str::from_utf8(&bytes).ok().and_then(|_| HeaderValue::from_bytes(&bytes).ok());
            prop_assert_eq!(applied(&decoding, Method::POST, &encoded), expected);
        }

        #[test]
        fn any_token_makes_a_valid_header_or_none(token in any::<String>(), is_decoded: bool) {
            let csrf = Csrf::new("csrf", HEADER).percent_decoded(is_decoded);
            if let Some(value) = applied(&csrf, Method::POST, &token) {
                prop_assert!(value.is_sensitive());
                prop_assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
            }
        }
    }
}
