//! The header that calls of scripts must have.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::HeaderMap;

use crate::backend::problem::Problem;

const HEADER: &str = "x-bff";
const SITE: &str = "sec-fetch-site";

/// Lets a request pass that a page of this origin has sent.
///
/// A page of another origin can neither send the header nor choose `Sec-Fetch-Site`: a browser asks
/// the server first whether it may send the header (CORS), and this server never agrees. This also
/// covers requests that change nothing, which a `CsrfLayer` lets pass.
pub(super) async fn require_header(request: Request, next: Next) -> Response {
    if is_ours(request.headers()) {
        next.run(request).await
    } else {
        Problem::ForeignPage.into_response()
    }
}

fn is_ours(headers: &HeaderMap) -> bool {
    let is_scripted = headers.get(HEADER).is_some_and(|value| value == "1");
    is_scripted && headers.get(SITE).is_none_or(|site| site == "same-origin")
}
