use std::{error, fmt};

use http::Uri;
use url::Url;

use crate::credential::origin::is_cleartext;

/// The URL of an auth server's endpoint.
///
/// The scheme has to be `https`, or `http` with a loopback host, because refresh tokens and client
/// secrets travel there. [`allow_cleartext`](Self::allow_cleartext) is for a network that is
/// trusted. A user name, a password or a fragment in the URL is refused.
///
/// ```
/// use tower_refresh::exchange::EndpointUrl;
///
/// assert!(EndpointUrl::new("https://login.example.com/oauth/token").is_ok());
/// assert!(EndpointUrl::new("http://[::1]:8080/token").is_ok());
/// assert!(EndpointUrl::new("http://login.example.com/oauth/token").is_err());
/// assert!(EndpointUrl::allow_cleartext("http://gateway.internal/token").is_ok());
/// ```
#[derive(Clone)]
pub struct EndpointUrl {
    uri: Uri,
}

/// A text is not a URL, or not a path, that can be used here.
///
/// The message says why without showing the text, which may have a password in it. Neither the
/// message nor the `Debug` output is stable.
///
/// ```
/// use tower_refresh::exchange::EndpointUrl;
///
/// let error = EndpointUrl::new("https://ada:lovelace@login.example.com/token").unwrap_err();
/// assert_eq!(error.to_string(), "the URL has user information");
/// ```
#[derive(Clone, Debug)]
pub struct InvalidUrl {
    reason: &'static str,
}

/// Parses an `http` or `https` URL without user information.
pub(crate) fn parse_http(text: &str) -> Result<Url, InvalidUrl> {
    let url = Url::parse(text).map_err(|_| InvalidUrl::new("the text is not an absolute URL"))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(InvalidUrl::new("the scheme of the URL is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidUrl::new("the URL has user information"));
    }
    Ok(url)
}

// === impl EndpointUrl ===

impl EndpointUrl {
    /// A URL with the scheme `https`, or `http` and a loopback host.
    ///
    /// # Errors
    ///
    /// For every other URL, and for one with a user name, a password or a fragment.
    pub fn new(url: &str) -> Result<Self, InvalidUrl> {
        let url = Self::allow_cleartext(url)?;
        if is_cleartext(&url.uri) {
            return Err(InvalidUrl::new("the URL would send secrets in cleartext"));
        }
        Ok(url)
    }

    /// A URL with the scheme `https`, or `http` and any host. Anyone on the network path can
    /// then read the secrets.
    ///
    /// # Errors
    ///
    /// For every other URL, and for one with a user name, a password or a fragment.
    pub fn allow_cleartext(url: &str) -> Result<Self, InvalidUrl> {
        let url = parse_http(url)?;
        if url.fragment().is_some() {
            return Err(InvalidUrl::new("the URL has a fragment"));
        }
        let uri = Uri::try_from(url.as_str());
        let uri = uri.map_err(|_| InvalidUrl::new("the text is not an absolute URL"))?;
        Ok(Self { uri })
    }

    /// The URL, for a request.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }
}

impl TryFrom<&str> for EndpointUrl {
    type Error = InvalidUrl;

    fn try_from(url: &str) -> Result<Self, InvalidUrl> {
        Self::new(url)
    }
}

/// Without the query, which may hold a key.
impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.uri.to_string();
        let shown = shown.split('?').next().unwrap_or_default();
        write!(f, "EndpointUrl({shown})")
    }
}

// === impl InvalidUrl ===

impl InvalidUrl {
    pub(crate) const fn new(reason: &'static str) -> Self {
        Self { reason }
    }
}

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl error::Error for InvalidUrl {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXTS: &str = r"(https?://|HTTP://|ws://|)(localhost|127\.0\.0\.1|\[::1\]|a\.example|)(hush|[\[\]:.@/?#*a1%\\]|\PC){0,8}";

    proptest! {
        #[test]
        fn a_url_keeps_its_secrets_and_an_error_does_not_show_the_text(text in TEXTS) {
            match EndpointUrl::new(&text) {
                Ok(url) => {
                    prop_assert!(!is_cleartext(url.uri()), "{url:?}");
                    let parsed = Url::parse(&text).unwrap();
                    prop_assert_eq!(url.uri().to_string(), parsed.as_str());
                    prop_assert!(!url.uri().authority().unwrap().as_str().contains('@'));
                    prop_assert_eq!(url.uri().host(), parsed.host_str());
                }
                Err(error) => {
                    let shown = format!("{error} {error:?}");
                    prop_assert!(!shown.contains("hush"), "{}", shown);
                }
            }
        }

        #[test]
        fn allow_cleartext_takes_only_cleartext_urls_besides(text in TEXTS) {
            let (with, without) = (EndpointUrl::allow_cleartext(&text), EndpointUrl::new(&text));
            prop_assert_eq!(with.is_ok_and(|url| !is_cleartext(url.uri())), without.is_ok());
        }

        #[test]
        fn a_query_is_not_shown(query in "[a-z&=%?/]{0,10}") {
            let url = EndpointUrl::new(&format!("https://a.example/t?key=hush{query}")).unwrap();
            let shown = format!("{url:?}");
            prop_assert!(!shown.contains("hush"), "{}", shown);
        }
    }
}
