//! Which credential arrives where: the session's, the caller's, or none.

use http::{HeaderValue, header::AUTHORIZATION, request};
use reqwest::{Client, RequestBuilder, Response, redirect};
use reqwest_middleware::ClientWithMiddleware;
use tower::{BoxError, Layer};
use tower_refresh::{
    Credential, Origin, Origins, Refresh, RefreshContext, RefreshLayer, Session, refresher_fn,
    reqwest::{ClientService, RefreshMiddleware, SendError, SendThrough},
};

use crate::{
    in_time,
    server::Server,
    way::{GOOD, WAYS, WAYS_WITH_HOPS},
};

/// A credential in a header of its own.
#[derive(Clone)]
struct ApiKey {
    value: HeaderValue,
}

/// A credential in a header that a redirect to another origin drops.
struct SessionCookie;

/// A credential in the query.
struct Query;

/// A client with a layer.
enum Sending<C: Credential> {
    Adapter(Refresh<ClientService, C>),
    Middleware(Client, ClientWithMiddleware),
}

fn key() -> ApiKey {
    ApiKey { value: HeaderValue::from_static("key-1") }
}

fn sensitive_key() -> ApiKey {
    let mut key = key();
    key.value.set_sensitive(true);
    key
}

fn layer<C: Credential>(credential: C, servers: &[&Server]) -> RefreshLayer<C> {
    let refresher = refresher_fn(|_: RefreshContext<C>| async {
        Err(tower_refresh::RefreshError::transient("no"))
    });
    let session = Session::new(credential, refresher);
    let origins = servers.iter().map(|server| Origin::try_from(&*server.url("")).unwrap());
    RefreshLayer::new(session, origins.collect::<Origins>())
}

fn with_hops<C: Credential>(layer: RefreshLayer<C>) -> [Sending<C>; 2] {
    let builder = || Client::builder().no_proxy();
    let service = ClientService::new(builder()).unwrap();
    let http = builder().redirect(redirect::Policy::none()).build().unwrap();
    let middleware = RefreshMiddleware::new(layer.clone()).follow_redirects(10);
    let chain = reqwest_middleware::ClientBuilder::new(http.clone()).with(middleware).build();
    [Sending::Adapter(layer.layer(service)), Sending::Middleware(http, chain)]
}

fn without_hops<C: Credential>(layer: RefreshLayer<C>) -> [Sending<C>; 2] {
    let http = Client::builder().no_proxy().build().unwrap();
    let service = ClientService::from_client(http.clone());
    let middleware = RefreshMiddleware::new(layer.clone());
    let chain = reqwest_middleware::ClientBuilder::new(http.clone()).with(middleware).build();
    [Sending::Adapter(layer.layer(service)), Sending::Middleware(http, chain)]
}

// === impl ApiKey ===

impl Credential for ApiKey {
    fn apply(&self, request: &mut request::Parts) {
        request.headers.insert("x-api-key", self.value.clone());
    }

    fn is_present(request: &request::Parts) -> bool {
        request.headers.contains_key("x-api-key")
    }
}

// === impl SessionCookie ===

impl Credential for SessionCookie {
    fn apply(&self, request: &mut request::Parts) {
        request.headers.insert("cookie", HeaderValue::from_static("sid=1"));
    }

    fn is_present(request: &request::Parts) -> bool {
        request.headers.contains_key("cookie")
    }
}

// === impl Query ===

impl Credential for Query {
    fn apply(&self, request: &mut request::Parts) {
        request.uri = format!("{}?key=secret", request.uri).parse().unwrap();
    }
}

// === impl Sending ===

impl<C: Credential> Sending<C> {
    async fn send(
        &self,
        make: impl FnOnce(&Client) -> RequestBuilder,
    ) -> Result<Response, BoxError> {
        match self {
            Self::Adapter(stack) => make(stack.get_ref().client()).send_through(stack).await,
            Self::Middleware(http, client) => {
                client.execute(make(http).build()?).await.map_err(|error| match error {
                    reqwest_middleware::Error::Reqwest(error) => error.into(),
                    reqwest_middleware::Error::Middleware(error) => {
                        error.downcast::<SendError>().unwrap().into()
                    }
                })
            }
        }
    }
}

fn header(server: &Server, name: &str) -> Vec<String> {
    let value = |headers: &http::HeaderMap| {
        headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
    };
    server.seen().iter().map(|seen| value(&seen.headers)).collect()
}

/// Redirects `one` to `other`, there from `/b` to `/c`, and back to `one`.
fn there_and_back(one: &Server, other: &Server) -> String {
    one.redirect("/a", 307, HeaderValue::try_from(other.url("/b")).unwrap());
    other.redirect("/b", 307, HeaderValue::from_static("/c"));
    other.redirect("/c", 307, HeaderValue::try_from(one.url("/echo")).unwrap());
    one.url("/a")
}

