use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};
use http::header::InvalidHeaderValue;
use tower_http::csrf::CsrfLayer;

use crate::{
    auth_server::{admin, authorize, client::Client, grants::Grants, token},
    headers, hosts,
};

/// The parts of the auth server that its handlers share.
#[derive(Clone)]
pub(super) struct AuthServer {
    pub(super) client: Arc<Client>,
    pub(super) grants: Arc<Grants>,
}

/// The auth server at these hosts. A login leads to the `pages` of the client.
pub(crate) fn router(
    client: Client,
    grants: Arc<Grants>,
    hosts: Vec<String>,
    pages: &str,
) -> Result<Router, InvalidHeaderValue> {
    let routes = Router::new()
        .route("/authorize", get(authorize::show).post(authorize::log_in))
        .route("/token", post(token::exchange))
        .route("/revoke", post(token::revoke))
        .route("/admin", get(admin::show))
        .route("/admin/counters", get(admin::counters))
        .route("/admin/expire", post(admin::expire))
        .route("/admin/revoke", post(admin::revoke))
        .route("/style.css", get(authorize::style))
        .layer(CsrfLayer::new())
        .with_state(AuthServer { client: Arc::new(client), grants });
    headers::secure(hosts::only(routes, hosts), pages)
}
