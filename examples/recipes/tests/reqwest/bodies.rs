//! Request bodies arrive as the bare client sends them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use futures_util::stream;
use http::{Extensions, StatusCode};
use reqwest::{Body, Client, ClientBuilder, Request, RequestBuilder, Response, multipart};
use reqwest_middleware::{Middleware, Next};
use serde_json::json;

use crate::{
    in_time,
    server::{Seen, Server},
    way::{GOOD, Token0, VERSIONS, WAYS, Way, ways_and_versions},
};

/// The request as it arrives over HTTP/1. The ways have to agree, also over HTTP/2.
async fn seen_of(make: impl Fn(&Client, String) -> RequestBuilder) -> Seen {
    let [seen, _] = [seen_over(VERSIONS[0], &make).await, seen_over(VERSIONS[1], &make).await];
    seen
}

async fn seen_over(
    version: fn(ClientBuilder) -> ClientBuilder,
    make: impl Fn(&Client, String) -> RequestBuilder,
) -> Seen {
    let mut expected: Option<Seen> = None;
    for way in WAYS {
        let server = Server::accepting(GOOD).await;
        let sender = way.with(&[&server], version);
        let response = sender.send(make(&sender.http, server.url("/echo?a=1"))).await.unwrap();
        assert_eq!(response.status(), 200, "{way:?}");
        let body = response.bytes().await.unwrap();
        let [mut seen] = <[Seen; 1]>::try_from(server.accepted()).unwrap();
        assert_eq!(seen.body, body, "{way:?}");
        seen.headers.remove("host");
        match &expected {
            None => expected = Some(seen),
            Some(expected) => assert_eq!(&seen, expected, "{way:?}"),
        }
        assert_eq!(sender.refreshes(), usize::from(way.is_expired()), "{way:?}");
    }
    expected.unwrap()
}

#[tokio::test]
async fn json_arrives() {
    in_time(async {
        let seen = seen_of(|http, url| http.post(url).json(&json!({ "name": "ada" }))).await;
        assert_eq!(seen.body, r#"{"name":"ada"}"#);
        assert_eq!(seen.headers["content-type"], "application/json");
        assert_eq!(seen.headers["content-length"], "14");
    })
    .await;
}

#[tokio::test]
async fn a_form_arrives() {
    in_time(async {
        let seen = seen_of(|http, url| http.put(url).form(&[("name", "ada lovelace")])).await;
        assert_eq!(seen.body, "name=ada+lovelace");
        assert_eq!(seen.headers["content-type"], "application/x-www-form-urlencoded");
    })
    .await;
}

#[tokio::test]
async fn a_query_arrives() {
    in_time(async {
        let seen = seen_of(|http, url| http.get(url).query(&[("q", "ü|{x}"), ("r", "")])).await;
        assert_eq!(seen.target, "/echo?a=1&q=%C3%BC%7C%7Bx%7D&r=");
        assert!(seen.body.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_multipart_form_arrives() {
    in_time(async {
        for (way, version) in ways_and_versions() {
            let server = Server::accepting(GOOD).await;
            let sender = way.with(&[&server], version);
            let part = multipart::Part::bytes(vec![0, 255, 7]).file_name("seven.bin");
            let form = multipart::Form::new().text("name", "ada").part("file", part);
            let post = sender.http.post(server.url("/echo")).multipart(form);
            sender.send(post).await.unwrap();
            let [seen] = <[Seen; 1]>::try_from(server.accepted()).unwrap();
            let content_type = seen.headers["content-type"].to_str().unwrap();
            let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
            let length = seen.headers["content-length"].to_str().unwrap();
            assert_eq!(length, seen.body.len().to_string(), "{way:?}");
            let end = format!("--{boundary}--\r\n");
            let parts = [
                &b"name=\"name\"\r\n\r\nada\r\n"[..],
                b"filename=\"seven.bin\"\r\n\r\n\x00\xff\x07\r\n",
                end.as_bytes(),
            ];
            for part in parts {
                let found = seen.body.windows(part.len()).any(|window| window == part);
                assert!(found, "{way:?}: {:?}", seen.body);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_upload_arrives_as_a_stream() {
    in_time(async {
        let seen = seen_of(|http, url| {
            let chunks = ["one ", "two ", "three"].map(Ok::<_, std::io::Error>);
            http.post(url).body(Body::wrap_stream(stream::iter(chunks)))
        })
        .await;
        assert_eq!(seen.body, "one two three");
        assert_eq!(seen.headers["transfer-encoding"], "chunked");
        assert!(!seen.headers.contains_key("content-length"));
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_cannot_be_replayed_gets_its_rejection_and_the_refresh_runs() {
    in_time(async {
        for way in [Way::Adapter(Token0::Expired), Way::Middleware(Token0::Expired)] {
            let server = Server::accepting(GOOD).await;
            let sender = way.to(&server);
            let long = || {
                let chunk = Ok::<_, std::io::Error>(vec![0; 100_000]);
                let upload = Body::wrap_stream(stream::iter([chunk]));
                sender.http.post(server.url("/echo")).body(upload)
            };
            let rejected = sender.send(long()).await.unwrap();
            assert_eq!(rejected.status(), StatusCode::UNAUTHORIZED, "{way:?}");
            let response = sender.send(long()).await.unwrap();
            assert_eq!(response.bytes().await.unwrap().len(), 100_000, "{way:?}");
            assert_eq!(sender.refreshes(), 1, "{way:?}");
        }
    })
    .await;
}

/// A middleware that sends each request twice, as one that retries does.
struct Twice {
    not_cloned: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl Middleware for Twice {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        extensions.insert("from below");
        let Some(copy) = request.try_clone() else {
            self.not_cloned.fetch_add(1, SeqCst);
            return next.run(request, extensions).await;
        };
        next.clone().run(copy, extensions).await?;
        next.run(request, extensions).await
    }
}

#[tokio::test]
async fn a_middleware_below_can_send_a_whole_body_again() {
    in_time(async {
        for token0 in [Token0::Fresh, Token0::Expired] {
            let server = Server::accepting(GOOD).await;
            let not_cloned = Arc::new(AtomicUsize::new(0));
            let twice = Arc::new(Twice { not_cloned: not_cloned.clone() });
            let way = Way::Middleware(token0);
            let sender = way.above(&[&server], |builder| builder, vec![twice]);
            let post = |body: Body| sender.http.post(server.url("/echo")).body(body);
            sender.send(post("whole".into())).await.unwrap();
            assert_eq!((server.accepted().len(), not_cloned.load(SeqCst)), (2, 0));
            let stream = Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>("a stream")]));
            sender.send(post(stream)).await.unwrap();
            assert_eq!((server.accepted().len(), not_cloned.load(SeqCst)), (3, 1));
        }
    })
    .await;
}
