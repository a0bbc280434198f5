use std::{
    error::Error,
    fmt,
    time::{Duration, SystemTime},
};

use http::{HeaderValue, header::AUTHORIZATION, request};

use crate::{
    credential::{Secret, contract::Credential},
    error::RefreshError,
};

const SCHEME: &str = "Bearer ";

/// A bearer token ([RFC 6750]), with its refresh token and its expiry.
///
/// A token replaces the `Authorization` header of a request ([RFC 6750 §2.1]). Clones are cheap and
/// share the text.
///
/// `Debug` shows neither token, and there is no `Display`. The header value is marked sensitive,
/// which keeps it out of the `Debug` of a request and out of the HPACK table of an HTTP/2
/// connection. The refresh token is a [`Secret`], which overwrites its memory with the feature
/// `zeroize`. The access token is not overwritten, since every request and the HTTP client have
/// copies of it.
///
/// [RFC 6750]: https://www.rfc-editor.org/rfc/rfc6750
/// [RFC 6750 §2.1]: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
///
/// # Examples
///
/// ```
/// use http::Request;
/// use tower_refresh::{Credential, Token};
///
/// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
/// let token = Token::bearer("mF_9.B5f-4.1JqM")?.with_refresh_token("tGzv3JOkF0XG5Qx2TlKWIA");
///
/// let (mut request, ()) = Request::new(()).into_parts();
/// token.apply(&mut request);
/// assert_eq!(request.headers["authorization"], "Bearer mF_9.B5f-4.1JqM");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Token {
    /// `Bearer ` and the access token: visible ASCII, and sensitive.
    header: HeaderValue,
    refresh_token: Option<Secret>,
    expiry: Option<Expiry>,
}

/// The error of an access token that can't be sent as a bearer token.
///
/// The message names the rule that is broken and the position, and shows nothing of the token. The
/// text of the message and the output of `Debug` are not stable.
///
/// # Examples
///
/// ```
/// use tower_refresh::Token;
///
/// let error = Token::bearer("s3cr3t\n").unwrap_err();
/// assert_eq!(error.to_string(), "the access token has a forbidden byte at position 6");
/// ```
#[derive(Clone, Debug)]
pub struct InvalidToken {
    kind: InvalidTokenKind,
}

#[derive(Clone, Copy, Debug)]
enum InvalidTokenKind {
    Empty,
    Forbidden { position: usize },
}

/// The expiry of a token, as its issuer stated it.
#[derive(Clone, Copy, Debug)]
enum Expiry {
    At(SystemTime),
    /// Counted from the arrival of the token in its session.
    In(Duration),
}

/// The text that `Debug` shows in place of a secret.
struct Redacted;

// === impl Token ===

impl Token {
    /// A token that is sent as `Authorization: Bearer <access_token>`.
    ///
    /// All visible ASCII is accepted: 0x21 to 0x7E, the `VSCHAR` of [RFC 6749 §A.12] without the
    /// space. That is more than the `b64token` of [RFC 6750 §2.1], since other tokens are in use.
    ///
    /// # Errors
    ///
    /// If the token is empty, or has any other character, such as a space or a line break. The
    /// token is not trimmed.
    ///
    /// [RFC 6749 §A.12]: https://www.rfc-editor.org/rfc/rfc6749#appendix-A.12
    /// [RFC 6750 §2.1]: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_refresh::Token;
    ///
    /// assert!(Token::bearer("mF_9.B5f-4.1JqM").is_ok());
    /// assert!(Token::bearer("").is_err());
    /// assert!(Token::bearer("two words").is_err());
    /// ```
    pub fn bearer(access_token: impl AsRef<str>) -> Result<Self, InvalidToken> {
        let access_token = access_token.as_ref();
        let kind = if access_token.is_empty() {
            Some(InvalidTokenKind::Empty)
        } else {
            access_token
                .bytes()
                .position(|byte| !byte.is_ascii_graphic())
                .map(|position| InvalidTokenKind::Forbidden { position })
        };
        if let Some(kind) = kind {
            return Err(InvalidToken { kind });
        }

        let mut header = HeaderValue::try_from(format!("{SCHEME}{access_token}"))
            .expect("visible ASCII is a header value");
        header.set_sensitive(true);
        Ok(Self { header, refresh_token: None, expiry: None })
    }

