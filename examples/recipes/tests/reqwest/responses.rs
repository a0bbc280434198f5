//! Responses and errors are those of the bare client.

use bytes::Bytes;
use futures_util::StreamExt;
use http::Version;
use reqwest::Response;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    in_time,
    server::Server,
    way::{GOOD, WAYS, ways_and_versions},
};

#[tokio::test]
async fn a_response_knows_its_url_and_its_peer() {
    in_time(async {
        for (way, version) in ways_and_versions() {
            let server = Server::accepting(GOOD).await;
            let sender = way.with(&[&server], version);
            let url = server.url("/echo?q=1");
            let response = sender.send(sender.http.get(&url)).await.unwrap();
            assert_eq!(response.url().as_str(), url, "{way:?}");
            assert_eq!(response.remote_addr(), Some(server.address), "{way:?}");
            assert_eq!(response.content_length(), Some(0), "{way:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn error_for_status_names_the_status_and_the_url() {
    in_time(async {
        for (way, version) in ways_and_versions() {
            let server = Server::accepting(GOOD).await;
            let sender = way.with(&[&server], version);
            let url = server.url("/404");
            let response = sender.send(sender.http.get(&url)).await.unwrap();
            let error = response.error_for_status().unwrap_err();
            assert_eq!(error.status().unwrap(), 404, "{way:?}");
            assert_eq!(error.url().unwrap().as_str(), url, "{way:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_error_names_the_url() {
    in_time(async {
        for way in WAYS {
            // A port that no server listens on.
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/user", listener.local_addr().unwrap());
            drop(listener);
            let server = Server::accepting(GOOD).await;
            let sender = way.to(&server);
            let error = sender.send(sender.http.get(&url)).await.unwrap_err();
            let error = error.downcast::<reqwest::Error>().unwrap();
            assert!(error.is_connect(), "{way:?}");
            assert_eq!(error.url().unwrap().as_str(), url, "{way:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_compressed_response_is_unpacked() {
    in_time(async {
        for (way, version) in ways_and_versions() {
            let server = Server::accepting(GOOD).await;
            let sender = way.with(&[&server], version);
            let response = sender.send(sender.http.get(server.url("/gzip"))).await.unwrap();
            assert!(!response.headers().contains_key("content-encoding"), "{way:?}");
            assert_eq!(response.text().await.unwrap(), "unpacked", "{way:?}");
            assert_eq!(server.accepted()[0].headers["accept-encoding"], "gzip", "{way:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn http_2_is_spoken() {
    in_time(async {
        for way in WAYS {
            let server = Server::accepting(GOOD).await;
            let sender = way.with(&[&server], |builder| builder.http2_prior_knowledge());
            let post = sender.http.post(server.url("/echo")).body("hello");
            let response = sender.send(post).await.unwrap();
            assert_eq!(response.version(), Version::HTTP_2, "{way:?}");
            assert_eq!(response.text().await.unwrap(), "hello", "{way:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn cookies_are_kept_and_sent() {
    in_time(async {
        for way in WAYS {
            let server = Server::accepting(GOOD).await;
            let sender = way.with(&[&server], |builder| builder.cookie_store(true));
            let response = sender.send(sender.http.get(server.url("/set-cookie"))).await.unwrap();
            let cookies: Vec<_> =
                response.cookies().map(|cookie| cookie.value().to_owned()).collect();
            assert_eq!(cookies, ["oat"], "{way:?}");
            sender.send(sender.http.get(server.url("/echo"))).await.unwrap();
            assert_eq!(server.accepted()[1].headers["cookie"], "flavour=oat", "{way:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_download_arrives_as_a_stream() {
    in_time(async {
        for (way, version) in ways_and_versions() {
            let server = Server::accepting(GOOD).await;
            let sender = way.with(&[&server], version);
            let get = || sender.http.get(server.url("/slow-body"));
            let mut chunks = sender.send(get()).await.unwrap().bytes_stream();
            assert_eq!(chunks.next().await.unwrap().unwrap(), "first", "{way:?}");
            let mut response: Response = sender.send(get()).await.unwrap();
            assert_eq!(response.chunk().await.unwrap(), Some(Bytes::from("first")), "{way:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_hands_the_connection_over() {
    in_time(async {
        for way in WAYS {
            let server = Server::accepting(GOOD).await;
            let sender = way.to(&server);
            let get = sender.http.get(server.url("/upgrade"));
            let get = get.header("connection", "upgrade").header("upgrade", "echo");
            let response = sender.send(get).await.unwrap();
            assert_eq!(response.status(), 101, "{way:?}");
            let mut stream = response.upgrade().await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            let mut line = [0; 5];
            stream.read_exact(&mut line).await.unwrap();
            assert_eq!(&line, b"hello", "{way:?}");
        }
    })
    .await;
}

/// The kind of an error, and its URL.
fn shown(error: &reqwest::Error) -> (bool, bool, bool, Option<String>) {
    let url = error.url().map(|url| url.path().to_owned());
    (error.is_body(), error.is_decode(), error.is_timeout(), url)
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_same_error() {
    in_time(async {
        let mut expected = None;
        for (way, version) in ways_and_versions() {
            let server = Server::accepting(GOOD).await;
            let sender = way.with(&[&server], version);
            let get = || sender.http.get(server.url("/broken-body"));
            let whole = sender.send(get()).await.unwrap().bytes().await.unwrap_err();
            let json = sender.send(get()).await.unwrap().json::<String>().await.unwrap_err();
            // The first chunk arrives, and the next one is an error.
            let mut response = sender.send(get()).await.unwrap();
            response.chunk().await.unwrap();
            let chunk = response.chunk().await.unwrap_err();
            let mut stream = sender.send(get()).await.unwrap().bytes_stream();
            stream.next().await.unwrap().unwrap();
            let streamed = stream.next().await.unwrap().unwrap_err();
            let shown = [whole, json, chunk, streamed].map(|error| shown(&error));
            match &expected {
                None => expected = Some(shown),
                Some(expected) => assert_eq!(&shown, expected, "{way:?}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_of_another_form_is_the_same_error() {
    in_time(async {
        let mut expected = None;
        for (way, version) in ways_and_versions() {
            let server = Server::accepting(GOOD).await;
            let sender = way.with(&[&server], version);
            let post = sender.http.post(server.url("/echo")).body("no JSON");
            let error = sender.send(post).await.unwrap().json::<u8>().await.unwrap_err();
            let shown = shown(&error);
            match &expected {
                None => expected = Some(shown),
                Some(expected) => assert_eq!(&shown, expected, "{way:?}"),
            }
        }
    })
    .await;
}
