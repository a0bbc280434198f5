//! axum: a proxy with a session for each of its users.
//!
//! ```sh
//! cargo add tower-refresh --features sessions
//! cargo add axum http
//! cargo add hyper-util --features client-legacy,http1,tokio
//! cargo add tower --features util
//! ```

use axum::{Router, body::Body, error_handling::HandleErrorLayer};
use http::{Request, StatusCode, Uri, header::COOKIE, uri::PathAndQuery};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{BoxError, ServiceBuilder};
use tower_refresh::{
    Origin, RefreshLayer,
    respond::RespondLayer,
    sessions::{CookieKey, Sessions, SessionsLayer},
};

/// A cookie names the user. The route of the login calls `sessions.login(&cookie, token)`. A user
/// without a login gets a 401, and so does a request without the cookie, which the upstream does
/// not see.
pub fn proxy(sessions: Sessions<String>, upstream: Origin, base: Uri) -> Router {
    let to_upstream = move |mut request: Request<Body>| {
        let path = request.uri().path_and_query().cloned();
        let mut parts = base.clone().into_parts();
        parts.path_and_query = path.or(Some(PathAndQuery::from_static("/")));
        *request.uri_mut() = Uri::from_parts(parts).expect("each part was valid");
        request.headers_mut().remove(COOKIE);
        request
    };
    let stack = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(|_: BoxError| async { StatusCode::BAD_GATEWAY }))
        .layer(RespondLayer::default())
        .layer(SessionsLayer::new(sessions, CookieKey::new("__Host-session")))
        .map_request(to_upstream)
        .layer(RefreshLayer::per_request(upstream).overwrite(true))
        .service(Client::builder(TokioExecutor::new()).build_http());
    Router::new().fallback_service(stack)
}
