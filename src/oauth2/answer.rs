use std::{fmt, time::Duration};

use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use url::form_urlencoded;

use crate::{
    credential::Secret,
    json::{self, Value},
};

/// The content of a token endpoint's answer: a token, or a refusal ([RFC 6749 §5.1] and [§5.2]).
///
/// [`TokenEndpoint::read_answer`](crate::oauth2::TokenEndpoint::read_answer) makes one of an answer
/// of another form. `Debug` shows no value.
///
/// ```
/// use tower_refresh::oauth2::TokenAnswer;
///
/// let answer = TokenAnswer::from_json(br#"{"access_token":"at-2","expires_in":"3600"}"#);
/// assert_eq!(answer.access_token(), Some("at-2"));
/// ```
///
/// [RFC 6749 §5.1]: https://www.rfc-editor.org/rfc/rfc6749#section-5.1
/// [§5.2]: https://www.rfc-editor.org/rfc/rfc6749#section-5.2
#[derive(Clone, Default)]
#[must_use]
pub struct TokenAnswer {
    access_token: Option<Secret>,
    token_type: Option<String>,
    expires_in: Option<Duration>,
    refresh_token: Option<Secret>,
    error: Option<String>,
    description: Option<String>,
    /// The answer has an error without a name.
    is_refused: bool,
    /// The text ends in the middle of the answer.
    is_cut_off: bool,
}

/// An answer of a token endpoint before it is read. `Debug` shows the status only.
#[derive(Clone)]
pub struct RawAnswer<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    body: &'a [u8],
}

// === impl TokenAnswer ===

impl TokenAnswer {
    /// An answer without any content.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the members of a JSON object, leniently: nothing but the values that are used here
    /// matters, and of a member that is there twice the last usable value counts.
    ///
    /// See [the module docs](crate::oauth2#answers) for the oddities that are read.
    pub fn from_json(body: &[u8]) -> Self {
        let mut answer = Self::default();
        let is_complete = json::read(body, &mut |name, value| answer.take(name, &value));
        answer.is_cut_off = !is_complete;
        answer
    }

    /// Reads a form (`application/x-www-form-urlencoded`), as GitHub and old servers answer.
    pub fn from_form(body: &[u8]) -> Self {
        let mut answer = Self::default();
        for (name, value) in form_urlencoded::parse(body.trim_ascii()) {
            answer.take(&name, &Value::Text(value.into_owned().into()));
        }
        answer
    }

    /// Sets the access token.
    pub fn with_access_token(mut self, token: impl Into<Secret>) -> Self {
        self.access_token = Some(token.into());
        self
    }

    /// Sets the type of the access token. Without one it is a bearer token.
    pub fn with_token_type(mut self, token_type: impl Into<String>) -> Self {
        self.token_type = Some(token_type.into());
        self
    }

    /// Sets the lifetime of the access token, counted from the arrival of the answer.
    pub fn with_expires_in(mut self, lifetime: Duration) -> Self {
        self.expires_in = Some(lifetime);
        self
    }

    /// Sets the new refresh token. Without one, the old one is kept.
    pub fn with_refresh_token(mut self, token: impl Into<Secret>) -> Self {
        self.refresh_token = Some(token.into());
        self
    }

    /// Sets the error code: the answer is a refusal. An empty code changes nothing.
    pub fn with_error(mut self, code: impl Into<String>) -> Self {
        self.error = Some(code.into()).filter(|code| !code.is_empty());
        self
    }

    /// Sets the description of the error.
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// The access token. A secret: it belongs in no log.
    pub fn access_token(&self) -> Option<&str> {
        self.access_token.as_ref().map(Secret::expose).filter(|token| !token.is_empty())
    }

    /// The type of the access token, if the answer names one.
    pub fn token_type(&self) -> Option<&str> {
        self.token_type.as_deref()
    }

    /// The lifetime of the access token.
    pub fn expires_in(&self) -> Option<Duration> {
        self.expires_in
    }

    /// The new refresh token. A secret: it belongs in no log.
    pub fn refresh_token(&self) -> Option<&str> {
        self.refresh_token.as_ref().map(Secret::expose).filter(|token| !token.is_empty())
    }

    /// The error code.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// The description of the error.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// The default way to read an answer.
    pub(super) fn read(answer: &RawAnswer<'_>) -> Self {
        if answer.is_form() { Self::from_form(answer.body) } else { Self::from_json(answer.body) }
    }

    pub(super) fn is_refused(&self) -> bool {
        self.is_refused || self.error.is_some()
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// Takes a member. Returns whether it is of interest.
    fn take(&mut self, name: &str, value: &Value) -> bool {
        let secret = || value.text().map(Secret::from);
        match name.trim() {
            "access_token" => self.access_token = secret().or(self.access_token.take()),
            "refresh_token" => self.refresh_token = secret().or(self.refresh_token.take()),
            "expires_in" => self.expires_in = lifetime(value).or(self.expires_in),
            "token_type" => {
                let named = value.text().map(str::trim).filter(|named| !named.is_empty());
                self.token_type = named.map(str::to_owned).or(self.token_type.take());
            }
            "error" if value.is_nothing() => {}
            "error" => {
                self.is_refused = true;
                let code = value.text().map(str::trim).filter(|code| !code.is_empty());
                self.error = code.map(str::to_owned).or(self.error.take());
            }
            "error_description" => {
                let text = value.text().map(str::to_owned);
                self.description = text.or(self.description.take());
            }
            _ => return false,
        }
        true
    }
}

/// Seconds as a number, or in a string. `None` for a value that is negative, zero, or beyond every
/// clock: the token that came with it may be good.
fn lifetime(value: &Value) -> Option<Duration> {
    let text = value.number()?;
    let lifetime = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => Duration::try_from_secs_f64(text.parse::<f64>().ok()?.floor()).ok()?,
    };
    Some(lifetime).filter(|lifetime| !lifetime.is_zero())
}

impl fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenAnswer").finish_non_exhaustive()
    }
}

// === impl RawAnswer ===

impl<'a> RawAnswer<'a> {
    /// An answer, for a test.
    pub fn new(status: StatusCode, headers: &'a HeaderMap, body: &'a [u8]) -> Self {
        Self { status, headers, body }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The body, up to [`TokenEndpoint::answer_limit`](crate::oauth2::TokenEndpoint::answer_limit).
    /// The body may hold secrets: it belongs in no log.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    fn is_form(&self) -> bool {
        let content_type =
            self.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
        media_type.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    }
}

impl fmt::Debug for RawAnswer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawAnswer").field("status", &self.status).finish_non_exhaustive()
    }
}
