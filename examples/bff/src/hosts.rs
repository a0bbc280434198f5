//! The hosts that a server answers for.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::HOST};

/// Refuses requests for hosts other than these.
///
/// A server on loopback is reached by every page that the browser shows: an attacker lets the name
/// of a page point to 127.0.0.1 (DNS rebinding), and the page is then of the same origin as the
/// server.
pub(crate) fn only(router: Router, hosts: impl Into<Arc<[String]>>) -> Router {
    router.layer(middleware::from_fn_with_state(hosts.into(), check))
}

async fn check(State(hosts): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let header = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let target = request.uri().authority().map(|authority| authority.as_str());
    let is_ours = |host: &str| hosts.iter().any(|own| own == host);
    if header.is_some_and(is_ours) && target.is_none_or(is_ours) {
        next.run(request).await
    } else {
        StatusCode::MISDIRECTED_REQUEST.into_response()
    }
}
