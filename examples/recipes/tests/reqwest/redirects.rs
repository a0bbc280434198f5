//! Redirects: as the bare client follows them, and with the credential of each hop.

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, StatusCode};
use reqwest::{Body, Client, RequestBuilder};
use tower::Layer;
use tower_refresh::{
    Origin, RefreshContext, RefreshLayer, Session, Token,
    oauth2::{ClientAuth, ClientCredentialsGrant, EndpointUrl, TokenEndpoint},
    refresher_fn,
    reqwest::{ClientService, SendError, SendThrough},
};

use crate::{
    in_time,
    server::Server,
    way::{GOOD, WAYS, WAYS_WITH_HOPS, Way},
};

/// The request that arrives at the end of a redirect, after a check of the URL of the response.
async fn after_redirect(
    way: Way,
    code: u16,
    make: impl Fn(&Client, String) -> RequestBuilder,
) -> (StatusCode, Option<(Method, HeaderMap, Bytes)>) {
    let server = Server::accepting(GOOD).await;
    let sender = way.to(&server);
    let url = server.url(&format!("/{code}/{}", server.url("/echo?end")));
    let response = sender.send(make(&sender.http, url.clone())).await.unwrap();
    let status = response.status();
    let arrived = server.accepted().into_iter().find(|seen| seen.target == "/echo?end");
    let end = if arrived.is_some() { server.url("/echo?end") } else { url };
    assert_eq!(response.url().as_str(), end, "{way:?}, {code}");
    let arrived = arrived.map(|mut seen| {
        seen.headers.remove("host");
        // It names the first URL, with the port of this server.
        assert!(seen.headers.remove("referer").is_some(), "{way:?}, {code}");
        (seen.method, seen.headers, seen.body)
    });
    (status, arrived)
}