    /// Adds the refresh token ([RFC 6749 §1.5]).
    ///
    /// The refresh token is for the refresher, and is never put on a request. An empty one counts
    /// as none, since some token endpoints answer `""` for no token. See [`Secret`] for the memory
    /// of the text.
    ///
    /// [RFC 6749 §1.5]: https://www.rfc-editor.org/rfc/rfc6749#section-1.5
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_refresh::Token;
    ///
    /// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
    /// let token = Token::bearer("mF_9.B5f-4.1JqM")?.with_refresh_token("tGzv3JOkF0XG5Qx2TlKWIA");
    /// assert_eq!(token.refresh_token(), Some("tGzv3JOkF0XG5Qx2TlKWIA"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_refresh_token(mut self, refresh_token: impl Into<Secret>) -> Self {
        self.refresh_token = Some(refresh_token.into()).filter(|token| !token.expose().is_empty());
        self
    }

    /// With the time at which the upstream stops accepting it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use tower_refresh::{Credential, Token};
    ///
    /// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
    /// let exp = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    /// let token = Token::bearer("mF_9.B5f-4.1JqM")?.with_expires_at(exp);
    /// assert_eq!(token.expires_at(SystemTime::now()), Some(exp));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_expires_at(mut self, expires_at: SystemTime) -> Self {
        self.expiry = Some(Expiry::At(expires_at));
        self
    }

    /// Sets the lifetime of the token: the `expires_in` of [RFC 6749 §5.1].
    ///
    /// The lifetime starts when the session receives the token, by the session's clock. A lifetime
    /// so long that the clock cannot represent its end makes the expiry unknown.
    ///
    /// [RFC 6749 §5.1]: https://www.rfc-editor.org/rfc/rfc6749#section-5.1
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use tower_refresh::{Credential, Token};
    ///
    /// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
    /// let token = Token::bearer("mF_9.B5f-4.1JqM")?.with_expires_in(Duration::from_secs(3600));
    /// let now = SystemTime::now();
    /// assert_eq!(token.expires_at(now), Some(now + Duration::from_secs(3600)));
    ///
    /// assert_eq!(token.with_expires_in(Duration::MAX).expires_at(now), None);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_expires_in(mut self, lifetime: Duration) -> Self {
        self.expiry = Some(Expiry::In(lifetime));
        self
    }

    /// The access token, without the scheme. It is a secret: do not log it.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_refresh::Token;
    ///
    /// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
    /// assert_eq!(Token::bearer("mF_9.B5f-4.1JqM")?.access_token(), "mF_9.B5f-4.1JqM");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn access_token(&self) -> &str {
        self.header
            .to_str()
            .ok()
            .and_then(|header| header.strip_prefix(SCHEME))
            .expect("the header is the scheme and visible ASCII")
    }

    /// The value of the `Authorization` header: `Bearer ` and the access token, marked sensitive.
    ///
    /// For clients that take a header instead of a layer. [`Credential::apply`] puts it on a
    /// request.
    ///
    /// ```
    /// use tower_refresh::Token;
    ///
    /// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
    /// let token = Token::bearer("mF_9.B5f-4.1JqM")?;
    /// assert_eq!(token.authorization(), "Bearer mF_9.B5f-4.1JqM");
    /// assert!(token.authorization().is_sensitive());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn authorization(&self) -> &HeaderValue {
        &self.header
    }

    /// The refresh token, if there is one. It is a secret: do not log it.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_refresh::Token;
    ///
    /// # fn main() -> Result<(), tower_refresh::credential::InvalidToken> {
    /// assert_eq!(Token::bearer("mF_9.B5f-4.1JqM")?.refresh_token(), None);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn refresh_token(&self) -> Option<&str> {
        self.refresh_token.as_ref().map(Secret::expose)
    }
}

