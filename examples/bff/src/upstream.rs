//! The upstream API: what the dashboard shows. Its callers prove themselves by an access token.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    extract::{FromRequestParts, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{
    StatusCode,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
    request::Parts,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::auth_server::{Grants, User};

/// The data of the API. Clones are handles to the same data.
#[derive(Clone)]
struct Upstream {
    grants: Arc<Grants>,
    settings: Arc<Mutex<HashMap<User, Settings>>>,
}

/// The settings of a user.
#[derive(Clone, Copy, Default, Deserialize, Serialize)]
struct Settings {
    theme: Theme,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Theme {
    #[default]
    Light,
    Dark,
}

/// The user whose access token the request carries.
struct Caller(User);

/// A request without a valid access token (RFC 6750 §3.1).
struct InvalidToken;

/// The API, which asks the auth server about tokens.
pub(crate) fn router(grants: Arc<Grants>) -> Router {
    Router::new()
        .route("/user", get(user))
        .route("/notifications", get(notifications))
        .route("/settings", get(settings).put(change_settings))
        .with_state(Upstream { grants, settings: Arc::default() })
}

async fn user(Caller(user): Caller) -> Json<Value> {
    Json(json!({ "name": user.full_name(), "email": user.email() }))
}

async fn notifications(Caller(user): Caller) -> Json<&'static [&'static str]> {
    Json(user.notifications())
}

async fn settings(Caller(user): Caller, State(upstream): State<Upstream>) -> Json<Settings> {
    Json(upstream.settings().get(&user).copied().unwrap_or_default())
}

async fn change_settings(
    Caller(user): Caller,
    State(upstream): State<Upstream>,
    Json(settings): Json<Settings>,
) -> Json<Settings> {
    upstream.settings().insert(user, settings);
    Json(settings)
}

// === impl Upstream ===

impl Upstream {
    fn settings(&self) -> MutexGuard<'_, HashMap<User, Settings>> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Caller ===

impl FromRequestParts<Upstream> for Caller {
    type Rejection = InvalidToken;

    async fn from_request_parts(
        parts: &mut Parts,
        upstream: &Upstream,
    ) -> Result<Self, InvalidToken> {
        let value = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer "));
        token.and_then(|token| upstream.grants.user_of(token)).map(Self).ok_or(InvalidToken)
    }
}

// === impl InvalidToken ===

impl IntoResponse for InvalidToken {
    fn into_response(self) -> Response {
        let challenge = [(WWW_AUTHENTICATE, r#"Bearer error="invalid_token""#)];
        (StatusCode::UNAUTHORIZED, challenge).into_response()
    }
}
