use std::{error, fmt};

use http::{Uri, uri::PathAndQuery};
use url::Url;

use crate::credential::origin::Origin;

/// The upstream that a jar is for: all its cookies come from here.
#[derive(Clone)]
pub(super) struct Base {
    url: Url,
    origin: Origin,
    /// The origin once more, as requests name it.
    home: Uri,
}

/// A text is not the URL of an upstream, or not a path on it.
///
/// The message says why without showing the text, which may have a password in it. Neither the
/// message nor what `Debug` shows is stable.
///
/// ```
/// use tower_refresh::cookies::Jar;
///
/// let error = Jar::new("https://ada:lovelace@app.example.com").unwrap_err();
/// assert_eq!(error.to_string(), "the URL has user information");
/// ```
#[derive(Clone, Debug)]
pub struct InvalidUrl {
    kind: InvalidUrlKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum InvalidUrlKind {
    NotAbsolute,
    Scheme,
    Host,
    Userinfo,
    Query,
    Path,
}

/// The path of an endpoint, as it is written in its request.
pub(super) fn parse_path(text: &str) -> Result<PathAndQuery, InvalidUrl> {
    let invalid = InvalidUrl { kind: InvalidUrlKind::Path };
    // A fragment would be dropped without a word.
    if !text.starts_with('/') || text.contains('#') {
        return Err(invalid);
    }
    text.parse().map_err(|_| invalid)
}

// === impl Base ===

impl Base {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidUrl> {
        Self::check(text).map_err(|kind| InvalidUrl { kind })
    }

    fn check(text: &str) -> Result<Self, InvalidUrlKind> {
        let url = Url::parse(text).map_err(|_| InvalidUrlKind::NotAbsolute)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidUrlKind::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidUrlKind::Userinfo);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidUrlKind::Query);
        }
        let origin = url
            .origin()
            .ascii_serialization()
            .parse::<Origin>()
            .map_err(|_| InvalidUrlKind::Host)?;
        let home = origin.to_string().parse().map_err(|_| InvalidUrlKind::Host)?;
        Ok(Self { url, origin, home })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Where an endpoint is: always on this origin, whatever its path looks like.
    pub(super) fn endpoint(&self, path: &PathAndQuery) -> Uri {
        let mut parts = self.home.clone().into_parts();
        parts.path_and_query = Some(path.clone());
        Uri::from_parts(parts).expect("an origin and a path are a URI")
    }

    /// The URL that a request goes to, as cookies see it. `None` where there is nothing that a
    /// cookie could match.
    pub(super) fn resolve(&self, uri: &Uri) -> Option<Url> {
        let Some(authority) = uri.authority() else {
            let mut url = self.url.clone();
            url.set_path(uri.path());
            return Some(url);
        };
        let scheme = match uri.scheme_str()? {
            "ws" => "http",
            "wss" => "https",
            scheme => scheme,
        };
        Url::parse(&format!("{scheme}://{authority}{}", uri.path())).ok()
    }

    /// Whether it is the upstream itself that answers a request to `url`, over a connection as safe
    /// as the jar's own.
    ///
    /// So does a host to which the upstream has its cookies sent.
    pub(super) fn trusts(&self, url: &Url, got_cookies: bool) -> bool {
        let is_known = got_cookies || url.host() == self.url.host();
        is_known && (url.scheme() == "https" || self.url.scheme() == "http")
    }

    /// Whether a `Domain` attribute is one that the upstream may use, as far as that can be told
    /// without a list of public suffixes: `com` is not, `co.uk` is. Whether it is a domain of the
    /// upstream is for the store to check.
    pub(super) fn allows_domain(&self, domain: &str) -> bool {
        let domain = domain.trim();
        domain.contains('.')
            || self.url.host_str().is_some_and(|host| host.eq_ignore_ascii_case(domain))
    }
}

// === impl InvalidUrl ===

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            InvalidUrlKind::NotAbsolute => "the text is not an absolute URL",
            InvalidUrlKind::Scheme => "the scheme of the URL is neither http nor https",
            InvalidUrlKind::Host => "the host of the URL is not one that an origin can have",
            InvalidUrlKind::Userinfo => "the URL has user information",
            InvalidUrlKind::Query => "the URL has a query or a fragment",
            InvalidUrlKind::Path => {
                "the path does not start with a slash, or has a character that no path has"
            }
        })
    }
}

