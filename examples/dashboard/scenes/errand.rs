//! One request of a herd, and how to tell that its answer is the right one.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;

pub(crate) struct Errand {
    method: Method,
    path: &'static str,
    body: Bytes,
    answer: Bytes,
}

impl Errand {
    /// A mix: every second one is a POST with a body unlike any other, that the API sends back.
    pub(crate) fn nth(number: usize) -> Self {
        match number % 6 {
            0 => Self::get("/api/user", "user=ada"),
            2 => Self::get("/api/notifications", "unread=3"),
            4 => Self::get("/api/settings", "theme=dark"),
            1 | 3 => Self::post("/api/messages", number),
            _ => Self::post("/api/settings", number),
        }
    }

    pub(crate) fn request(&self, api_url: &str) -> Result<Request<Full<Bytes>>, http::Error> {
        Request::builder()
            .method(&self.method)
            .uri(format!("{api_url}{}", self.path))
            .body(Full::new(self.body.clone()))
    }

    pub(crate) fn is_done_by(&self, response: &Response<Bytes>) -> bool {
        response.status() == StatusCode::OK && *response.body() == self.answer
    }

    fn get(path: &'static str, answer: &'static str) -> Self {
        Self {
            method: Method::GET,
            path,
            body: Bytes::new(),
            answer: Bytes::from_static(answer.as_bytes()),
        }
    }

    fn post(path: &'static str, number: usize) -> Self {
        let body = Bytes::from(format!("number={number}&text={}", "lorem+ipsum+".repeat(20)));
        Self { method: Method::POST, path, answer: body.clone(), body }
    }
}
