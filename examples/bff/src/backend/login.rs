//! The login by an authorization code with PKCE (RFC 6749 §4.1, RFC 7636), and the logout.

use axum::{
    extract::{Query, State},
    response::{IntoResponse, Redirect, Response},
};
use http::StatusCode;
use oauth2::PkceCodeVerifier;
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

/// The login page with a notice, and this status.
pub(super) struct FailedLogin(StatusCode);

/// Sends the browser to the auth server. The login is bound to this browser by a cookie.
pub(super) async fn begin(State(backend): State<Backend>) -> impl IntoResponse {
    let (url, login) = backend.provider.begin();
    (backend.cookies.set_pending_login(&login), Redirect::to(url.as_str()))
}

/// Ends the login that the browser has begun: exchanges the code, and starts a session.
pub(super) async fn finish(
    State(backend): State<Backend>,
    browser: Browser,
    Query(callback): Query<Callback>,
) -> Result<Response, FailedLogin> {
    // A code that another browser has got must not log this one in (RFC 6749 §10.12). The cookie
    // stays, because a link of another page must not end the login that this browser has begun.
    let begun = browser.pending_login;
    let begun = begun.filter(|login| callback.state.as_ref() == Some(login.state.secret()));
    let begun = begun.ok_or(FailedLogin(StatusCode::BAD_REQUEST))?;
    let answer = match exchange(&backend, callback.code, begun.verifier).await {
        Ok(token) => start(&backend, browser.session_key, token).await.into_response(),
        Err(failed) => failed.into_response(),
    };
    Ok((backend.cookies.clear_pending_login(), answer).into_response())
}

async fn exchange(
    backend: &Backend,
    code: Option<String>,
    verifier: PkceCodeVerifier,
) -> Result<Token, FailedLogin> {
    let code = code.ok_or(FailedLogin(StatusCode::FORBIDDEN))?;
    Ok(backend.provider.finish(code, verifier).await?)
}

/// Starts a session with a key of its own, and ends the earlier one of the browser. The earlier key
/// is not used again: an attacker may know it.
async fn start(
    backend: &Backend,
    earlier: Option<SessionKey>,
    token: Token,
) -> Result<impl IntoResponse + use<>, FailedLogin> {
    if let Some(key) = earlier {
        end(backend, &key).await;
    }
    let key = SessionKey::random();
    if backend.sessions.login(&key, token.clone()).await.is_err() {
        // There is no room for one more session, and no session whose hook would revoke the grant.
        let _ = backend.revocation.revoke(&token).await;
        return Err(FailedLogin(StatusCode::SERVICE_UNAVAILABLE));
    }
    Ok((backend.cookies.set_session(&key), Redirect::to("/")))
}

/// Ends the login of this browser, and revokes its grant.
pub(super) async fn log_out(State(backend): State<Backend>, browser: Browser) -> impl IntoResponse {
    if let Some(key) = browser.session_key {
        end(&backend, &key).await;
    }
    (StatusCode::NO_CONTENT, backend.cookies.clear_session())
}

/// Ends a login. The hook of the session revokes its grant, and a hook that fails has no effect on
/// the logout. A key that is unknown makes no session.
async fn end(backend: &Backend, key: &SessionKey) {
    // Without a store there is nothing to load, so a logout cannot fail.
    let _ = backend.sessions.logout(key).await;
    backend.sessions.remove(key);
}

// === impl FailedLogin ===

impl From<LoginError> for FailedLogin {
    fn from(error: LoginError) -> Self {
        Self(match error {
            LoginError::Refused => StatusCode::FORBIDDEN,
            LoginError::Unavailable => StatusCode::BAD_GATEWAY,
        })
    }
}

impl IntoResponse for FailedLogin {
    fn into_response(self) -> Response {
        (self.0, pages::login_with(Notice::LoginFailed)).into_response()
    }
}
