//! The login by an authorization code with PKCE (RFC 6749 §4.1, RFC 7636), and the logout.

use axum::{
    extract::{Query, State},
    response::{AppendHeaders, IntoResponse, Redirect, Response},
};
use http::{StatusCode, header::SET_COOKIE};
use serde::Deserialize;
use tower_refresh::Token;

use crate::backend::{
    app::Backend,
    browser::Browser,
    pages::{self, Notice},
    provider::LoginError,
    session_key::SessionKey,
};

/// The answer of the auth server, which the browser brings. A refusal has no code.
#[derive(Deserialize)]
pub(super) struct Callback {
    code: Option<String>,
    state: Option<String>,
}

/// Sends the browser to the auth server. The login is bound to this browser by a cookie.
pub(super) async fn begin(State(backend): State<Backend>) -> Response {
    let (url, login) = backend.provider.begin();
    let cookie = backend.cookies.set_pending_login(&login).map(|cookie| (SET_COOKIE, cookie));
    (AppendHeaders(cookie), Redirect::to(url.as_str())).into_response()
}

/// Ends the login that the browser has begun: exchanges the code, and starts a session.
pub(super) async fn finish(
    State(backend): State<Backend>,
    browser: Browser,
    Query(callback): Query<Callback>,
) -> Response {
    let done = backend.cookies.clear_pending_login().map(|cookie| (SET_COOKIE, cookie));
    let answer = match exchange(&backend, browser, callback).await {
        Ok(key) => {
            let cookie = backend.cookies.set_session(&key).map(|cookie| (SET_COOKIE, cookie));
            (AppendHeaders(cookie), Redirect::to("/")).into_response()
        }
        Err(status) => (status, pages::login_with(Notice::LoginFailed)).into_response(),
    };
    (AppendHeaders(done), answer).into_response()
}

async fn exchange(
    backend: &Backend,
    browser: Browser,
    callback: Callback,
) -> Result<SessionKey, StatusCode> {
    let login = browser.pending_login.ok_or(StatusCode::BAD_REQUEST)?;
    // A code that another browser has got must not log this one in (RFC 6749 §10.12).
    if callback.state.as_ref() != Some(login.state.secret()) {
        return Err(StatusCode::BAD_REQUEST);
    }
    let code = callback.code.ok_or(StatusCode::FORBIDDEN)?;
    let token = backend.provider.finish(code, login.verifier).await;
    let token = token.map_err(|error| match error {
        LoginError::Refused => StatusCode::FORBIDDEN,
        LoginError::Unavailable => StatusCode::BAD_GATEWAY,
    })?;
    if let Some(key) = browser.session_key {
        end(backend, &key).await;
    }
    start(backend, token).await
}

/// Starts a session with a key of its own. The key that the browser had before is not used again:
/// an attacker may know it.
async fn start(backend: &Backend, token: Token) -> Result<SessionKey, StatusCode> {
    let key = SessionKey::random();
    let session = backend.sessions.login(&key, token).await;
    session.map(|_| key).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}

/// Ends the login of this browser, and revokes its grant.
pub(super) async fn log_out(State(backend): State<Backend>, browser: Browser) -> Response {
    if let Some(key) = browser.session_key {
        end(&backend, &key).await;
    }
    let cookie = backend.cookies.clear_session().map(|cookie| (SET_COOKIE, cookie));
    (StatusCode::NO_CONTENT, AppendHeaders(cookie)).into_response()
}

/// Ends a login. The hook of the session revokes its grant, and a hook that fails has no effect on
/// the logout. A key that is unknown makes no session.
async fn end(backend: &Backend, key: &SessionKey) {
    // Without a store there is nothing to load, so a logout cannot fail.
    let _ = backend.sessions.logout(key).await;
    backend.sessions.remove(key);
}
