use std::{
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    hint::black_box,
    pin::Pin,
    task::{Context, Poll, ready as try_ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Empty;
use tower::Service;

/// A service that drops the request.
#[derive(Clone)]
pub(crate) struct Noop;

/// A service that reads the body of the request to its end.
#[derive(Clone)]
pub(crate) struct Reader;

pub(crate) struct Reading<B>(B);

pub(crate) type Reply = Response<Empty<Bytes>>;

// === impl Noop ===

impl<B> Service<Request<B>> for Noop {
    type Response = Reply;
    type Error = Infallible;
    type Future = Ready<Result<Reply, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        drop(black_box(request));
        ready(Ok(Response::new(Empty::new())))
    }
}

// === impl Reader ===

impl<B: Body<Error: fmt::Debug> + Unpin> Service<Request<B>> for Reader {
    type Response = Reply;
    type Error = Infallible;
    type Future = Reading<B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Reading(black_box(request).into_body())
    }
}

impl<B: Body<Error: fmt::Debug> + Unpin> Future for Reading<B> {
    type Output = Result<Reply, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some(frame) = try_ready!(Pin::new(&mut self.0).poll_frame(cx)) {
            black_box(frame.expect("the body has no error"));
        }
        Poll::Ready(Ok(Response::new(Empty::new())))
    }
}
