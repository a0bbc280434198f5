//! The token endpoint (RFC 6749 §3.2) and the revocation endpoint (RFC 7009).

use axum::{
    Form, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::auth_server::{
    app::AuthServer,
    grants::{InvalidGrant, IssuedTokens},
};

#[derive(Deserialize)]
#[serde(tag = "grant_type", rename_all = "snake_case")]
pub(super) enum TokenRequest {
    AuthorizationCode { code: String, redirect_uri: String, code_verifier: String },
    RefreshToken { refresh_token: String },
}

#[derive(Deserialize)]
pub(super) struct RevocationRequest {
    token: String,
}

/// A refusal of the token endpoint (RFC 6749 §5.2).
pub(super) enum Refusal {
    InvalidClient,
    InvalidGrant,
}

pub(super) async fn exchange(
    State(server): State<AuthServer>,
    headers: HeaderMap,
    Form(request): Form<TokenRequest>,
) -> Result<Json<IssuedTokens>, Refusal> {
    authenticate(&server, &headers)?;
    let issued = match request {
        TokenRequest::AuthorizationCode { code, redirect_uri, code_verifier } => {
            if redirect_uri != server.client.redirect_uri {
                return Err(Refusal::InvalidGrant);
            }
            server.grants.redeem(&code, &code_verifier)?
        }
        TokenRequest::RefreshToken { refresh_token } => server.grants.refresh(&refresh_token)?,
    };
    Ok(Json(issued))
}

pub(super) async fn revoke(
    State(server): State<AuthServer>,
    headers: HeaderMap,
    Form(request): Form<RevocationRequest>,
) -> Result<StatusCode, Refusal> {
    authenticate(&server, &headers)?;
    server.grants.revoke(&request.token);
    Ok(StatusCode::OK)
}

fn authenticate(server: &AuthServer, headers: &HeaderMap) -> Result<(), Refusal> {
    if server.client.sent(headers) { Ok(()) } else { Err(Refusal::InvalidClient) }
}

// === impl Refusal ===

impl From<InvalidGrant> for Refusal {
    fn from(_: InvalidGrant) -> Self {
        Self::InvalidGrant
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::InvalidClient => (StatusCode::UNAUTHORIZED, "invalid_client"),
            Self::InvalidGrant => (StatusCode::BAD_REQUEST, "invalid_grant"),
        };
        (status, Json(json!({ "error": error }))).into_response()
    }
}
