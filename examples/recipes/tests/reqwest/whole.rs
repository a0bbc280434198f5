//! A whole body stays whole below the layer, for every kind of request.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::{Extensions, StatusCode};
use reqwest::{Body, ClientBuilder, Request, RequestBuilder, Response, retry};
use reqwest_middleware::{Middleware, Next};
use tower_refresh::extension::{Anonymous, NoRefresh, NoReplay};

use crate::{
    in_time,
    server::{Seen, Server},
    way::{GOOD, Token0, VERSIONS, WAYS, Way},
};

/// The kinds of requests that the layer tells apart.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Route {
    /// The request carries the credential, and may be sent again.
    Carried,
    NoReplay,
    NoRefresh,
    Anonymous,
    /// The request goes to an origin that the layer does not list.
    Foreign,
    /// The caller has put a credential on the request.
    OwnCredential,
}

const ROUTES: [Route; 6] = [
    Route::Carried,
    Route::NoReplay,
    Route::NoRefresh,
    Route::Anonymous,
    Route::Foreign,
    Route::OwnCredential,
];

/// The last one exceeds the replay limit.
const LENGTHS: [usize; 3] = [0, 1000, 100_000];

impl Route {
    /// The token that the server accepts.
    fn good(self) -> &'static str {
        match self {
            Self::Carried | Self::NoReplay | Self::NoRefresh => GOOD,
            Self::Anonymous | Self::Foreign => "",
            Self::OwnCredential => "at-own",
        }
    }

    fn servers(self, server: &Server) -> Vec<&Server> {
        if self == Self::Foreign { Vec::new() } else { vec![server] }
    }

    fn mark(self, request: RequestBuilder, way: Way) -> RequestBuilder {
        if self == Self::OwnCredential {
            return request.bearer_auth("at-own");
        }
        let (client, request) = request.build_split();
        let mut request: http::Request<Body> = request.unwrap().try_into().unwrap();
        match self {
            Self::NoReplay => drop(request.extensions_mut().insert(NoReplay)),
            Self::NoRefresh => drop(request.extensions_mut().insert(NoRefresh)),
            Self::Anonymous => drop(request.extensions_mut().insert(Anonymous)),
            Self::Carried | Self::Foreign | Self::OwnCredential => {}
        }
        let request = RequestBuilder::from_parts(client, request.try_into().unwrap());
        match way {
            Way::Bare if !self.good().is_empty() => request.bearer_auth(self.good()),
            _ => request,
        }
    }
}

/// Checks that each way sends the same as the bare client, where the first token is accepted.
async fn expect_same(
    length: usize,
    settings: impl Fn(ClientBuilder) -> ClientBuilder,
    target: impl Fn(&Server) -> String,
) {
    for route in ROUTES {
        let mut expected: Option<Vec<Seen>> = None;
        for way in WAYS.into_iter().filter(|way| !way.is_expired()) {
            let server = Server::accepting(route.good()).await;
            let sender = way.with(&route.servers(&server), &settings);
            let post = sender.http.post(target(&server)).body(vec![7; length]);
            let response = sender.send_unchanged(route.mark(post, way)).await.unwrap();
            let context = format!("{way:?}, {route:?}, {length}");
            assert_eq!(response.status(), StatusCode::OK, "{context}");
            assert_eq!(response.bytes().await.unwrap().len(), length, "{context}");
            let mut seen = server.accepted();
            for seen in &mut seen {
                // They name the port of this server.
                seen.headers.remove("host");
                seen.headers.remove("referer");
                seen.target = seen.target.replace(&server.url(""), "");
            }
            match &expected {
                None => expected = Some(seen),
                Some(expected) => assert_eq!(&seen, expected, "{context}"),
            }
        }
    }
}

#[tokio::test]
async fn a_whole_body_arrives_with_its_length() {
    in_time(async {
        for settings in VERSIONS {
            for length in LENGTHS {
                expect_same(length, settings, |server| server.url("/echo")).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_whole_body_is_sent_again_by_a_redirect() {
    in_time(async {
        for settings in VERSIONS {
            for length in LENGTHS {
                let target = |server: &Server| server.url(&format!("/307/{}", server.url("/echo")));
                expect_same(length, settings, target).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_whole_body_is_sent_again_by_a_retry_of_the_client() {
    in_time(async {
        for settings in VERSIONS {
            let retrying = |builder| {
                let retry = retry::for_host("127.0.0.1").no_budget().classify_fn(|attempt| {
                    match attempt.status() {
                        Some(StatusCode::SERVICE_UNAVAILABLE) => attempt.retryable(),
                        _ => attempt.success(),
                    }
                });
                settings(builder).retry(retry)
            };
            for length in LENGTHS {
                expect_same(length, retrying, |server| server.url("/busy-once")).await;
            }
        }
    })
    .await;
}

/// Notes the addresses of the bodies that pass. `None` for a stream.
#[derive(Default)]
struct Addresses(Mutex<Vec<Option<usize>>>);

#[async_trait::async_trait]
impl Middleware for Addresses {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let bytes = request.body().and_then(Body::as_bytes);
        self.0.lock().unwrap().push(bytes.map(|bytes| bytes.as_ptr() as usize));
        next.run(request, extensions).await
    }
}

#[tokio::test]
async fn a_whole_body_is_not_copied() {
    in_time(async {
        for way in [Way::Middleware(Token0::Fresh), Way::MiddlewareOfClient(Token0::Fresh)] {
            for route in ROUTES {
                for length in &LENGTHS[1..] {
                    let server = Server::accepting(route.good()).await;
                    let addresses = Arc::new(Addresses::default());
                    let servers = route.servers(&server);
                    let sender = way.above(&servers, |builder| builder, vec![addresses.clone()]);
                    let body = Bytes::from(vec![7; *length]);
                    let post = sender.http.post(server.url("/echo")).body(body.clone());
                    sender.send_unchanged(route.mark(post, way)).await.unwrap();
                    let seen = addresses.0.lock().unwrap().clone();
                    let expected = [Some(body.as_ptr() as usize)];
                    assert_eq!(seen, expected, "{way:?}, {route:?}, {length}");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_stays_a_stream() {
    in_time(async {
        for route in ROUTES {
            for way in WAYS.into_iter().filter(|way| !way.is_expired()) {
                let server = Server::accepting(route.good()).await;
                let sender = way.with(&route.servers(&server), |builder| builder);
                let chunks = ["one ", "two"].map(Ok::<_, std::io::Error>);
                let body = Body::wrap_stream(stream::iter(chunks));
                let post = sender.http.post(server.url("/echo")).body(body);
                sender.send_unchanged(route.mark(post, way)).await.unwrap();
                let [seen] = <[Seen; 1]>::try_from(server.accepted()).unwrap();
                assert_eq!(seen.body, "one two", "{way:?}, {route:?}");
                assert_eq!(seen.headers["transfer-encoding"], "chunked", "{way:?}, {route:?}");
                assert!(!seen.headers.contains_key("content-length"), "{way:?}, {route:?}");
            }
        }
    })
    .await;
}
