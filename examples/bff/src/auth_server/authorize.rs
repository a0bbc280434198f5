//! The authorization endpoint (RFC 6749 §4.1.1) and its login form.

use axum::{
    Form,
    extract::{FromRequestParts, Query, State},
    response::{Html, IntoResponse, Redirect, Response},
};
use http::{StatusCode, header::CONTENT_TYPE, request::Parts};
use serde::Deserialize;
use url::Url;

use crate::auth_server::{app::AuthServer, user::User};

/// A valid request for a login. A code may be sent to its redirect URI.
pub(super) struct AuthorizationRequest {
    redirect_uri: Url,
    state: String,
    challenge: String,
}

#[derive(Deserialize)]
struct Params {
    response_type: String,
    client_id: String,
    redirect_uri: String,
    state: String,
    code_challenge: String,
    code_challenge_method: String,
}

/// An invalid request. The server redirects it nowhere, since its address may be an attacker's.
pub(super) struct InvalidRequest;

#[derive(Deserialize)]
pub(super) struct Credentials {
    name: String,
    password: String,
}

const FORM: &str = include_str!("pages/login.html");
const STYLE: &str = include_str!("../style.css");
const WRONG_PASSWORD: &str = r#"<p role="alert">The name or the password is wrong.</p>"#;

pub(super) async fn show(_: AuthorizationRequest) -> Html<String> {
    Html(FORM.replace("<!--notice-->", ""))
}

/// Takes the form. The form is sent to the address of its page, whose query is the request.
pub(super) async fn log_in(
    State(server): State<AuthServer>,
    mut request: AuthorizationRequest,
    Form(credentials): Form<Credentials>,
) -> Response {
    let Some(user) = User::authenticate(&credentials.name, &credentials.password) else {
        let form = Html(FORM.replace("<!--notice-->", WRONG_PASSWORD));
        return (StatusCode::FORBIDDEN, form).into_response();
    };
    let code = server.grants.authorize(user, request.challenge);
    let mut query = request.redirect_uri.query_pairs_mut();
    query.append_pair("code", &code).append_pair("state", &request.state);
    drop(query);
    Redirect::to(request.redirect_uri.as_str()).into_response()
}

pub(super) async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)
}

// === impl AuthorizationRequest ===

impl FromRequestParts<AuthServer> for AuthorizationRequest {
    type Rejection = InvalidRequest;

    async fn from_request_parts(
        parts: &mut Parts,
        server: &AuthServer,
    ) -> Result<Self, InvalidRequest> {
        let params = Query::<Params>::try_from_uri(&parts.uri).map_err(|_| InvalidRequest)?.0;
        let is_valid = params.response_type == "code"
            && params.client_id == server.client.id
            && params.redirect_uri == server.client.redirect_uri
            && params.code_challenge_method == "S256";
        let redirect_uri = params.redirect_uri.parse().ok().filter(|_| is_valid);
        Ok(Self {
            redirect_uri: redirect_uri.ok_or(InvalidRequest)?,
            state: params.state,
            challenge: params.code_challenge,
        })
    }
}

// === impl InvalidRequest ===

impl IntoResponse for InvalidRequest {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, "the authorization request is not valid\n").into_response()
    }
}
