use http::{Uri, uri::PathAndQuery};
use url::Url;

use crate::{
    credential::origin::Origin,
    exchange::{InvalidUrl, url::parse_http},
};

/// The upstream of a jar. All cookies of the jar come from it.
#[derive(Clone)]
pub(super) struct Base {
    url: Url,
    origin: Origin,
    /// The origin, as requests write it.
    home: Uri,
}

/// Parses the path of an endpoint, with its query.
pub(super) fn parse_path(text: &str) -> Result<PathAndQuery, InvalidUrl> {
    let invalid = InvalidUrl::new(
        "the path does not start with a slash, or has a character that no path has",
    );
    // `http` drops a fragment silently.
    if !text.starts_with('/') || text.contains('#') {
        return Err(invalid);
    }
    text.parse().map_err(|_| invalid)
}

// === impl Base ===

impl Base {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidUrl> {
        let url = parse_http(text)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidUrl::new("the URL has a query or a fragment"));
        }
        let host = |_| InvalidUrl::new("the host of the URL is not one that an origin can have");
        let origin = url.origin().ascii_serialization().parse::<Origin>().map_err(host)?;
        let home = origin.to_string().parse::<Uri>();
        let home = home.expect("an origin is a URI");
        Ok(Self { url, origin, home })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The path of cookies that name none (RFC 6265 §5.1.4).
    pub(super) fn default_path(&self) -> &str {
        match self.url.path().rfind('/') {
            None | Some(0) => "/",
            Some(end) => &self.url.path()[..end],
        }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The URI of an endpoint. It is always on this origin, whatever its path looks like.
    pub(super) fn endpoint(&self, path: &PathAndQuery) -> Uri {
        let mut parts = self.home.clone().into_parts();
        parts.path_and_query = Some(path.clone());
        Uri::from_parts(parts).expect("an origin and a path are a URI")
    }

    /// The URL that a request goes to, as cookies see it. `None` if there is no host that a cookie
    /// could match.
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

    /// Whether an answer to a request to `url` may set cookies: it comes from the upstream, or from
    /// a host that gets the upstream's cookies, over a connection as safe as the jar's own.
    pub(super) fn trusts(&self, url: &Url, got_cookies: bool) -> bool {
        let is_known = got_cookies || url.host() == self.url.host();
        is_known && (url.scheme() == "https" || self.url.scheme() == "http")
    }

    /// Whether the upstream may use this `Domain` attribute, as far as that can be told without a
    /// list of public suffixes: `com` is refused, `co.uk` is not. The store checks whether the
    /// domain is the upstream's.
    pub(super) fn allows_domain(&self, domain: &str) -> bool {
        domain.contains('.') || self.url.host_str() == Some(domain)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reason(text: &str) -> String {
        Base::parse(text).err().expect("the URL is invalid").to_string()
    }

    fn resolved(base: &str, uri: &str) -> String {
        let url = Base::parse(base).unwrap().resolve(&uri.parse().unwrap());
        url.map_or_else(|| "-".to_owned(), String::from)
    }

    #[test]
    fn a_base_with_user_information_or_a_query_is_refused() {
        assert_eq!(reason("app.example.com"), "the text is not an absolute URL");
        assert_eq!(reason("/app"), "the text is not an absolute URL");
        assert_eq!(
            reason("ftp://app.example.com"),
            "the scheme of the URL is neither http nor https"
        );
        assert_eq!(reason("https://ada@app.example.com"), "the URL has user information");
        assert_eq!(reason("https://app.example.com/?a"), "the URL has a query or a fragment");
        assert_eq!(
            reason("https://app.example.com./"),
            "the host of the URL is not one that an origin can have"
        );
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
    fn a_path_of_any_length_is_taken() {
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
        fn an_endpoint_stays_on_the_origin_for_any_path(path in r"/?([/@:?#.%a\\]|\PC){0,12}") {
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
        fn text_is_a_url_or_an_error_that_does_not_show_it(
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
