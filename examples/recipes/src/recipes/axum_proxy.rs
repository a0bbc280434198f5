//! axum: a proxy that puts its own credential on requests to an upstream.

use axum::{Router, body::Body};
use http::{Request, Uri, uri::PathAndQuery};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{ServiceBuilder, ServiceExt};
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
        .map_request(to_upstream)
        .layer(RespondLayer::default())
        .layer(RefreshLayer::new(session, upstream).overwrite(true))
        .service(Client::builder(TokioExecutor::new()).build_http());
    Router::new().fallback(move |request: Request<Body>| {
        let stack = stack.clone();
        async move {
            match stack.oneshot(request).await {
                Ok(response) => response.map(Body::new),
                Err(_) => {
                    let mut response = http::Response::new(Body::empty());
                    *response.status_mut() = http::StatusCode::BAD_GATEWAY;
                    response
                }
            }
        }
    })
}
