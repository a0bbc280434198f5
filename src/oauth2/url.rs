use std::{error, fmt};

use ::oauth2::url::{ParseError, Url};
use http::Uri;

use crate::credential::origin::is_cleartext;

/// Where an endpoint of the authorization server is.
///
/// It has to be `https://`, or `http://` to a loopback address, because refresh tokens and client
/// secrets travel there; [`allow_cleartext`](Self::allow_cleartext) is for those who know better. A
/// user name, a password or a fragment in it is refused.
///
/// ```
/// use tower_refresh::oauth2::EndpointUrl;
///
/// assert!(EndpointUrl::new("https://login.example.com/oauth/token").is_ok());
/// assert!(EndpointUrl::new("http://[::1]:8080/token").is_ok());
/// assert!(EndpointUrl::new("http://login.example.com/oauth/token").is_err());
/// assert!(EndpointUrl::allow_cleartext("http://gateway.internal/token").is_ok());
/// ```
#[derive(Clone)]
pub struct EndpointUrl {
    url: Url,
    uri: Uri,
}

/// A text is not the URL of an endpoint. It says why, without showing the text.
#[derive(Clone, Debug)]
pub struct InvalidUrl(Reason);

#[derive(Clone, Debug)]
enum Reason {
    Unparsed(ParseError),
    Scheme,
    UserInfo,
    Fragment,
    Cleartext,
    Uri,
}

// === impl EndpointUrl ===

impl EndpointUrl {
    /// `https://`, or `http://` on this machine.
    ///
    /// # Errors
    ///
    /// If it is anything else, or holds a user name, a password or a fragment.
    pub fn new(url: &str) -> Result<Self, InvalidUrl> {
        let url = Self::allow_cleartext(url)?;
        if is_cleartext(&url.uri) { Err(InvalidUrl(Reason::Cleartext)) } else { Ok(url) }
    }

    /// Also `http://` to anywhere: whoever listens on the way learns the secrets.
    ///
    /// # Errors
    ///
    /// As those of [`new`](Self::new), otherwise.
    pub fn allow_cleartext(url: &str) -> Result<Self, InvalidUrl> {
        let url = Url::parse(url).map_err(|error| InvalidUrl(Reason::Unparsed(error)))?;
        let reason = if !matches!(url.scheme(), "https" | "http") {
            Some(Reason::Scheme)
        } else if !url.username().is_empty() || url.password().is_some() {
            Some(Reason::UserInfo)
        } else if url.fragment().is_some() {
            Some(Reason::Fragment)
        } else {
            None
        };
        if let Some(reason) = reason {
            return Err(InvalidUrl(reason));
        }
        let uri = Uri::try_from(url.as_str()).map_err(|_| InvalidUrl(Reason::Uri))?;
        Ok(Self { url, uri })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }
}

impl TryFrom<&str> for EndpointUrl {
    type Error = InvalidUrl;

    fn try_from(url: &str) -> Result<Self, InvalidUrl> {
        Self::new(url)
    }
}

/// Without the query, which some use for keys.
impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.url.clone();
        shown.set_query(None);
        write!(f, "EndpointUrl({shown})")
    }
}

// === impl InvalidUrl ===

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Reason::Unparsed(_) | Reason::Uri => "not an absolute URL",
            Reason::Scheme => "the scheme of the URL is neither https nor http",
            Reason::UserInfo => "the URL holds a user name or a password",
            Reason::Fragment => "the URL holds a fragment",
            Reason::Cleartext => "the URL would have secrets travel in cleartext",
        })
    }
}

impl error::Error for InvalidUrl {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.0 {
            Reason::Unparsed(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXTS: &str = r"(https?://|HTTP://|ws://|)(localhost|127\.0\.0\.1|\[::1\]|a\.example|)(hush|[\[\]:.@/?#*a1%\\]|\PC){0,8}";

    proptest! {
        #[test]
        fn what_is_taken_keeps_its_secrets_and_what_is_not_is_not_shown(text in TEXTS) {
            match EndpointUrl::new(&text) {
                Ok(url) => {
                    prop_assert!(!is_cleartext(url.uri()), "{url:?}");
                    prop_assert_eq!(url.uri().to_string(), url.url().as_str());
                    prop_assert!(!url.uri().authority().unwrap().as_str().contains('@'));
                    prop_assert_eq!(url.url().fragment(), None);
                    prop_assert_eq!(url.uri().host(), url.url().host_str());
                }
                Err(error) => {
                    let shown = format!("{error} {error:?}");
                    prop_assert!(!shown.contains("hush"), "{}", shown);
                }
            }
        }

        #[test]
        fn permission_takes_nothing_but_cleartext_besides(text in TEXTS) {
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
