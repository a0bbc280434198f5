//! Replays: a body that arrives in any pieces, of which the first attempt reads any part before it is
//! rejected. The second attempt gets what the caller gave, or there is none.

#![no_main]

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use libfuzzer_sys::fuzz_target;
use tower_layer::Layer;
use tower_refresh::{
    BoxError, Origins, RefreshContext, RefreshLayer, ReplayBody, Session, Token, refresher_fn,
};
use tower_refresh_fuzz::{Frames, Part, block_on};
use tower_service::Service;

#[derive(Arbitrary, Debug)]
struct Input {
    body: Vec<Part>,
    /// The number of frames that the first attempt reads.
    reads: u8,
    /// Whether the first attempt drops the body before it answers.
    drops: bool,
    limit: u16,
}

/// The bytes and trailers of a body, or the fact that it failed.
type Content = Result<(Vec<u8>, Option<http::HeaderMap>), ()>;

#[derive(Clone)]
struct Upstream {
    reads: u8,
    drops: bool,
    /// What each attempt has received.
    attempts: Arc<Mutex<Vec<Content>>>,
}

fuzz_target!(|input: Input| {
    let attempts = Arc::default();
    let upstream = Upstream { reads: input.reads, drops: input.drops, attempts };
    let refresher = refresher_fn(|_: RefreshContext| async {
        Ok(Token::bearer("at-2").expect("it is a token"))
    });
    let session = Session::new(Token::bearer("at-1").expect("it is a token"), refresher);
    let mut client = RefreshLayer::new(session, Origins::any())
        .replay_limit(input.limit.into())
        .layer(upstream.clone());
    let request = Request::post("https://api.example.com/").body(Frames::new(&input.body));
    let request = request.expect("the request is valid");
    let (status, given) = block_on(async {
        let response = client.call(request).await;
        let given = collect(Frames::new(&input.body)).await;
        (response.map(|response| response.status()), given)
    });
    let attempts = upstream.attempts.lock().expect("no thread panics with the lock");
    match &attempts[..] {
        // The first attempt never gets more than its part, in order.
        [_] => assert_ne!(status.ok(), Some(StatusCode::OK), "no replay, no success"),
        [_, second] => assert_eq!(second, &given, "the replay is exact"),
        other => panic!("{} attempts", other.len()),
    }
    // The limit counts the memory of the copy, which is a bit more than its bytes.
    let most = |length: usize| length + 64 * input.body.len() + 512;
    let is_short =
        given.as_ref().is_ok_and(|(data, _)| most(data.len()) <= usize::from(input.limit));
    let never_waits = !input.body.contains(&Part::Pause);
    if is_short && never_waits {
        assert_eq!(attempts.len(), 2, "a short body that is there is replayed");
    }
});

async fn collect(body: impl Body<Data = Bytes>) -> Content {
    let collected = body.collect().await.map_err(drop)?;
    let trailers = collected.trailers().cloned();
    Ok((collected.to_bytes().to_vec(), trailers))
}

impl Service<Request<ReplayBody<Frames>>> for Upstream {
    type Response = Response<Empty<Bytes>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<Frames>>) -> Self::Future {
        let Self { reads, drops, attempts } = self.clone();
        let is_first = request.headers()[AUTHORIZATION] == "Bearer at-1";
        Box::pin(async move {
            let body = request.into_body();
            if !is_first {
                let content = collect(body).await;
                attempts.lock().expect("no thread panics with the lock").push(content);
                return Ok(Response::new(Empty::new()));
            }
            let mut data = Vec::new();
            // Kept while the response is on its way, unless it is dropped here.
            let mut body = Some(Box::pin(body));
            for _ in 0..reads {
                let next = poll_fn(|cx| {
                    body.as_mut().map_or(Poll::Ready(None), |body| body.as_mut().poll_frame(cx))
                });
                match next.await {
                    Some(Ok(frame)) => data.extend(frame.into_data().into_iter().flatten()),
                    Some(Err(_)) | None => break,
                }
            }
            if drops {
                body = None;
            }
            attempts.lock().expect("no thread panics with the lock").push(Ok((data, None)));
            let mut response = Response::new(Empty::new());
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            drop(pin!(body));
            Ok(response)
        })
    }
}