#[tokio::test]
async fn a_request_with_the_callers_credential_gets_the_sessions_at_no_hop() {
    in_time(async {
        for lists_first in [true, false] {
            for way in WAYS_WITH_HOPS {
                let (one, other) = (Server::open().await, Server::open().await);
                let url = there_and_back(&one, &other);
                let listed = if lists_first { vec![&one, &other] } else { vec![&other] };
                let sender = way.with(&listed, |builder| builder);
                let get = sender.http.get(url).basic_auth("ada", Some("secret"));
                assert_eq!(sender.send(get).await.unwrap().status(), 200, "{way:?}");
                assert_eq!(other.tokens(), ["", ""], "{way:?}");
                assert_eq!(one.tokens(), ["Basic YWRhOnNlY3JldA==", ""], "{way:?}");
                assert_eq!(sender.refreshes(), 0, "{way:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_credential_type_decides_which_header_of_the_caller_is_a_credential() {
    in_time(async {
        let (one, other) = (Server::open().await, Server::open().await);
        let url = there_and_back(&one, &other);
        for client in with_hops(layer(SessionCookie, &[&one, &other])) {
            client.send(|http| http.get(&url).header("cookie", "sid=mine")).await.unwrap();
            client.send(|http| http.get(&url).basic_auth("ada", None::<&str>)).await.unwrap();
        }
        let own_then_session = ["sid=mine", "", "sid=1", "sid=1"];
        assert_eq!(header(&one, "cookie"), [own_then_session, own_then_session].concat());
        let own_then_session = ["", "", "sid=1", "sid=1"];
        assert_eq!(header(&other, "cookie"), [own_then_session, own_then_session].concat());
    })
    .await;
}

#[tokio::test]
async fn the_callers_credential_stays_within_its_origin() {
    in_time(async {
        for way in WAYS {
            let one = Server::open().await;
            one.redirect("/a", 302, HeaderValue::from_static("/b"));
            one.redirect("/b", 302, HeaderValue::from_static("/echo"));
            let sender = way.to(&one);
            let get = sender.http.get(one.url("/a")).bearer_auth("mine");
            assert_eq!(sender.send_unchanged(get).await.unwrap().status(), 200, "{way:?}");
            assert_eq!(one.tokens(), ["Bearer mine"; 3], "{way:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_layer_that_overwrites_puts_the_credential_of_the_session_on_each_hop() {
    in_time(async {
        let (one, other) = (Server::open().await, Server::open().await);
        let url = there_and_back(&one, &other);
        let token = tower_refresh::Token::bearer(GOOD).unwrap();
        for client in with_hops(layer(token, &[&one, &other]).overwrite(true)) {
            client.send(|http| http.get(&url).bearer_auth("mine")).await.unwrap();
        }
        let good = format!("Bearer {GOOD}");
        assert_eq!((one.tokens(), other.tokens()), (vec![good.clone(); 4], vec![good; 4]));
    })
    .await;
}

#[tokio::test]
async fn a_header_of_its_own_is_a_credential_at_each_hop_to_a_listed_origin_and_at_no_other() {
    in_time(async {
        for key in [key(), sensitive_key()] {
            let (one, other, foreign) =
                (Server::open().await, Server::open().await, Server::open().await);
            let url = there_and_back(&one, &other);
            one.redirect("/foreign", 302, HeaderValue::try_from(foreign.url("/b")).unwrap());
            foreign.redirect("/b", 302, HeaderValue::from_static("/c"));
            for client in with_hops(layer(key, &[&one, &other])) {
                // The caller's `Authorization` is not this session's affair.
                client.send(|http| http.get(&url).basic_auth("ada", None::<&str>)).await.unwrap();
                client.send(|http| http.get(one.url("/foreign"))).await.unwrap();
                client
                    .send(|http| http.get(one.url("/a")).header("x-api-key", "mine"))
                    .await
                    .unwrap();
            }
            let (session, mine) = ("key-1", "mine");
            let expected = [session, session, session, mine, mine];
            assert_eq!(header(&one, "x-api-key"), [expected, expected].concat());
            let expected = [session, session, mine, mine];
            assert_eq!(header(&other, "x-api-key"), [expected, expected].concat());
            assert_eq!(other.tokens(), [""; 8]);
            assert_eq!(header(&foreign, "x-api-key"), [""; 4]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_credential_that_a_client_would_send_to_other_origins_is_not_sent() {
    in_time(async {
        async fn check<C: Credential>(client: &Sending<C>, server: &Server, is_sent: bool) {
            let result = client.send(|http| http.get(server.url("/a#part"))).await;
            match result {
                Ok(_) => assert!(is_sent),
                Err(error) => {
                    let error = error.downcast::<SendError>().unwrap();
                    assert!(error.is_exposed_credential() && !is_sent, "{error}");
                    assert!(!error.is_timeout() && !error.is_redirect());
                    assert_eq!(error.url().host_str(), Some("127.0.0.1"));
                }
            }
        }
        let (api, foreign) = (Server::open().await, Server::open().await);
        api.redirect("/a", 302, HeaderValue::try_from(foreign.url("/b")).unwrap());
        for client in without_hops(layer(sensitive_key(), &[&api])) {
            check(&client, &api, false).await;
            // A request that passes the layer has no credential of the session.
            check(&client, &foreign, true).await;
        }
        // The middleware sees what the layer adds, sensitive or not.
        let [_, middleware] = without_hops(layer(key(), &[&api]));
        check(&middleware, &api, false).await;
        let get = |http: &Client| http.get(foreign.url("/")).header("x-api-key", "mine");
        middleware.send(get).await.unwrap();
        let [_, middleware] = without_hops(layer(Query, &[&api]));
        check(&middleware, &api, false).await;

        assert_eq!(api.seen(), []);
        assert_eq!(header(&foreign, "x-api-key"), ["", "", "mine"]);
    })
    .await;
}

#[tokio::test]
async fn a_credential_in_the_query_is_in_no_referer_and_in_no_next_url() {
    in_time(async {
        let (api, foreign) = (Server::open().await, Server::open().await);
        api.redirect("/a", 302, HeaderValue::try_from(foreign.url("/b")).unwrap());
        api.redirect("/again", 302, HeaderValue::from_static("#part"));
        for client in with_hops(layer(Query, &[&api])) {
            client.send(|http| http.get(api.url("/a"))).await.unwrap();
            client.send(|http| http.get(api.url("/again"))).await.unwrap_err();
        }
        assert_eq!(header(&foreign, "referer"), [api.url("/a"), api.url("/a")]);
        for seen in api.seen() {
            assert!(seen.target.ends_with("?key=secret") && seen.target.matches('?').count() == 1);
        }
    })
    .await;
}

/// The reason why the layer should follow redirects. If this fails, reqwest has mended it, and the
/// docs of `ClientService::from_client` can promise more.
#[tokio::test]
async fn reqwest_itself_sends_the_credential_again_at_a_second_hop_of_another_origin() {
    in_time(async {
        for way in WAYS.into_iter().filter(|way| !way.is_expired()) {
            let (api, foreign) = (Server::open().await, Server::open().await);
            api.redirect("/a", 302, HeaderValue::try_from(foreign.url("/b")).unwrap());
            foreign.redirect("/b", 302, HeaderValue::from_static("/c"));
            let sender = way.to(&api);
            sender.send(sender.http.get(api.url("/a"))).await.unwrap();
            let good = format!("Bearer {GOOD}");
            let second = if WAYS_WITH_HOPS.contains(&way) { "" } else { &good };
            assert_eq!(foreign.tokens(), ["", second], "{way:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_cookie_and_a_basic_credential_of_the_url_are_the_callers() {
    in_time(async {
        for way in WAYS {
            let (one, other) = (Server::open().await, Server::open().await);
            one.redirect("/a", 302, HeaderValue::try_from(other.url("/b")).unwrap());
            let sender = way.to(&one);
            let url = one.url("/a").replace("http://", "http://ada:secret@");
            let get = sender.http.get(url).header("cookie", "a=b");
            let response = sender.send_unchanged(get).await.unwrap();
            assert_eq!(response.url().as_str(), other.url("/b"), "{way:?}");
            assert_eq!(header(&one, AUTHORIZATION.as_str()), ["Basic YWRhOnNlY3JldA=="], "{way:?}");
            assert_eq!(header(&one, "cookie"), ["a=b"], "{way:?}");
            assert_eq!(header(&other, "authorization"), [""], "{way:?}");
            assert_eq!(header(&other, "cookie"), [""], "{way:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_middlewares_the_outermost_follows_redirects_for_both() {
    in_time(async {
        let (one, other, foreign) =
            (Server::open().await, Server::open().await, Server::open().await);
        one.redirect("/a", 307, HeaderValue::try_from(other.url("/b")).unwrap());
        other.redirect("/b", 307, HeaderValue::try_from(foreign.url("/c")).unwrap());
        let http = Client::builder().no_proxy().redirect(redirect::Policy::none()).build().unwrap();
        let token = tower_refresh::Token::bearer(GOOD).unwrap();
        let outer = RefreshMiddleware::new(layer(token, &[&one])).follow_redirects(10);
        let inner = RefreshMiddleware::new(layer(key(), &[&other])).follow_redirects(0);
        let chain = reqwest_middleware::ClientBuilder::new(http).with(outer).with(inner).build();
        let response = chain.post(one.url("/a")).body("a body").send().await.unwrap();
        assert_eq!(response.url().as_str(), foreign.url("/c"));
        assert_eq!(response.text().await.unwrap(), "a body");
        let arrived = |name| [&one, &other, &foreign].map(|server| header(server, name));
        assert_eq!(
            arrived("authorization"),
            [[format!("Bearer {GOOD}")], [String::new()], [String::new()]]
        );
        assert_eq!(arrived("x-api-key"), [[""], ["key-1"], [""]]);
    })
    .await;
}
