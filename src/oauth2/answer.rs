use std::{fmt, sync::LazyLock, time::Duration};

use ::oauth2::{
    AccessToken, ErrorResponse, RefreshToken, Scope, TokenResponse, basic::BasicTokenType,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::IgnoredAny, ser::Error as _};
use zeroize::Zeroize;

use crate::{
    credential::token::Token,
    error::RefreshError,
    oauth2::{error::Failure, lifetime::Lifetime},
};

/// The answer of a token endpoint ([RFC 6749 §5.1], and [§5.2] with the status of a success): more
/// lenient than the `oauth2` crate's own where a strict one would throw away a token that was
/// issued.
///
/// [RFC 6749 §5.1]: https://www.rfc-editor.org/rfc/rfc6749#section-5.1
/// [§5.2]: https://www.rfc-editor.org/rfc/rfc6749#section-5.2
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    #[serde(default)]
    access_token: Option<AccessToken>,
    #[serde(default = "bearer", deserialize_with = "token_type")]
    token_type: BasicTokenType,
    #[serde(default)]
    expires_in: Lifetime,
    #[serde(default)]
    refresh_token: Option<RefreshToken>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default, deserialize_with = "text")]
    error_description: Option<String>,
}

/// The answer of a token endpoint that refuses ([RFC 6749 §5.2]). Its code alone decides, so that
/// nothing that a server makes of the rest may hide it.
///
/// [RFC 6749 §5.2]: https://www.rfc-editor.org/rfc/rfc6749#section-5.2
#[derive(Deserialize)]
pub(super) struct RefusalAnswer {
    error: String,
    #[serde(default, deserialize_with = "text")]
    error_description: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AnyValue {
    Text(String),
    Other(IgnoredAny),
}

/// What is no text is none.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match AnyValue::deserialize(deserializer)? {
        AnyValue::Text(text) => Some(text),
        AnyValue::Other(_) => None,
    })
}

const NOT_WRITTEN: &str = "an answer is not written anywhere";

fn bearer() -> BasicTokenType {
    BasicTokenType::Bearer
}

fn token_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BasicTokenType, D::Error> {
    let named = Option::<String>::deserialize(deserializer)?;
    Ok(match named {
        Some(name) if !name.eq_ignore_ascii_case("bearer") => BasicTokenType::Extension(name),
        _ => BasicTokenType::Bearer,
    })
}

// === impl TokenAnswer ===

impl TokenAnswer {
    /// The code of a failure that came with the status of a success, as GitHub's and Slack's do.
    pub(super) fn error(&self) -> Option<(&str, Option<&str>)> {
        let code = self.error.as_deref().filter(|code| !code.is_empty())?;
        Some((code, self.error_description.as_deref()))
    }

    /// The token, without its refresh token.
    ///
    /// The server has done what it was asked for, so that a failure is an ambiguous one: the
    /// refresh token that was sent may be used up.
    pub(super) fn token(&self) -> Result<Token, RefreshError> {
        let access_token = self.access_token.as_ref().map(|token| token.secret().as_str());
        let access_token =
            access_token.filter(|token| !token.is_empty()).ok_or(Failure::NoAccessToken);
        let access_token = access_token.map_err(RefreshError::ambiguous)?;
        if self.token_type != BasicTokenType::Bearer {
            return Err(RefreshError::ambiguous(Failure::NotBearer));
        }
        let token = Token::bearer(access_token).map_err(RefreshError::ambiguous)?;
        Ok(match self.expires_in.0 {
            Some(lifetime) => token.with_expires_in(lifetime),
            None => token,
        })
    }

    pub(super) fn new_refresh_token(&self) -> Option<&str> {
        self.refresh_token
            .as_ref()
            .map(|token| token.secret().as_str())
            .filter(|token| !token.is_empty())
    }
}

impl TokenResponse for TokenAnswer {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        static NONE: LazyLock<AccessToken> = LazyLock::new(|| AccessToken::new(String::new()));
        self.access_token.as_ref().unwrap_or(&NONE)
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in.0
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

impl fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenAnswer").finish_non_exhaustive()
    }
}

/// The `oauth2` crate wants it, and nobody calls it.
impl Serialize for TokenAnswer {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom(NOT_WRITTEN))
    }
}

impl Drop for TokenAnswer {
    fn drop(&mut self) {
        if let Some(token) = self.access_token.take() {
            token.into_secret().zeroize();
        }
        if let Some(token) = self.refresh_token.take() {
            token.into_secret().zeroize();
        }
    }
}

// === impl RefusalAnswer ===

impl RefusalAnswer {
    pub(super) fn error(&self) -> (&str, Option<&str>) {
        (&self.error, self.error_description.as_deref())
    }
}

impl ErrorResponse for RefusalAnswer {}

impl fmt::Debug for RefusalAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusalAnswer").finish_non_exhaustive()
    }
}

/// As little as `Debug`.
impl fmt::Display for RefusalAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

/// As little used as that of [`TokenAnswer`].
impl Serialize for RefusalAnswer {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom(NOT_WRITTEN))
    }
}
