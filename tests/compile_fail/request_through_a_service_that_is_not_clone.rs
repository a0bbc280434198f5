use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, Service};
use tower_refresh::{Origins, RefreshLayer, ReplayBody, Session};

struct UniqueService;

impl Service<Request<ReplayBody<Full<Bytes>>>> for UniqueService {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<ReplayBody<Full<Bytes>>>) -> Self::Future {
        ready(Ok(Response::default()))
    }
}

fn send(session: Session, request: Request<Full<Bytes>>) {
    let client = RefreshLayer::new(session, Origins::any()).layer(UniqueService);
    drop(client.request(request));
}

fn main() {}
