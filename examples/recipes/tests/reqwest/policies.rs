//! A client with a redirect policy of its own keeps it.

use http::{HeaderValue, Method};
use reqwest::{Client, redirect::Policy};
use tower::Layer;
use tower_refresh::{
    Origin, RefreshContext, RefreshError, RefreshLayer, Session, Token, refresher_fn,
    reqwest::{ClientService, RefreshMiddleware, SendError, SendThrough},
};

use crate::{
    in_time,
    outcome::Outcome,
    server::Server,
    way::{GOOD, Token0, Way},
};

const POLICIES: [fn() -> Policy; 6] = [
    Policy::default,
    Policy::none,
    || Policy::limited(0),
    || Policy::limited(1),
    // Stops at the second redirect.
    || {
        Policy::custom(|attempt| match attempt.previous().len() {
            1 => attempt.follow(),
            _ => attempt.stop(),
        })
    },
    || Policy::custom(|attempt| attempt.error("no redirects here")),
];

const WAYS_WITH_A_POLICY: [Way; 4] = [
    Way::AdapterOfClient(Token0::Fresh),
    Way::AdapterOfClient(Token0::Expired),
    Way::MiddlewareOfClient(Token0::Fresh),
    Way::MiddlewareOfClient(Token0::Expired),
];

/// `/a/1` redirects to `/b/2`, and `/b/2` to `/b/3`, which echoes.
async fn redirected(way: Way, policy: fn() -> Policy, code: u16, method: Method) -> Outcome {
    let server = Server::accepting(GOOD).await;
    server.redirect("/a/1", code, HeaderValue::from_static("../b/2"));
    server.redirect("/b/2", code, HeaderValue::from_static("3"));
    let sender = way.with(&[&server], |builder| builder.redirect(policy()));
    let request = sender.http.request(method, server.url("/a/1")).body("a body");
    Outcome::of(sender.send(request).await, &[&server]).await
}

#[tokio::test]
async fn a_client_follows_redirects_by_its_own_policy() {
    in_time(async {
        for (index, policy) in POLICIES.into_iter().enumerate() {
            for (code, method) in
                [(302, Method::GET), (302, Method::POST), (303, Method::PUT), (307, Method::POST)]
            {
                let expected = redirected(Way::Bare, policy, code, method.clone()).await;
                for way in WAYS_WITH_A_POLICY {
                    let actual = redirected(way, policy, code, method.clone()).await;
                    assert_eq!(actual, expected, "{way:?}, {code}, {method}, policy {index}");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn above_the_layer_redirects_are_followed_up_to_a_limit() {
    in_time(async {
        for (limit, hops) in [(0, 1), (1, 2), (2, 3), (3, 3)] {
            let server = Server::open().await;
            server.redirect("/a/1", 302, HeaderValue::from_static("../b/2"));
            server.redirect("/b/2", 302, HeaderValue::from_static("3"));
            let refresher = refresher_fn(|_: RefreshContext| async {
                Err(RefreshError::transient("no token is rejected"))
            });
            let session = Session::new(Token::bearer(GOOD).unwrap(), refresher);
            let layer = RefreshLayer::new(session, Origin::try_from(&*server.url("")).unwrap());

            let builder = || Client::builder().no_proxy();
            let service = ClientService::new(builder()).unwrap().max_redirects(limit);
            let get = service.client().get(server.url("/a/1"));
            let by_adapter = get.send_through(&layer.layer(service.clone())).await;

            let http = builder().redirect(Policy::none()).build().unwrap();
            let refresh = RefreshMiddleware::new(layer).follow_redirects(limit);
            let client = reqwest_middleware::ClientBuilder::new(http).with(refresh).build();
            let by_middleware = client.get(server.url("/a/1")).send().await;
            let by_middleware = by_middleware.map_err(|error| {
                let reqwest_middleware::Error::Middleware(error) = error else {
                    panic!("{error:?}")
                };
                error.downcast::<SendError>().unwrap().into()
            });

            for result in [by_adapter, by_middleware] {
                let outcome = Outcome::of(result, &[]).await;
                match limit {
                    0 => assert_eq!(outcome.answer.unwrap().status, 302),
                    1 => assert_eq!(outcome.answer, Err("redirect")),
                    _ => assert!(outcome.answer.unwrap().url.ends_with("/b/3")),
                }
            }
            assert_eq!(server.seen().len(), 2 * hops, "{limit}");
        }
    })
    .await;
}
