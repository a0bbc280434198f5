use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};

use crate::secret;

/// The one client that is registered: the back-end.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) redirect_uri: String,
}

// === impl Client ===

impl Client {
    /// Registers a client with this redirect URI.
    pub(crate) fn register(redirect_uri: String) -> Self {
        Self { id: "bff".to_owned(), secret: secret::random(), redirect_uri }
    }

    /// Whether a request proves itself by the client's secret (RFC 6749 §2.3.1). Neither the id nor
    /// the secret has a character that would be encoded.
    pub(super) fn sent(&self, headers: &HeaderMap) -> bool {
        let proof = BASE64_STANDARD.encode(format!("{}:{}", self.id, self.secret));
        headers.get(AUTHORIZATION).is_some_and(|value| *value == format!("Basic {proof}"))
    }
}
