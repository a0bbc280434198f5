//! Guarantee 12: the origins that a credential is sent to.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod support;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body_util::{Empty, Full};
use support::{
    stack::{
        BoxedBody, Exchanges, ManualService, ServiceResult, answer_with, body_text, in_time,
        manual_service,
    },
    *,
};
use tokio::task::JoinHandle;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::follow_redirect::{FollowRedirectLayer, policy};
use tower_refresh::{
    Credential, ErrorKind, Origin, Origins, Refresh, RefreshError, RefreshLayer, ReplayBody,
    Session, Token,
    extension::{Anonymous, TargetUri},
};

type Call = Request<Full<Bytes>>;
type Client = Refresh<ManualService<Full<Bytes>>>;

/// A client, and the handles with which a test answers its requests and flights.
fn client(
    origins: impl Into<Origins>,
    set: impl FnOnce(RefreshLayer) -> RefreshLayer,
) -> (Client, Session, Exchanges<Full<Bytes>>, Flights) {
    let (inner, exchanges) = manual_service();
    let (refresher, flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let layer = set(RefreshLayer::new(session.clone(), origins));
    (layer.layer(inner), session, exchanges, flights)
}

fn origins(origins: &[&str]) -> Vec<Origin> {
    origins.iter().map(|origin| Origin::try_from(*origin).unwrap()).collect()
}

fn request(method: Method, uri: &str) -> Call {
    Request::builder().method(method).uri(uri).body(Full::default()).unwrap()
}

fn send<S>(client: &S, request: Call) -> JoinHandle<Result<S::Response, BoxError>>
where
    S: Service<Call, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
{
    tokio::spawn(client.clone().oneshot(request))
}

fn status(answer: ServiceResult) -> StatusCode {
    answer.expect("a response").status()
}

/// Sends a request and returns the credential that the upstream receives.
async fn credential_sent(
    client: &Client,
    exchanges: &mut Exchanges<Full<Bytes>>,
    request: Call,
) -> Option<String> {
    let answer = send(client, request);
    let exchange = exchanges.next().await;
    let credential = exchange.bearer().map(str::to_owned);
    exchange.status(StatusCode::OK);
    assert_eq!(status(answer.await.unwrap()), StatusCode::OK);
    credential
}

// === origins ===

#[tokio::test]
async fn g12_only_the_origins_of_the_layer_see_the_credential() {
    let listed = origins(&[
        "HTTPS://Api.Example.COM",
        "https://other.example.com:8443",
        "http://127.0.0.1:8080",
    ]);
    let (client, _session, mut exchanges, _flights) = client(listed, |layer| layer);
    let cases = [
        ("https://api.example.com/", true),
        ("https://api.example.com:443/x?y", true),
        ("https://API.example.com/", true),
        ("HTTPS://API.EXAMPLE.COM:443/", true),
        ("https://user:password@api.example.com/", true),
        ("https://api.example.com:8443/", false),
        ("https://api.example.com:80/", false),
        ("http://api.example.com/", false),
        ("http://api.example.com:443/", false),
        ("https://example.com/", false),
        ("https://evil.api.example.com/", false),
        ("https://api.example.com.evil.com/", false),
        ("https://api.example.com@evil.com/", false),
        ("https://other.example.com:8443/", true),
        ("https://other.example.com/", false),
        ("http://127.0.0.1:8080/", true),
        ("http://127.0.0.1/", false),
        ("http://localhost:8080/", false),
    ];
    for (uri, is_listed) in cases {
        let sent = credential_sent(&client, &mut exchanges, request(Method::GET, uri)).await;
        assert_eq!(sent.as_deref(), is_listed.then_some("at-1"), "{uri}");
    }
}

#[tokio::test]
async fn g12_origins_any_sends_the_credential_to_every_https_origin() {
    let (client, _session, mut exchanges, _flights) = client(Origins::any(), |layer| layer);
    for uri in ["https://a.example/", "https://b.example:8443/"] {
        let sent = credential_sent(&client, &mut exchanges, request(Method::GET, uri)).await;
        assert_eq!(sent.as_deref(), Some("at-1"), "{uri}");
    }
}

#[tokio::test]
async fn g12_relative_only_sends_the_credential_with_relative_uris_only() {
    let (client, _session, mut exchanges, _flights) =
        client(Origins::relative_only(), |layer| layer);
    let sent =
        credential_sent(&client, &mut exchanges, request(Method::GET, "https://a.example/")).await;
    assert_eq!(sent, None);
    assert_eq!(
        credential_sent(&client, &mut exchanges, get("/path")).await.as_deref(),
        Some("at-1")
    );
}

#[tokio::test]
async fn g12_a_uri_without_an_authority_carries_the_credential() {
    let (client, _session, mut exchanges, _flights) =
        client(origins(&["https://a.example"]), |layer| layer);
    for (method, uri) in [(Method::GET, "/path?query"), (Method::OPTIONS, "*")] {
        let sent = credential_sent(&client, &mut exchanges, request(method, uri)).await;
        assert_eq!(sent.as_deref(), Some("at-1"), "{uri}");
    }
}

#[tokio::test]
async fn g12_a_401_of_another_origin_passes_and_starts_no_flight() {
    let (client, session, mut exchanges, mut flights) =
        client(origins(&["https://a.example"]), |layer| layer);
    for _ in 0..3 {
        let answer = send(&client, request(Method::POST, "https://b.example/"));
        let exchange = exchanges.next().await;
        assert_eq!(exchange.bearer(), None);
        exchange
            .answer(answer_with(StatusCode::UNAUTHORIZED, Full::new(Bytes::from("not a session"))));
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(body_text(answer.into_body()).await, "not a session");
    }
    flights.none_started().await;
    exchanges.none().await;
    assert_eq!(session.state().flights_started(), 0);
}

// === cleartext ===

#[tokio::test]
async fn g12_cleartext_is_refused_and_nothing_is_sent() {
    let (client, session, mut exchanges, mut flights) = client(Origins::any(), |layer| layer);
    for uri in [
        "http://a.example/",
        "HTTP://A.EXAMPLE:8080/x",
        "http://192.168.0.1/",
        "http://[2001:db8::1]/",
        "ws://a.example/",
        "http://localhost.evil.com/",
        "http://127.0.0.1.evil.com/",
        "http://notlocalhost/",
        "http://localhost@evil.com/",
    ] {
        assert_eq!(
            kind(in_time(client.clone().oneshot(request(Method::GET, uri))).await),
            ErrorKind::Cleartext,
            "{uri}"
        );
    }
    exchanges.none().await;

    // `Cleartext` takes precedence over `LoggedOut`.
    drop(session.logout());
    let refused = in_time(client.clone().oneshot(request(Method::GET, "http://a.example/"))).await;
    assert_eq!(kind(refused), ErrorKind::Cleartext);
    flights.none_started().await;
}

#[tokio::test]
async fn g12_cleartext_to_loopback_is_sent() {
    let (client, _session, mut exchanges, _flights) = client(Origins::any(), |layer| layer);
    for uri in [
        "http://localhost/",
        "http://LOCALHOST:3000/",
        "http://127.0.0.1:8080/",
        "http://127.9.9.9/",
        "http://[::1]:80/",
    ] {
        let sent = credential_sent(&client, &mut exchanges, request(Method::GET, uri)).await;
        assert_eq!(sent.as_deref(), Some("at-1"), "{uri}");
    }
}

#[tokio::test]
async fn g12_cleartext_is_sent_where_it_is_allowed() {
    let (client, _session, mut exchanges, _flights) =
        client(Origins::any_with_cleartext(), |layer| layer);
    let sent =
        credential_sent(&client, &mut exchanges, request(Method::GET, "http://a.example/")).await;
    assert_eq!(sent.as_deref(), Some("at-1"));
}

#[tokio::test]
async fn g12_listing_a_cleartext_origin_permits_cleartext_to_that_origin_only() {
    let (client, _session, mut exchanges, _flights) =
        client(origins(&["http://a.example"]), |layer| layer);
    for (uri, expected) in [
        ("http://a.example/", Some("at-1")),
        ("http://b.example/", None),
        ("http://a.example:8080/", None),
        ("https://a.example/", None),
    ] {
        let sent = credential_sent(&client, &mut exchanges, request(Method::GET, uri)).await;
        assert_eq!(sent.as_deref(), expected, "{uri}");
    }
}

#[tokio::test]
async fn g12_cleartext_is_refused_only_if_the_credential_would_be_sent() {
    let (client, _session, mut exchanges, _flights) = client(Origins::any(), |layer| layer);
    let refused = in_time(client.clone().oneshot(request(Method::GET, "http://a.example/"))).await;
    assert_eq!(kind(refused), ErrorKind::Cleartext);
    let mut anonymous = request(Method::GET, "http://a.example/");
    anonymous.extensions_mut().insert(Anonymous);
    assert_eq!(credential_sent(&client, &mut exchanges, anonymous).await, None);
    let mut own = request(Method::GET, "http://a.example/");
    own.headers_mut().insert(header::AUTHORIZATION, "Bearer mine".parse().unwrap());
    assert_eq!(credential_sent(&client, &mut exchanges, own).await.as_deref(), Some("mine"));
}

#[tokio::test]
async fn g12_a_name_below_localhost_is_not_loopback() {
    let (client, _session, _exchanges, _flights) = client(Origins::any(), |layer| layer);
    for uri in ["http://api.localhost/", "http://localhost.localhost/", "ws://a.b.LOCALHOST:80/"] {
        let refused = in_time(client.clone().oneshot(request(Method::GET, uri))).await;
        assert_eq!(kind(refused), ErrorKind::Cleartext, "{uri}");
    }
}

#[tokio::test]
async fn g12_relative_to_applies_the_origin_rules_to_relative_uris() {
    let origin = |text: &str| Origin::try_from(text).unwrap();
    let cases = [
        (Origins::any().relative_to(origin("https://a.example")), Ok(Some("at-1"))),
        (Origins::any().relative_to(origin("http://localhost:1")), Ok(Some("at-1"))),
        (Origins::any().relative_to(origin("http://a.example")), Err(ErrorKind::Cleartext)),
        (Origins::any_with_cleartext().relative_to(origin("http://a.example")), Ok(Some("at-1"))),
        (
            Origins::from(origin("http://a.example")).relative_to(origin("http://a.example")),
            Ok(Some("at-1")),
        ),
        (
            Origins::from(origin("https://a.example")).relative_to(origin("http://a.example")),
            Ok(None),
        ),
        (Origins::relative_only().relative_to(origin("https://a.example")), Ok(None)),
    ];
    for (origins, expected) in cases {
        let shown = format!("{origins:?}");
        let (client, _session, mut exchanges, _flights) = client(origins, |layer| layer);
        match expected {
            Ok(credential) => {
                let sent = credential_sent(&client, &mut exchanges, get("/path")).await;
                assert_eq!(sent.as_deref(), credential, "{shown}");
            }
            Err(error) => {
                let refused = in_time(client.clone().oneshot(get("/path"))).await;
                assert_eq!(kind(refused), error, "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn g12_trace_never_carries_the_credential() {
    for overwrite in [false, true] {
        let (client, session, mut exchanges, mut flights) =
            client(Origins::any(), |layer| layer.overwrite(overwrite));
        let answer = send(&client, request(Method::TRACE, "https://a.example/"));
        let exchange = exchanges.next().await;
        assert!(exchange.request.headers().is_empty(), "{:?}", exchange.request.headers());
        exchange.status(StatusCode::UNAUTHORIZED);
        assert_eq!(status(answer.await.unwrap()), StatusCode::UNAUTHORIZED);

        let mut own = request(Method::TRACE, "https://a.example/");
        own.headers_mut().insert(header::AUTHORIZATION, "Bearer mine".parse().unwrap());
        let sent = credential_sent(&client, &mut exchanges, own).await;
        assert_eq!(sent.as_deref(), Some("mine"), "overwrite: {overwrite}");

        drop(session.logout());
        assert_eq!(
            credential_sent(&client, &mut exchanges, request(Method::TRACE, "/")).await,
            None,
            "a TRACE passes without a login"
        );
        flights.none_started().await;
    }
}

#[tokio::test]
async fn g12_a_401_with_the_target_uri_of_another_origin_starts_no_flight() {
    let (client, session, mut exchanges, mut flights) =
        client(origins(&["https://a.example"]), |layer| layer);
    for target in ["https://b.example/", "http://a.example/", "https://a.example:8443/"] {
        let answer = send(&client, request(Method::GET, "https://a.example/"));
        let mut response = answer_with(StatusCode::UNAUTHORIZED, Full::default());
        response.extensions_mut().insert(TargetUri(target.parse().unwrap()));
        exchanges.next().await.answer(response);
        assert_eq!(status(answer.await.unwrap()), StatusCode::UNAUTHORIZED, "{target}");
    }
    flights.none_started().await;

    let answer = send(&client, request(Method::GET, "https://a.example/"));
    let mut response = answer_with(StatusCode::UNAUTHORIZED, Full::default());
    response.extensions_mut().insert(TargetUri("https://a.example/other".parse().unwrap()));
    exchanges.next().await.answer(response);
    in_time(flights.next()).await.succeed("at-2");
    let replay = exchanges.next().await;
    assert_eq!(replay.bearer(), Some("at-2"));
    replay.status(StatusCode::OK);
    assert_eq!(status(answer.await.unwrap()), StatusCode::OK);
    assert_eq!(session.state().flights_started(), 1);
}

// === requests that pass ===

/// Checks in every phase that a request passes unchanged and that its 401 goes to the caller.
async fn passes_in_every_phase(sent: impl Fn() -> Call, expected: Option<&str>) {
    let (client, session, mut exchanges, mut flights) =
        client(origins(&["https://a.example"]), |layer| layer);
    let passes = async |exchanges: &mut Exchanges<Full<Bytes>>, phase: &str| {
        let answer = send(&client, sent());
        let exchange = exchanges.next().await;
        assert_eq!(exchange.bearer(), expected, "{phase}");
        let kept: Vec<_> = exchange.request.headers().keys().cloned().collect();
        assert_eq!(kept, sent().headers().keys().cloned().collect::<Vec<_>>(), "{phase}");
        assert_eq!(
            (exchange.request.uri(), exchange.request.method()),
            (sent().uri(), sent().method())
        );
        exchange.status(StatusCode::UNAUTHORIZED);
        assert_eq!(status(answer.await.unwrap()), StatusCode::UNAUTHORIZED, "{phase}");
    };

    passes(&mut exchanges, "active").await;
    flights.none_started().await;

    let forced = tokio::spawn(session.refresh());
    let flight = in_time(flights.next()).await;
    passes(&mut exchanges, "refreshing without waiters").await;
    let rejected = send(&client, request(Method::GET, "https://a.example/"));
    exchanges.next().await.status(StatusCode::UNAUTHORIZED);
    settle_tasks().await;
    assert_eq!(session.waiters(), 1);
    passes(&mut exchanges, "refreshing with waiters").await;
    assert_eq!(session.waiters(), 1, "a passing request does not wait");

    flight.answer(Err(RefreshError::transient("busy")));
    assert!(forced.await.unwrap().is_err());
    assert_eq!(kind(rejected.await.unwrap()), ErrorKind::RefreshFailed);
    passes(&mut exchanges, "failed").await;

    drop(session.logout());
    passes(&mut exchanges, "logged out").await;
    flights.none_started().await;
    assert_eq!(session.state().flights_started(), 1);
}

#[tokio::test]
async fn g12_an_anonymous_request_passes_in_every_phase() {
    let anonymous = || {
        let mut request = request(Method::GET, "https://a.example/");
        request.extensions_mut().insert(Anonymous);
        request
    };
    passes_in_every_phase(anonymous, None).await;
}

#[tokio::test]
async fn g12_a_request_with_its_own_authorization_passes_in_every_phase() {
    let own = || {
        let mut request = request(Method::GET, "https://a.example/");
        request.headers_mut().insert(header::AUTHORIZATION, "Bearer mine".parse().unwrap());
        request
    };
    passes_in_every_phase(own, Some("mine")).await;
}

#[tokio::test]
async fn g12_a_request_to_another_origin_passes_in_every_phase() {
    passes_in_every_phase(|| request(Method::GET, "https://b.example/"), None).await;
}

#[tokio::test]
async fn g12_a_connect_request_passes_in_every_phase() {
    passes_in_every_phase(|| request(Method::CONNECT, "a.example:443"), None).await;
}

#[tokio::test]
async fn g12_a_connect_request_carries_no_credential_with_origins_any() {
    let (client, _session, mut exchanges, _flights) = client(Origins::any(), |layer| layer);
    let connect = request(Method::CONNECT, "a.example:443");
    assert_eq!(credential_sent(&client, &mut exchanges, connect).await, None);
    // An extended CONNECT request (RFC 8441) has a scheme and a path, and carries the credential.
    let websocket = request(Method::CONNECT, "https://a.example/chat");
    assert_eq!(credential_sent(&client, &mut exchanges, websocket).await.as_deref(), Some("at-1"));
}

#[tokio::test]
async fn g12_overwrite_replaces_the_authorization_of_the_caller() {
    let (client, _session, mut exchanges, mut flights) =
        client(Origins::any(), |layer| layer.overwrite(true));
    let mut own = request(Method::GET, "https://a.example/");
    own.headers_mut().append(header::AUTHORIZATION, "Bearer mine".parse().unwrap());
    own.headers_mut().append(header::AUTHORIZATION, "Basic bWluZQ==".parse().unwrap());
    let answer = send(&client, own);
    for credential in ["at-1", "at-2"] {
        let exchange = exchanges.next().await;
        let values: Vec<_> =
            exchange.request.headers().get_all(header::AUTHORIZATION).iter().collect();
        assert_eq!(values, [&format!("Bearer {credential}")]);
        match credential {
            "at-1" => exchange.status(StatusCode::UNAUTHORIZED),
            _ => exchange.status(StatusCode::OK),
        }
        if credential == "at-1" {
            in_time(flights.next()).await.succeed("at-2");
        }
    }
    assert_eq!(status(answer.await.unwrap()), StatusCode::OK);
}

#[tokio::test]
async fn g12_overwrite_does_not_change_anonymous_requests_and_those_to_other_origins() {
    let (client, _session, mut exchanges, _flights) =
        client(origins(&["https://a.example"]), |layer| layer.overwrite(true));
    for uri in ["https://a.example/", "https://b.example/"] {
        let mut own = request(Method::GET, uri);
        own.headers_mut().insert(header::AUTHORIZATION, "Bearer mine".parse().unwrap());
        if uri == "https://a.example/" {
            own.extensions_mut().insert(Anonymous);
        }
        assert_eq!(
            credential_sent(&client, &mut exchanges, own).await.as_deref(),
            Some("mine"),
            "{uri}"
        );
    }
}

#[tokio::test]
async fn g12_is_present_decides_whether_a_request_has_its_own_credential() {
    struct Cookie(&'static str);

    impl Credential for Cookie {
        fn apply(&self, request: &mut http::request::Parts) {
            request.headers.insert(header::COOKIE, self.0.parse().unwrap());
        }

        fn is_present(request: &http::request::Parts) -> bool {
            request.headers.contains_key(header::COOKIE)
        }
    }

    let seen = Arc::<Mutex<Vec<String>>>::default();
    let log = seen.clone();
    let inner = service_fn(move |request: Request<ReplayBody<Full<Bytes>>>| {
        let cookie =
            request.headers().get(header::COOKIE).map_or("-", |cookie| cookie.to_str().unwrap());
        log.lock().unwrap().push(cookie.to_owned());
        async { Ok::<_, BoxError>(response(StatusCode::OK)) }
    });
    let refresher = tower_refresh::refresher_fn(|_: tower_refresh::RefreshContext<Cookie>| async {
        Err(RefreshError::transient("never"))
    });
    let client =
        RefreshLayer::new(Session::new(Cookie("sid=1"), refresher), Origins::any()).layer(inner);
    for header in [header::AUTHORIZATION, header::COOKIE] {
        let mut request = get("/");
        request.headers_mut().insert(header, "mine".parse().unwrap());
        client.clone().oneshot(request).await.unwrap();
    }
    assert_eq!(*seen.lock().unwrap(), ["sid=1", "mine"]);
}

#[tokio::test]
async fn g12_the_header_of_the_credential_is_sensitive_on_both_attempts() {
    let (client, _session, mut exchanges, mut flights) = client(Origins::any(), |layer| layer);
    let mut ours = request(Method::GET, "https://a.example/");
    *ours.version_mut() = Version::HTTP_2;
    let answer = send(&client, ours);
    for status in [StatusCode::UNAUTHORIZED, StatusCode::OK] {
        let exchange = exchanges.next().await;
        assert!(exchange.request.headers()[header::AUTHORIZATION].is_sensitive());
        assert!(!format!("{:?}", exchange.request).contains("at-"));
        exchange.status(status);
        if status == StatusCode::UNAUTHORIZED {
            in_time(flights.next()).await.succeed("at-2");
        }
    }
    assert_eq!(status(answer.await.unwrap()), StatusCode::OK);
}

// === redirects ===

/// An upstream that redirects `/to?uri` to `uri`. Other requests get 200, or 401 without the
/// credential `at-1`. Every request is logged.
#[derive(Clone, Default)]
struct RedirectingUpstream(Arc<Mutex<Vec<String>>>);

impl RedirectingUpstream {
    fn log(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    async fn answer<B>(self, request: Request<B>) -> ServiceResult {
        let credential = bearer(&request).unwrap_or("-");
        self.0.lock().unwrap().push(format!("{} {credential}", request.uri()));
        let mut answer: Response<BoxedBody> = answer_with(StatusCode::OK, Empty::new());
        match request.uri().query() {
            Some(to) => {
                *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
                answer.headers_mut().insert(header::LOCATION, to.parse().unwrap());
            }
            None if credential != "at-1" => *answer.status_mut() = StatusCode::UNAUTHORIZED,
            None => {}
        }
        Ok(answer)
    }
}

const REDIRECT_TO_OTHER_ORIGIN: &str = "https://a.example/to?https://b.example/there";

#[tokio::test]
async fn g12_redirects_followed_above_the_layer_carry_the_credential_to_listed_origins_only() {
    let upstream = RedirectingUpstream::default();
    let (refresher, mut flights) = manual_refresher();
    let layer =
        RefreshLayer::new(Session::new(token("at-1"), refresher), origins(&["https://a.example"]));
    let inner = service_fn({
        let upstream = upstream.clone();
        move |request: Request<ReplayBody<Full<Bytes>>>| upstream.clone().answer(request)
    });
    let client =
        ServiceBuilder::new().layer(FollowRedirectLayer::new()).layer(layer).service(inner);

    let answer = send(&client, request(Method::GET, "https://a.example/to?https://a.example/here"))
        .await
        .unwrap();
    assert_eq!(status(answer), StatusCode::OK);
    let answer = send(&client, request(Method::GET, REDIRECT_TO_OTHER_ORIGIN)).await.unwrap();
    assert_eq!(
        status(answer),
        StatusCode::UNAUTHORIZED,
        "a 401 of another origin goes to the caller"
    );
    assert_eq!(
        upstream.log(),
        [
            "https://a.example/to?https://a.example/here at-1",
            "https://a.example/here at-1",
            "https://a.example/to?https://b.example/there at-1",
            "https://b.example/there -",
        ]
    );
    flights.none_started().await;
}

#[tokio::test]
async fn g12_redirects_followed_below_the_layer_lose_the_credential_at_another_origin() {
    let upstream = RedirectingUpstream::default();
    let refresher = CountingRefresher::for_upstream(&Upstream::accepting(&[]));
    let layer = RefreshLayer::new(Session::new(token("at-1"), refresher), Origins::any());
    let inner = service_fn({
        let upstream = upstream.clone();
        move |request: Request<ReplayBody<Full<Bytes>>>| upstream.clone().answer(request)
    });
    let client =
        ServiceBuilder::new().layer(layer).layer(FollowRedirectLayer::new()).service(inner);

    // The standard policy of tower-http removes the header. The layer takes the 401 of the other
    // origin for the response to its request.
    let mut there_and_back =
        request(Method::GET, "https://a.example/to?https://b.example/to?https://a.example/back");
    there_and_back.extensions_mut().insert(tower_refresh::extension::NoReplay);
    assert_eq!(status(send(&client, there_and_back).await.unwrap()), StatusCode::UNAUTHORIZED);
    for seen in upstream.log() {
        assert_eq!(seen.ends_with(" at-1"), seen.starts_with("https://a.example/to"), "{seen}");
    }
}

#[tokio::test]
async fn g12_a_same_origin_policy_below_the_layer_returns_redirects_to_other_origins() {
    let upstream = RedirectingUpstream::default();
    let refresher = CountingRefresher::for_upstream(&Upstream::accepting(&[]));
    let layer = RefreshLayer::new(Session::new(token("at-1"), refresher.clone()), Origins::any());
    let inner = service_fn({
        let upstream = upstream.clone();
        move |request: Request<ReplayBody<Full<Bytes>>>| upstream.clone().answer(request)
    });
    let same_origin = FollowRedirectLayer::with_policy(policy::SameOrigin::new());
    let client = ServiceBuilder::new().layer(layer).layer(same_origin).service(inner);

    let answer = send(&client, request(Method::GET, "https://a.example/to?/here")).await.unwrap();
    assert_eq!(status(answer), StatusCode::OK);
    assert_eq!(
        status(send(&client, request(Method::GET, REDIRECT_TO_OTHER_ORIGIN)).await.unwrap()),
        StatusCode::TEMPORARY_REDIRECT
    );
    assert!(upstream.log().iter().all(|seen| seen.starts_with("https://a.example/")));
    assert_eq!(refresher.calls(), 0);
}

#[tokio::test]
async fn g12_a_rejected_request_after_a_redirect_is_replayed_at_the_redirect_target() {
    let upstream = RedirectingUpstream::default();
    let session = Session::new(
        token("at-0"),
        tower_refresh::refresher_fn(|_: tower_refresh::RefreshContext| async {
            Ok(Token::bearer("at-1")?)
        }),
    );
    let layer = RefreshLayer::new(session, origins(&["https://a.example"]));
    let inner = service_fn({
        let upstream = upstream.clone();
        move |request: Request<ReplayBody<Full<Bytes>>>| upstream.clone().answer(request)
    });
    let client =
        ServiceBuilder::new().layer(FollowRedirectLayer::new()).layer(layer).service(inner);
    let answer = send(&client, request(Method::GET, "https://a.example/to?/here")).await.unwrap();
    assert_eq!(status(answer), StatusCode::OK);
    assert_eq!(
        upstream.log(),
        [
            "https://a.example/to?/here at-0",
            "https://a.example/here at-0",
            "https://a.example/here at-1"
        ]
    );
}
