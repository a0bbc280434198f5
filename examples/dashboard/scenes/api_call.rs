//! One request of a herd, and the check of its response.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;

/// The header with the number of the request.
pub(crate) const REQUEST_ID: &str = "x-request-id";

pub(crate) struct ApiCall {
    pub(crate) number: usize,
    method: Method,
    path: &'static str,
    body: Bytes,
    answer: Bytes,
}

impl ApiCall {
    /// A mix of requests. Every second one is a POST with a unique body, which the API echoes.
    pub(crate) fn nth(number: usize) -> Self {
        match number % 6 {
            0 => Self::get(number, "/api/user", "user=ada"),
            2 => Self::get(number, "/api/notifications", "unread=3"),
            4 => Self::get(number, "/api/settings", "theme=dark"),
            1 | 3 => Self::post(number, "/api/messages"),
            _ => Self::post(number, "/api/settings"),
        }
    }

    pub(crate) fn request(&self, api_url: &str) -> Result<Request<Full<Bytes>>, http::Error> {
        Request::builder()
            .method(&self.method)
            .uri(format!("{api_url}{}", self.path))
            .header(REQUEST_ID, self.number)
            .body(Full::new(self.body.clone()))
    }

    pub(crate) fn is_done_by(&self, response: &Response<Bytes>) -> bool {
        response.status() == StatusCode::OK && *response.body() == self.answer
    }

    fn get(number: usize, path: &'static str, answer: &'static str) -> Self {
        let answer = Bytes::from_static(answer.as_bytes());
        Self { number, method: Method::GET, path, body: Bytes::new(), answer }
    }

    fn post(number: usize, path: &'static str) -> Self {
        let body = Bytes::from(format!("number={number}&text={}", "lorem+ipsum+".repeat(20)));
        Self { number, method: Method::POST, path, answer: body.clone(), body }
    }
}