impl error::Error for InvalidUrl {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(text: &str) -> InvalidUrlKind {
        Base::parse(text).err().expect("it is invalid").kind
    }

    fn resolved(base: &str, uri: &str) -> String {
        let url = Base::parse(base).unwrap().resolve(&uri.parse().unwrap());
        url.map_or_else(|| "-".to_owned(), String::from)
    }

    #[test]
    fn a_base_is_an_http_url_without_secrets_and_without_a_query() {
        assert_eq!(kind("app.example.com"), InvalidUrlKind::NotAbsolute);
        assert_eq!(kind("/app"), InvalidUrlKind::NotAbsolute);
        assert_eq!(kind("ftp://app.example.com"), InvalidUrlKind::Scheme);
        assert_eq!(kind("https://ada@app.example.com"), InvalidUrlKind::Userinfo);
        assert_eq!(kind("https://app.example.com/?a"), InvalidUrlKind::Query);
        assert_eq!(kind("https://app.example.com./"), InvalidUrlKind::Host);
        for fine in ["https://app.example.com", "http://127.0.0.1:8080/app/", "http://[::1]:80"] {
            assert!(Base::parse(fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn an_endpoint_stays_on_the_origin_of_its_base() {
        let base = Base::parse("https://app.example.com:8443/app/").unwrap();
        for (path, uri) in [
            ("/auth/refresh?a=b", "https://app.example.com:8443/auth/refresh?a=b"),
            ("//evil.example/x", "https://app.example.com:8443//evil.example/x"),
            ("/@evil.example", "https://app.example.com:8443/@evil.example"),
        ] {
            let endpoint = base.endpoint(&parse_path(path).unwrap());
            assert_eq!(endpoint.to_string(), uri);
            assert_eq!(endpoint.host(), Some("app.example.com"));
        }
        for path in ["", "auth", "https://evil.example/", "/a b", "/a#b", "*", "/a\r\nb"] {
            assert!(parse_path(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_path_may_be_as_long_as_one_can_be() {
        let path = format!("/{}", "a".repeat(65_500));
        let base = Base::parse(&format!("https://{}.example", "a.".repeat(60) + "a")).unwrap();
        assert_eq!(base.endpoint(&parse_path(&path).unwrap()).path(), path);
    }

    #[test]
    fn a_request_without_an_authority_goes_to_the_base() {
        assert_eq!(resolved("https://a.example:444/app/", "/api?q"), "https://a.example:444/api");
        assert_eq!(resolved("https://a.example", "wss://b.example/ws"), "https://b.example/ws");
        assert_eq!(
            resolved("https://a.example", "http://B.example:80/x/../y"),
            "http://b.example/y"
        );
    }

    proptest! {
        #[test]
        fn whatever_the_path_an_endpoint_stays_on_the_origin(path in r"/?([/@:?#.%a\\]|\PC){0,12}") {
            let base = Base::parse("https://app.example.com:8443/app/").unwrap();
            if let Ok(parsed) = parse_path(&path) {
                let endpoint = base.endpoint(&parsed);
                prop_assert_eq!(endpoint.scheme_str(), Some("https"));
                prop_assert_eq!(endpoint.authority().unwrap().as_str(), "app.example.com:8443");
                prop_assert!(base.origin().matches(&endpoint));
                prop_assert_eq!(endpoint.path_and_query(), Some(&parsed));
            }
        }

        #[test]
        fn arbitrary_text_is_the_url_of_an_upstream_or_an_error_that_does_not_show_it(
            text in r"((https?|ftp)://)?(hush|[\[\]:.@/?#*a1]|\PC){0,12}",
        ) {
            match Base::parse(&text) {
                Ok(base) => prop_assert!(base.origin().matches(&base.endpoint(&parse_path("/").unwrap()))),
                Err(error) => {
                    let shown = format!("{error} {error:?}");
                    prop_assert!(!shown.contains("hush"), "{}", shown);
                }
            }
        }
    }
}