impl Credential for Token {
    fn apply(&self, request: &mut request::Parts) {
        request.headers.insert(AUTHORIZATION, self.header.clone());
    }

    fn expires_at(&self, received_at: SystemTime) -> Option<SystemTime> {
        match self.expiry? {
            Expiry::At(expires_at) => Some(expires_at),
            Expiry::In(lifetime) => received_at.checked_add(lifetime),
        }
    }

    /// A copy without the refresh token, which no request needs.
    fn unshared(&self) -> Option<Self> {
        let mut header = HeaderValue::from_bytes(self.header.as_bytes()).ok()?;
        header.set_sensitive(true);
        Some(Self { header, refresh_token: None, expiry: self.expiry })
    }

    /// Whether the access tokens are equal, which is all that an upstream sees.
    fn is_same(&self, other: &Self) -> bool {
        self.header == other.header
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("access_token", &Redacted)
            .field("refresh_token", &self.refresh_token().map(|_| Redacted))
            .field("expiry", &self.expiry)
            .finish()
    }
}

// === impl InvalidToken ===

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            InvalidTokenKind::Empty => f.write_str("the access token is empty"),
            InvalidTokenKind::Forbidden { position } => {
                write!(f, "the access token has a forbidden byte at position {position}")
            }
        }
    }
}

impl Error for InvalidToken {}

/// [Ambiguous](crate::RefreshErrorKind::Ambiguous): the endpoint has answered the refresh with a
/// token that no header can carry, so the refresh token may be used up.
impl From<InvalidToken> for RefreshError {
    fn from(invalid: InvalidToken) -> Self {
        Self::ambiguous(invalid)
    }
}

