//! `exchange::Exchange`, as a refresher of the application uses it.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::{
    convert::Infallible,
    error::Error,
    fmt,
    future::{pending, ready},
    io,
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{AUTHORIZATION, CONNECTION, COOKIE},
};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tower::{BoxError, service_fn};
use tower_refresh::{
    RefreshError, RefreshErrorKind,
    exchange::{
        Answer, EndpointUrl, Exchange, ExchangeError, GivenUp, InvalidUrl, ReadError, RequestBody,
    },
    extension::Anonymous,
};

const _: fn() = || {
    fn is_clone<T: Clone + fmt::Debug + Send + Sync + 'static>() {}
    fn is_error<T: Error + Send + Sync + 'static>() {}
    fn is_send<T: Send + fmt::Debug>() {}
    is_clone::<Exchange>();
    is_clone::<EndpointUrl>();
    is_clone::<RequestBody>();
    is_error::<ExchangeError>();
    is_error::<GivenUp>();
    is_error::<InvalidUrl>();
    is_error::<ReadError>();
    is_send::<Answer>();
};

/// The treatment of the body by an HTTP client that then fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Client {
    FailsAtOnce,
    DropsTheBody,
    KeepsTheBody,
    AsksForTheEnd,
    Converts,
    Reads,
}

/// The error of a client that does this and then fails.
async fn fail(client: Client, body: &'static str, error: fn() -> BoxError) -> ExchangeError {
    let http = service_fn(move |request: Request<RequestBody>| async move {
        let body = request.into_body();
        match client {
            Client::FailsAtOnce => return Err(error()),
            Client::DropsTheBody => drop(body),
            Client::KeepsTheBody => {
                tokio::task::yield_now().await;
                drop(body);
                return Err(error());
            }
            Client::AsksForTheEnd => {
                body.is_end_stream();
            }
            Client::Converts => drop(body.into_bytes()),
            Client::Reads => drop(body.collect().await),
        }
        tokio::task::yield_now().await;
        Err::<Response<Empty<Bytes>>, _>(error())
    });
    let exchange = Exchange::new(http).unsent_if(|error| error.to_string() == "not sent");
    let request = Request::post("http://localhost/").body(RequestBody::from(body)).unwrap();
    exchange.send(request).await.unwrap_err()
}

