//! axum: a proxy that puts its own credential on requests to an upstream.
//!
//! ```sh
//! cargo add tower-refresh axum http
//! cargo add hyper-util --features client-legacy,http1,tokio
//! cargo add tower --features util
//! ```

use axum::{Router, body::Body, error_handling::HandleErrorLayer};
use http::{Request, StatusCode, Uri, uri::PathAndQuery};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{BoxError, ServiceBuilder};
use tower_refresh::{Origin, RefreshLayer, Session, respond::RespondLayer};

/// Errors of the session become responses: 401 without a login, 503 after a failed refresh. An
/// upstream that cannot be reached is a 502.
pub fn proxy(session: Session, upstream: Origin, base: Uri) -> Router {
    let to_upstream = move |mut request: Request<Body>| {
        let path = request.uri().path_and_query().cloned();
        let mut parts = base.clone().into_parts();
        parts.path_and_query = path.or(Some(PathAndQuery::from_static("/")));
        *request.uri_mut() = Uri::from_parts(parts).expect("each part was valid");
        request
    };
    let stack = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(|_: BoxError| async { StatusCode::BAD_GATEWAY }))
        .map_request(to_upstream)
        .layer(RespondLayer::default())
        .layer(RefreshLayer::new(session, upstream).overwrite(true))
        .service(Client::builder(TokioExecutor::new()).build_http());
    Router::new().fallback_service(stack)
}