// === impl Redacted ===

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Request;
    use proptest::prelude::*;

    use super::*;

    const _: fn() = || {
        fn is_credential<T: Credential + Clone + fmt::Debug>() {}
        fn is_error<T: Error + Clone + Send + Sync + 'static>() {}
        is_credential::<Token>();
        is_error::<InvalidToken>();
    };

    #[test]
    fn a_token_with_a_forbidden_byte_is_refused_and_not_shown() {
        let cases = [
            ("", "the access token is empty"),
            (" ", "the access token has a forbidden byte at position 0"),
            ("abc\r", "the access token has a forbidden byte at position 3"),
            ("a\nb", "the access token has a forbidden byte at position 1"),
            ("a b", "the access token has a forbidden byte at position 1"),
            ("ab\t", "the access token has a forbidden byte at position 2"),
            ("caf\u{e9}", "the access token has a forbidden byte at position 3"),
            ("a\u{7f}", "the access token has a forbidden byte at position 1"),
            ("\0", "the access token has a forbidden byte at position 0"),
        ];
        for (token, text) in cases {
            let error = Token::bearer(token).expect_err(token);
            assert_eq!(error.to_string(), text, "{token:?}");
        }
        let error = Token::bearer("hush hush").unwrap_err();
        assert!(!format!("{error} {error:?} {error:#?}").contains("hush"));
    }

    #[test]
    fn any_string_type_makes_a_token() {
        for token in [
            Token::bearer("t"),
            Token::bearer(String::from("t")),
            Token::bearer(Arc::<str>::from("t")),
        ] {
            let token = token
                .unwrap()
                .with_refresh_token("r")
                .with_refresh_token(String::from("r"))
                .with_refresh_token(Secret::from("r"))
                .with_refresh_token(Arc::<str>::from("r"));
            assert_eq!(token.access_token(), "t");
            assert_eq!(token.refresh_token(), Some("r"));
        }
    }

    #[test]
    fn applying_a_token_replaces_every_authorization_header() {
        let (mut request, ()) = Request::builder()
            .header("authorization", "Basic eDp5")
            .header("accept", "*/*")
            .header("authorization", "Bearer old")
            .body(())
            .unwrap()
            .into_parts();

        let token = Token::bearer("new").unwrap().with_refresh_token("hush");
        token.apply(&mut request);
        token.apply(&mut request);

        let values: Vec<_> = request.headers.get_all(AUTHORIZATION).iter().collect();
        assert_eq!(values, ["Bearer new"]);
        assert_eq!(request.headers.len(), 2);
        assert!(values[0].is_sensitive());
        assert!(Token::is_present(&request));
    }

    #[test]
    fn debug_shows_neither_token() {
        let token = Token::bearer("hush-access").unwrap();
        assert_eq!(
            format!("{token:?}"),
            "Token { access_token: [redacted], refresh_token: None, expiry: None }"
        );

        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
        let token = token.with_refresh_token("hush-refresh").with_expires_at(time);
        assert_eq!(
            format!("{token:?}"),
            format!(
                "Token {{ access_token: [redacted], refresh_token: Some([redacted]), \
                 expiry: Some(At({time:?})) }}"
            )
        );
        assert!(!format!("{token:#?}").contains("hush"));

        let (mut request, ()) = Request::new(()).into_parts();
        token.apply(&mut request);
        assert!(!format!("{request:?}").contains("hush"));
    }

    #[test]
    fn tokens_are_the_same_when_their_access_tokens_are() {
        let token = Token::bearer("a").unwrap();
        let dressed = token.clone().with_refresh_token("r").with_expires_in(Duration::ZERO);
        assert!(token.is_same(&dressed));
        assert!(!token.is_same(&Token::bearer("A").unwrap()));
        assert!(!token.is_same(&Token::bearer("aa").unwrap()));
    }

    #[test]
    fn an_unshared_copy_has_a_header_of_its_own_that_is_as_sensitive_and_no_refresh_token() {
        let token = Token::bearer("hush").unwrap().with_refresh_token("hush hush");
        let copy = token.unshared().unwrap();
        assert!(copy.is_same(&token) && copy.header.is_sensitive());
        assert_ne!(copy.header.as_bytes().as_ptr(), token.header.as_bytes().as_ptr());
        assert_eq!(copy.refresh_token(), None);
    }

    #[test]
    fn a_lifetime_counts_from_the_arrival() {
        let lifetime = Duration::from_secs(60);
        let token = Token::bearer("t").unwrap().with_expires_in(lifetime);
        for arrival in [SystemTime::UNIX_EPOCH, SystemTime::now()] {
            assert_eq!(token.expires_at(arrival), Some(arrival + lifetime));
        }
    }

    #[test]
    fn a_lifetime_without_an_expressible_end_is_unknown_even_after_a_known_one() {
        let token = Token::bearer("t")
            .unwrap()
            .with_expires_at(SystemTime::UNIX_EPOCH)
            .with_expires_in(Duration::MAX);
        assert_eq!(token.expires_at(SystemTime::now()), None);
    }

    #[test]
    fn an_empty_refresh_token_is_none() {
        let token = Token::bearer("t").unwrap().with_refresh_token("r");
        assert_eq!(token.with_refresh_token("").refresh_token(), None);
    }

    proptest! {
        #[test]
        fn visible_ascii_is_a_token_and_comes_back_as_it_was(text in "[!-~]{1,40}") {
            let token = Token::bearer(&text).unwrap();
            prop_assert_eq!(token.access_token(), text);
        }

        #[test]
        fn nothing_else_is_a_token(text in any::<String>()) {
            let legal = !text.is_empty() && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
            prop_assert_eq!(Token::bearer(text).is_ok(), legal);
        }
    }
}
