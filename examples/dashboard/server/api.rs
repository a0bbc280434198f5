//! The API that the dashboard shows: everything below `/api`, for the bearer of a good access token.

use crate::server::{auth::Auth, gate::Gate, traffic::Meter};
use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE},
};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use std::sync::Arc;

pub(crate) struct Api {
    auth: Arc<Auth>,
    pub(crate) rejections: Gate,
    meter: Meter,
}

impl Api {
    pub(crate) fn new(auth: Arc<Auth>, meter: Meter) -> Self {
        Self { auth, rejections: Gate::open(), meter }
    }

    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.meter.count(|traffic| traffic.api_requests += 1);
        // The head decides, as in most servers: a body may still be on its way when its request is rejected.
        let access_token = bearer(request.headers());
        if !access_token.is_some_and(|token| self.auth.accepts(token)) {
            self.meter.count(|traffic| traffic.api_rejections += 1);
            self.rejections.pass().await;
            return rejection(if access_token.is_some() {
                r#"Bearer error="invalid_token""#
            } else {
                "Bearer"
            });
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/api/user") => answer(StatusCode::OK, "user=ada"),
            (&Method::GET, "/api/notifications") => answer(StatusCode::OK, "unread=3"),
            (&Method::GET, "/api/settings") => answer(StatusCode::OK, "theme=dark"),
            // Whoever posts gets it back, and can compare.
            (&Method::POST, "/api/messages" | "/api/settings") => match request.into_body().collect().await {
                Ok(body) => answer(StatusCode::OK, body.to_bytes()),
                Err(_) => answer(StatusCode::BAD_REQUEST, "error=incomplete"),
            },
            _ => answer(StatusCode::NOT_FOUND, "error=not_found"),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn rejection(challenge: &'static str) -> Response<Full<Bytes>> {
    let mut response = answer(StatusCode::UNAUTHORIZED, "error=invalid_token");
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
