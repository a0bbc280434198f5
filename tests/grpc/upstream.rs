//! A client whose upstream is the test, which answers frame by frame.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_refresh::{
    Origin, RefreshLayer, ReplayBody, Session,
    grpc::{self, RequestBody, ResponseBody, TrailersLayer},
    refresher::BoxFuture,
};

use crate::in_time;

pub type AnyBody = UnsyncBoxBody<Bytes, BoxError>;
pub type Sent = Request<RequestBody<ReplayBody<AnyBody>>>;
pub type Answered = Result<Response<AnyBody>, BoxError>;
pub type Received = Result<Response<ResponseBody<AnyBody>>, BoxError>;
pub type Feed = mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>;

/// A client, and the calls that have arrived at its upstream.
pub struct Upstream<S> {
    client: S,
    arrived: mpsc::UnboundedReceiver<Exchange>,
}

pub struct Exchange {
    pub request: Sent,
    pub answer: oneshot::Sender<Answered>,
}

#[derive(Clone)]
pub struct Wire(mpsc::UnboundedSender<Exchange>);

pub struct Fed(mpsc::UnboundedReceiver<Result<Frame<Bytes>, BoxError>>);

/// A body that must not be polled.
pub struct Unreadable;

/// A body that reports its end as soon as its data was read, before it yields its trailers.
pub struct EndsEarly {
    frames: VecDeque<Result<Frame<Bytes>, BoxError>>,
    is_read: bool,
}

/// A call with one message.
pub fn unary() -> Request<AnyBody> {
    let message = Full::new(Bytes::from_static(b"message")).map_err(|never| match never {});
    Request::post("/echo")
        .header("content-type", "application/grpc")
        .body(message.boxed_unsync())
        .unwrap()
}

/// A call that is sending until its feed is dropped.
pub fn streaming() -> (Feed, Request<AnyBody>) {
    let (feed, body) = fed();
    (feed, Request::post("/echo").header("content-type", "application/grpc").body(body).unwrap())
}

pub fn ends_early(frames: &[&'static str]) -> AnyBody {
    let frames = frames.iter().map(|description| frame(description)).collect();
    EndsEarly { frames, is_read: false }.boxed_unsync()
}

pub fn fed() -> (Feed, AnyBody) {
    let (feed, frames) = mpsc::unbounded_channel();
    (feed, Fed(frames).boxed_unsync())
}

pub fn grpc_response(body: AnyBody) -> Response<AnyBody> {
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

pub fn data(data: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(data.as_bytes())))
}

pub fn trailers(status: &'static str) -> Result<Frame<Bytes>, BoxError> {
    let mut trailers = HeaderMap::new();
    if status != "-" {
        trailers.insert("grpc-status", HeaderValue::from_static(status));
    }
    Ok(Frame::trailers(trailers))
}

pub fn frame(description: &'static str) -> Result<Frame<Bytes>, BoxError> {
    match description.split_once(' ') {
        Some(("data", text)) => data(text),
        Some(("trailers", status)) => trailers(status),
        _ => Err("broken".into()),
    }
}

pub fn describe<E>(frame: Option<Result<Frame<Bytes>, E>>) -> Option<String> {
    Some(match frame? {
        Err(_) => "error".to_owned(),
        Ok(frame) => match frame.data_ref() {
            Some(data) => format!("data {}", str::from_utf8(data).unwrap()),
            None => {
                let status = frame.trailers_ref().unwrap().get("grpc-status");
                format!("trailers {}", status.map_or("-", |status| status.to_str().unwrap()))
            }
        },
    })
}

pub async fn frames<B>(mut body: B) -> Vec<String>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut frames = Vec::new();
    while let Some(frame) = describe(in_time(body.frame()).await) {
        let is_over = frame == "error";
        frames.push(frame);
        if is_over {
            break;
        }
    }
    frames
}

// === impl Upstream ===

impl Upstream<()> {
    pub fn below(
        trailers: TrailersLayer,
        session: &Session,
    ) -> Upstream<
        impl Service<
            Request<AnyBody>,
            Response = Response<ResponseBody<AnyBody>>,
            Error = BoxError,
            Future: Send,
        > + Clone
        + Send
        + 'static,
    > {
        Self::below_layer(
            trailers,
            grpc::refresh_layer(session.clone(), Origin::from_static("http://localhost")),
        )
    }

    pub fn below_layer(
        trailers: TrailersLayer,
        refresh: RefreshLayer,
    ) -> Upstream<
        impl Service<
            Request<AnyBody>,
            Response = Response<ResponseBody<AnyBody>>,
            Error = BoxError,
            Future: Send,
        > + Clone
        + Send
        + 'static,
    > {
        let (calls, arrived) = mpsc::unbounded_channel();
        let client = ServiceBuilder::new().layer(refresh).layer(trailers).service(Wire(calls));
        Upstream { client, arrived }
    }
}

impl<S> Upstream<S>
where
    S: Service<Request<AnyBody>, Response = Response<ResponseBody<AnyBody>>, Error = BoxError>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    pub fn call(&self, request: Request<AnyBody>) -> JoinHandle<Received> {
        tokio::spawn(in_time(self.client.clone().oneshot(request)))
    }

    pub async fn next(&mut self) -> Exchange {
        in_time(self.arrived.recv()).await.expect("the client is still there")
    }
}

impl Exchange {
    pub fn bearer(&self) -> &str {
        self.request.headers()["authorization"].to_str().unwrap()
    }

    /// Reads the request to its end.
    pub async fn read_request(mut self) -> Self {
        while in_time(self.request.body_mut().frame()).await.is_some() {}
        self
    }

    pub fn answer_with_headers(mut self) -> Feed {
        self.answer_with_headers_to()
    }

    pub fn answer_with_headers_to(&mut self) -> Feed {
        let (feed, body) = fed();
        let answer = std::mem::replace(&mut self.answer, oneshot::channel().0);
        answer.send(Ok(grpc_response(body))).expect("the caller is still there");
        feed
    }
}

impl Service<Sent> for Wire {
    type Response = Response<AnyBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Answered>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Sent) -> Self::Future {
        let (answer, answered) = oneshot::channel();
        self.0.send(Exchange { request, answer }).expect("the test is still there");
        Box::pin(async move { answered.await.expect("the test answers its calls") })
    }
}

impl Body for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx)
    }
}

impl Body for EndsEarly {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.is_read = true;
        Poll::Ready(self.frames.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.is_read
    }
}

impl Body for Unreadable {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        panic!("it was read")
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(4711)
    }
}