#[tokio::test]
async fn a_failed_request_was_sent_or_not() {
    use Client::*;
    let broken: fn() -> BoxError = || io::Error::from(io::ErrorKind::ConnectionReset).into();
    for (client, with_content, empty) in [
        // whether the request counts as not sent
        (FailsAtOnce, true, true),
        (KeepsTheBody, true, true),
        (DropsTheBody, true, false),
        (AsksForTheEnd, true, false),
        (Converts, false, false),
        (Reads, false, false),
    ] {
        for (body, is_unsent) in [("a=b", with_content), ("", empty)] {
            let error = fail(client, body, broken).await;
            assert_eq!(error.is_unsent(), is_unsent, "{client:?} {body:?}");
            let kind = RefreshError::from(error).kind();
            assert_eq!(kind == RefreshErrorKind::Transient, is_unsent);
            assert_eq!(kind == RefreshErrorKind::Ambiguous, !is_unsent);
        }
        for unsent in [
            || BoxError::from("not sent"),
            || io::Error::from(io::ErrorKind::ConnectionRefused).into(),
            || io::Error::other(io::Error::from(io::ErrorKind::NetworkUnreachable)).into(),
        ] {
            assert!(fail(client, "a=b", unsent).await.is_unsent(), "{client:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_for_a_connection_ends_when_the_body_is_asked_for() {
    for (body, asks, is_sent) in
        [("a=b", false, false), ("a=b", true, true), ("", false, false), ("", true, true)]
    {
        let http = service_fn(move |request: Request<RequestBody>| async move {
            let body = request.into_body();
            let waits = Duration::from_secs(20);
            if asks && !body.is_end_stream() {
                body.collect().await.unwrap();
                tokio::time::sleep(waits).await;
            } else {
                tokio::time::sleep(waits).await;
                body.collect().await?;
            }
            Ok::<_, BoxError>(Response::new(Empty::<Bytes>::new()))
        });
        let request = Request::post("http://localhost/").body(RequestBody::from(body)).unwrap();
        let sent = Exchange::new(http).send(request).await;
        assert_eq!(sent.is_ok(), is_sent, "{body:?} {asks}");
        assert!(sent.is_ok() || sent.unwrap_err().is_unsent());
    }
    let never = service_fn(|request: Request<RequestBody>| async move {
        let _body = request;
        pending::<Result<Response<Empty<Bytes>>, Infallible>>().await
    });
    let started = tokio::time::Instant::now();
    let exchange = Exchange::new(never).connect_timeout(Duration::from_secs(3));
    let error = exchange.send(Request::new(RequestBody::default())).await.unwrap_err();
    assert!(error.is_unsent());
    assert_eq!(started.elapsed(), Duration::from_secs(3));
}

#[tokio::test]
async fn a_request_is_marked_and_its_secrets_are_sensitive() {
    for (version, keeps_alive, closes) in [
        (Version::HTTP_11, false, true),
        (Version::HTTP_11, true, false),
        (Version::HTTP_2, false, false),
    ] {
        let http = service_fn(move |request: Request<RequestBody>| {
            assert!(request.extensions().get::<Anonymous>().is_some());
            for name in [AUTHORIZATION, COOKIE] {
                assert!(request.headers().get_all(name).iter().all(HeaderValue::is_sensitive));
            }
            assert!(!format!("{request:?}").contains("hush"));
            assert_eq!(request.headers().contains_key(CONNECTION), closes);
            ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
        });
        let request = Request::post("http://localhost/")
            .version(version)
            .header(AUTHORIZATION, "Basic hush")
            .header(COOKIE, "a=hush")
            .header(COOKIE, "b=hush")
            .body(RequestBody::from("hush"));
        Exchange::new(http).keep_alive(keeps_alive).send(request.unwrap()).await.unwrap();
    }
}

async fn answer(frames: &'static [&'static str], end: Option<&'static str>) -> Answer {
    let http = service_fn(move |_: Request<RequestBody>| {
        let frames = frames.iter().map(|frame| Ok(Frame::data(Bytes::from(*frame))));
        let frames = frames.chain(end.map(|error| Err(BoxError::from(error))));
        let body = StreamBody::new(tokio_stream::iter(frames));
        ready(Ok::<_, Infallible>(Response::builder().status(403).body(body).unwrap()))
    });
    Exchange::new(http).send(Request::new(RequestBody::default())).await.unwrap()
}

#[tokio::test]
async fn an_answer_is_read_up_to_a_limit_also_after_a_look_at_its_start() {
    for looks in [false, true] {
        for (limit, is_complete) in [(0, false), (1, false), (5, false), (6, true), (100, true)] {
            let mut answer = answer(&[" ", "", "abc", "de"], None).await;
            if looks {
                assert!(!answer.is_page().await);
            }
            let mut body = Vec::new();
            // The empty frame counts as a byte.
            let limit = if looks { limit } else { limit + 1 };
            let read = answer.read(&mut body, limit).await;
            assert_eq!(read.is_ok(), is_complete, "{looks} {limit}");
            assert!(b" abcde".starts_with(&body) && body.len() <= limit);
        }
        let mut answer = answer(&["abc"], Some("reset")).await;
        if looks {
            answer.is_page().await;
        }
        let mut body = Vec::new();
        let error = answer.read(&mut body, 100).await.unwrap_err();
        assert_eq!(body, b"abc", "the part that came is there");
        let text = "the authorization server answered 403 Forbidden, and the answer broke off";
        assert_eq!(
            (error.to_string(), error.source().unwrap().to_string()),
            (text.to_owned(), "reset".to_owned())
        );
    }
}

#[tokio::test]
async fn a_page_is_told_by_the_start_of_the_body() {
    for (frames, is_page) in [
        (&["", " ", "\n", "<!DOC", "TYPE html>"][..], true),
        (&["  {", "<"], false),
        (&[], false),
        (&[" "; 3000], false),
    ] {
        let mut answer = answer(frames, None).await;
        assert_eq!(answer.is_page().await, is_page, "{frames:?}");
        assert_eq!(answer.skip().await.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn a_body_of_another_type_is_made_of_the_bytes() {
    let http = service_fn(|request: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::new(
            request.into_body().collect().await?.to_bytes(),
        )))
    });
    let http = tower::ServiceBuilder::new()
        .map_request(|request: Request<RequestBody>| {
            request.map(|body| Full::new(body.into_bytes()))
        })
        .service(http);
    for body in [
        RequestBody::from("a=b"),
        RequestBody::from(String::from("a=b")),
        RequestBody::from(b"a=b".to_vec()),
        RequestBody::from(Bytes::from("a=b")),
    ] {
        assert_eq!(format!("{body:?}"), "RequestBody { .. }");
        let mut answer = Exchange::new(http.clone()).send(Request::new(body)).await.unwrap();
        let mut read = Vec::new();
        answer.read(&mut read, 10).await.unwrap();
        assert_eq!(read, b"a=b");
    }
}
