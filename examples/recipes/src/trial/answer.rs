//! The answers of the API, in the protocol of each request.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Response, StatusCode, request::Parts};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use serde_json::{Value, json};

pub(super) type AnyBody = BoxBody<Bytes, Infallible>;

/// An empty message: no flags, and no length.
const MESSAGE: &[u8] = &[0; 5];

pub(super) fn accepted(head: &Parts, body: &[u8]) -> Response<AnyBody> {
    match content_type(head) {
        web if web.starts_with("application/grpc-web") => {
            let frames = [MESSAGE, &web_trailers("0")].concat();
            typed(web, whole(frames))
        }
        grpc if grpc.starts_with("application/grpc") => {
            let frames = [Frame::data(Bytes::from_static(MESSAGE)), Frame::trailers(status("0"))];
            typed(grpc, framed(frames))
        }
        _ => typed("application/json", whole(json_answer(head, body).to_string())),
    }
}

pub(super) fn rejected(head: &Parts) -> Response<AnyBody> {
    match content_type(head) {
        web if web.starts_with("application/grpc-web") => typed(web, whole(web_trailers("16"))),
        grpc if grpc.starts_with("application/grpc") => {
            typed(grpc, framed([Frame::trailers(status("16"))]))
        }
        _ => plain(StatusCode::UNAUTHORIZED, ""),
    }
}

pub(super) fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<AnyBody> {
    let mut response = whole(body);
    *response.status_mut() = status;
    response
}

fn json_answer(head: &Parts, body: &[u8]) -> Value {
    match serde_json::from_slice::<Value>(body) {
        Ok(call) if call.get("jsonrpc").is_some() => {
            json!({ "jsonrpc": "2.0", "id": call["id"], "result": "pong" })
        }
        _ if head.uri.query().is_some_and(|query| query.contains("watch=true")) => {
            let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a" } });
            json!({ "type": "ADDED", "object": pod })
        }
        _ if head.uri.path().ends_with("/pods") => {
            json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": [] })
        }
        _ => json!({}),
    }
}

fn content_type(head: &Parts) -> &str {
    head.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn whole(body: impl Into<Bytes>) -> Response<AnyBody> {
    Response::new(Full::new(body.into()).boxed())
}

fn framed<const N: usize>(frames: [Frame<Bytes>; N]) -> Response<AnyBody> {
    let frames = stream::iter(frames.map(Ok::<_, Infallible>));
    Response::new(BodyExt::boxed(StreamBody::new(frames)))
}

fn typed(content_type: &str, mut response: Response<AnyBody>) -> Response<AnyBody> {
    let content_type = HeaderValue::from_str(content_type).expect("it was a header value before");
    response.headers_mut().insert("content-type", content_type);
    response
}

fn status(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from_static(code))])
}

/// The trailers of gRPC-Web, which are data on the wire.
fn web_trailers(code: &str) -> Vec<u8> {
    let text = format!("grpc-status: {code}\r\n");
    let length = u32::try_from(text.len()).expect("a short text");
    [&[0x80][..], &length.to_be_bytes(), text.as_bytes()].concat()
}
