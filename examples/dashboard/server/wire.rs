//! The place of tokens in requests and responses.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Response, header::AUTHORIZATION};
use http_body_util::Full;

use crate::form;

/// Reads and writes the tokens of a session in one format.
pub(crate) trait Wire: Send + Sync {
    fn access_token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str>;

    fn refresh_token<'a>(&self, headers: &'a HeaderMap, body: &'a [u8]) -> Option<&'a str>;

    /// The answer to a login or a refresh.
    fn issue(&self, pair: &Pair, now: SystemTime) -> Response<Full<Bytes>>;

    /// The value of a rejection's `WWW-Authenticate`.
    fn challenge(&self, has_token: bool) -> Option<&'static str>;
}

/// The tokens that a login or a refresh returns.
pub(crate) struct Pair {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    pub(crate) lifetime: Duration,
}

/// Access tokens in `Authorization`, and all other tokens in bodies.
pub(crate) struct Bearer;

impl Wire for Bearer {
    fn access_token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
    }

    fn refresh_token<'a>(&self, _: &'a HeaderMap, body: &'a [u8]) -> Option<&'a str> {
        form::field(body, "refresh_token")
    }

    fn issue(&self, pair: &Pair, _: SystemTime) -> Response<Full<Bytes>> {
        let Pair { access_token, refresh_token, lifetime } = pair;
        let tokens = format!("access_token={access_token}&refresh_token={refresh_token}");
        Response::new(Full::from(format!("{tokens}&expires_in={}", lifetime.as_secs())))
    }

    fn challenge(&self, has_token: bool) -> Option<&'static str> {
        Some(if has_token { r#"Bearer error="invalid_token""# } else { "Bearer" })
    }
}
