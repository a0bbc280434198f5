use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::backend::{app::Backend, provider::PendingLogin, session_key::SessionKey};

/// The browser of a request, as its cookies identify it.
pub(super) struct Browser {
    /// The session key that the browser shows, which need not be one that a login has made.
    pub(super) session_key: Option<SessionKey>,
    /// The login that the browser has begun.
    pub(super) pending_login: Option<PendingLogin>,
}

// === impl Browser ===

impl FromRequestParts<Backend> for Browser {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, backend: &Backend) -> Result<Self, Infallible> {
        Ok(Self {
            session_key: backend.cookies.session_key(parts),
            pending_login: backend.cookies.pending_login(parts),
        })
    }
}
