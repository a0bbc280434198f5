//! gRPC responses in any pieces: a rejection in trailers is replayed if nothing came before it, and
//! every other response arrives as it was sent.

#![no_main]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use libfuzzer_sys::fuzz_target;
use tower_layer::Layer;
use tower_refresh::{
    Origin, RefreshContext, Session, Token, grpc, grpc::TrailersLayer, refresher_fn,
};
use tower_refresh_fuzz::{Frames, Part, block_on};
use tower_service::Service;

#[derive(Arbitrary, Debug)]
struct Input {
    first: Vec<Part>,
    second: Vec<Part>,
    is_grpc: bool,
}

const GRPC: &str = "application/grpc";

/// The bytes, and the trailers if the body has ended without an error.
type Content = (Vec<u8>, Option<Option<HeaderMap>>);

/// Answers the first token with one body and the second with another.
#[derive(Clone)]
struct Upstream<'a>(&'a Input);

fuzz_target!(|input: Input| {
    let refresher = refresher_fn(|_: RefreshContext| async {
        Ok(Token::bearer("at-2").expect("it is a token"))
    });
    let session = Session::new(Token::bearer("at-1").expect("it is a token"), refresher);
    let origin = Origin::from_static("https://api.example.com");
    let trailers = TrailersLayer::new();
    let (answered, first, second) = block_on(async {
        let inner = trailers.layer(Upstream(&input));
        let mut client = grpc::refresh_layer(session, origin).layer(inner);
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = Uri::from_static("https://api.example.com/echo.Echo/Say");
        if input.is_grpc {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
        }
        let response = client.call(request).await.expect("the upstream always answers");
        let head = response.headers().get("grpc-status").cloned();
        let answered = collect(response.into_body(), head).await;
        let first = collect(Frames::new(&input.first), None).await;
        let second = collect(Frames::new(&input.second), None).await;
        (answered, first, second)
    });
    let is_rejected = input.is_grpc
        && first.0.is_empty()
        && first.1.as_ref().and_then(Option::as_ref).is_some_and(|trailers| {
            trailers.get("grpc-status").is_some_and(|status| status == "16")
        });
    if is_rejected {
        let is_late = input.first.iter().filter(|part| matches!(part, Part::Data(_))).count() > 1;
        assert!(answered == second || is_late && answered == first, "{answered:?}");
    } else {
        assert_eq!(answered, first);
    }
});

/// The bytes, and the trailers of a body that has ended.
async fn collect<B: Body<Data = Bytes>>(body: B, head: Option<HeaderValue>) -> Content {
    let mut body = Box::pin(body);
    let (mut data, mut trailers) = (Vec::new(), None);
    if let Some(status) = head {
        trailers = Some(HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), status)]));
    }
    loop {
        match body.frame().await {
            None => return (data, Some(trailers)),
            Some(Err(_)) => return (data, None),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => data.extend(bytes),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
    }
}

impl<B> Service<Request<B>> for Upstream<'_> {
    type Response = Response<Frames>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_first = request.headers()[AUTHORIZATION] == "Bearer at-1";
        let parts = if is_first { &self.0.first } else { &self.0.second };
        let mut response = Response::new(Frames::new(parts));
        if self.0.is_grpc {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
        }
        ready(Ok(response))
    }
}