#[tokio::test]
async fn every_redirect_is_followed_as_the_bare_client_does() {
    in_time(async {
        for code in [301, 302, 303, 307, 308, 300, 304] {
            for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT] {
                for body in ["none", "bytes", "stream"] {
                    let make = |http: &Client, url| {
                        let request = http.request(method.clone(), url);
                        match body {
                            "none" => request,
                            "bytes" => request.header("content-type", "text/plain").body("a body"),
                            _ => {
                                let chunks = stream::iter([Ok::<_, std::io::Error>("a body")]);
                                request.body(Body::wrap_stream(chunks))
                            }
                        }
                    };
                    let expected = after_redirect(Way::Bare, code, make).await;
                    for way in &WAYS[1..] {
                        let actual = after_redirect(*way, code, make).await;
                        assert_eq!(actual, expected, "{way:?}, {code}, {method}, {body}");
                    }
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_credential_is_sent_at_each_hop_to_a_listed_origin_and_at_no_other() {
    in_time(async {
        for way in WAYS_WITH_HOPS {
            let (one, other) = (Server::accepting(GOOD).await, Server::accepting(GOOD).await);
            let foreign = Server::accepting("at-x").await;
            let sender = way.with(&[&one, &other], |builder| builder);

            // To the other listed origin.
            let url = one.url(&format!("/307/{}", other.url("/echo")));
            let response = sender.send(sender.http.post(url).body("a body")).await.unwrap();
            assert_eq!(response.text().await.unwrap(), "a body", "{way:?}");
            assert_eq!(other.tokens(), [format!("Bearer {GOOD}")], "{way:?}");

            // To a foreign one, which answers 401, although the token is fresh now.
            let url = one.url(&format!("/302/{}", foreign.url("/secret")));
            let refreshes = sender.refreshes();
            let response = sender.send(sender.http.get(url)).await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{way:?}");
            assert_eq!(response.url().as_str(), foreign.url("/secret"), "{way:?}");
            assert_eq!((foreign.tokens(), sender.refreshes()), (vec!["".into()], refreshes));
        }
    })
    .await;
}

#[tokio::test]
async fn a_redirect_to_another_origin_and_back_carries_the_credential_again() {
    in_time(async {
        for way in WAYS_WITH_HOPS {
            let api = Server::accepting(GOOD).await;
            let foreign = Server::accepting("").await;
            let sender = way.to(&api);
            let back = foreign.url(&format!("/307/{}", api.url("/echo")));
            let url = api.url(&format!("/307/{back}"));
            let response = sender.send(sender.http.get(url)).await.unwrap();
            assert_eq!(response.status(), 200, "{way:?}");
            assert_eq!(response.url().as_str(), api.url("/echo"), "{way:?}");
            assert_eq!(foreign.tokens(), [""], "{way:?}");
            assert_eq!(api.accepted().len(), 2, "{way:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn headers_of_the_caller_are_for_the_first_origin_only() {
    in_time(async {
        for way in WAYS {
            let (one, other) = (Server::accepting(GOOD).await, Server::accepting("").await);
            let sender = way.to(&one);
            let url = one.url(&format!("/302/{}", other.url("/echo")));
            let request = sender.http.get(url).header("cookie", "a=b").header("x-kept", "yes");
            sender.send(request).await.unwrap();
            let seen = &other.accepted().pop();
            let headers = seen.as_ref().map(|seen| &seen.headers);
            let headers = headers.expect("a request without a token is accepted");
            assert!(!headers.contains_key("cookie"), "{way:?}");
            assert_eq!(headers["x-kept"], "yes", "{way:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_circle_of_redirects_is_an_error() {
    in_time(async {
        for way in WAYS {
            let server = Server::accepting(GOOD).await;
            let sender = way.to(&server);
            // `/302//302/` redirects to `/302/`, which redirects to itself.
            let error = sender.send(sender.http.get(server.url("/302//302/"))).await.unwrap_err();
            let is_redirect = match error.downcast::<reqwest::Error>() {
                Ok(error) => error.is_redirect() && error.url().is_some(),
                Err(error) => error.downcast::<SendError>().unwrap().is_redirect(),
            };
            assert!(is_redirect, "{way:?}");
            assert_eq!(server.accepted().len(), 11, "{way:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_follows_redirects_itself_takes_a_foreign_401_for_foreign() {
    in_time(async {
        let (api, foreign) = (Server::accepting(GOOD).await, Server::accepting("at-x").await);
        let refresher = refresher_fn(|_: RefreshContext| async {
            Err(tower_refresh::RefreshError::terminal("no"))
        });
        let session = Session::new(Token::bearer(GOOD).unwrap(), refresher);
        let layer = RefreshLayer::new(session.clone(), Origin::try_from(&*api.url("")).unwrap());
        let service = ClientService::from_client(Client::new());
        let get = service.client().get(api.url(&format!("/302/{}", foreign.url("/secret"))));
        let response = get.send_through(&layer.layer(service.clone())).await.unwrap();
        assert_eq!(response.status(), 401);
        assert_eq!(response.url().as_str(), foreign.url("/secret"));
        assert_eq!((foreign.tokens(), session.state().flights_started()), (vec!["".into()], 0));
    })
    .await;
}

#[tokio::test]
async fn without_redirects_the_caller_gets_the_response() {
    in_time(async {
        let server = Server::accepting(GOOD).await;
        let service = ClientService::new(Client::builder()).unwrap().max_redirects(0);
        let get = service.client().get(server.url("/302//echo")).bearer_auth(GOOD);
        let response = get.send_through(&service).await.unwrap();
        assert_eq!(
            (response.status(), &response.headers()["location"]),
            (StatusCode::FOUND, &"/echo".parse().unwrap())
        );
    })
    .await;
}

#[tokio::test]
async fn a_token_endpoint_over_reqwest_follows_no_redirect() {
    in_time(async {
        let without_redirects = ClientService::new(Client::builder()).unwrap();
        let with_redirects = ClientService::from_client(Client::new());
        for (http, requests) in [(without_redirects, 1), (with_redirects, 0)] {
            let (server, elsewhere) = (Server::open().await, Server::open().await);
            let url = server.url(&format!("/307/{}", elsewhere.url("/token")));
            let me = ClientAuth::basic("my-service", "s3cr3t");
            let tokens = TokenEndpoint::new(http, EndpointUrl::new(&url).unwrap(), me);
            let session: Session = Session::builder(ClientCredentialsGrant::new(tokens)).build();
            let error = session.acquire().await.unwrap_err();
            assert_eq!((server.seen().len(), elsewhere.seen().len()), (requests, 0), "{error}");
        }
    })
    .await;
}
