//! The API that the dashboard shows. It serves every path below `/api` to requests with a valid
//! access token.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    Method, Request, Response, StatusCode,
    header::{HeaderValue, WWW_AUTHENTICATE},
};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use crate::server::{auth::Auth, gate::Gate, traffic::Meter, wire::Wire};

pub(crate) struct Api {
    auth: Arc<Auth>,
    pub(crate) rejections: Gate,
    wire: &'static dyn Wire,
    meter: Meter,
}

impl Api {
    pub(crate) fn new(auth: Arc<Auth>, wire: &'static dyn Wire, meter: Meter) -> Self {
        Self { auth, rejections: Gate::open(), wire, meter }
    }

    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.meter.count(|traffic| traffic.api_requests += 1);
        // Decided by the head, as in most servers: the body of a rejected request may still be on
        // its way.
        let access_token = self.wire.access_token(request.headers());
        if !access_token.is_some_and(|token| self.auth.accepts(token)) {
            self.meter.count(|traffic| traffic.api_rejections += 1);
            self.rejections.pass().await;
            return rejection(self.wire.challenge(access_token.is_some()));
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/api/user") => answer(StatusCode::OK, "user=ada"),
            (&Method::GET, "/api/notifications") => answer(StatusCode::OK, "unread=3"),
            (&Method::GET, "/api/settings") => answer(StatusCode::OK, "theme=dark"),
            // Echoes the body, so that the client can compare it.
            (&Method::POST, "/api/messages" | "/api/settings") => {
                match request.into_body().collect().await {
                    Ok(body) => answer(StatusCode::OK, body.to_bytes()),
                    Err(_) => answer(StatusCode::BAD_REQUEST, "error=incomplete"),
                }
            }
            _ => answer(StatusCode::NOT_FOUND, "error=not_found"),
        }
    }
}

fn rejection(challenge: Option<&'static str>) -> Response<Full<Bytes>> {
    let mut response = answer(StatusCode::UNAUTHORIZED, "error=invalid_token");
    if let Some(challenge) = challenge {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
