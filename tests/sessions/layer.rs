use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimit};
use tower_refresh::{
    ErrorKind, Origin, RefreshLayer, Session,
    respond::{HttpAnswer, RespondLayer},
    sessions::{CookieKey, SelectKey, Sessions, SessionsLayer, WithSession, key_fn},
};
use tower_test::mock;

use crate::{
    support::{
        Arrivals, Mock, UpstreamRequest, UpstreamResponse, ask, get, kind, settle_tasks, status,
        token,
    },
    users::{ManualLoads, builder, key, log_in, template},
};

type Inner = mock::Mock<Request<Full<Bytes>>, UpstreamResponse>;

fn by_header() -> impl SelectKey<Key = String> {
    key_fn(|request: &http::request::Parts| {
        let user = request.headers.get("x-user")?.to_str().ok()?;
        assert_ne!(user, "panics", "a panic of the test");
        (!user.is_empty()).then(|| user.to_owned())
    })
}

pub(crate) fn of(user: &str) -> Request<Full<Bytes>> {
    let mut request = get("https://api.example.com/");
    request.headers_mut().insert("x-user", user.parse().unwrap());
    request
}

/// A proxy: who is it, which session, forward.
pub(crate) fn proxy(
    sessions: &Sessions<String>,
) -> (
    impl Service<Request<Full<Bytes>>, Response = UpstreamResponse, Error = BoxError, Future: Send>
    + Clone
    + Send
    + 'static,
    Arrivals,
) {
    let (upstream, arrivals) = mock::pair::<UpstreamRequest, UpstreamResponse>();
    let api = Origin::from_static("https://api.example.com");
    let service = ServiceBuilder::new()
        .layer(SessionsLayer::new(sessions.clone(), by_header()))
        .layer(RefreshLayer::per_request(api))
        .service::<Mock>(upstream);
    (service, Arrivals(arrivals))
}

#[tokio::test(start_paused = true)]
async fn g21_each_request_carries_the_credential_of_its_user() {
    let (template, _) = template();
    let sessions = builder(template).build();
    log_in(&sessions, "ann").await;
    log_in(&sessions, "bob").await;
    let (proxy, mut upstream) = proxy(&sessions);
    for user in ["ann", "bob", "ann"] {
        let request = ask(&proxy, of(user));
        let arrived = upstream.next().await;
        assert_eq!(arrived.token(), user);
        arrived.accept();
        assert_eq!(status(request).await, StatusCode::OK);
    }
    // A user that is not logged in.
    assert_eq!(kind(ask(&proxy, of("eve")).await.unwrap()), ErrorKind::LoggedOut);
    upstream.none().await;
}

#[tokio::test(start_paused = true)]
async fn g21_a_request_whose_user_is_unknown_has_no_session() {
    let (template, _) = template();
    let name = |user: &String| {
        assert_ne!(user, "nameless", "a panic of the test");
        user.clone()
    };
    let sessions = builder(template).name(name).build();
    let ann = log_in(&sessions, "ann").await;
    let (proxy, mut upstream) = proxy(&sessions);
    let absent = get("https://api.example.com/");
    for mut request in [absent, of(""), of("panics"), of("nameless")] {
        // Not even with a session that something above has left in the request.
        request.extensions_mut().insert(ann.clone());
        assert_eq!(kind(ask(&proxy, request).await.unwrap()), ErrorKind::NoSession);
    }
    upstream.none().await;
    let request = ask(&proxy, of("ann"));
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    assert_eq!(sessions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn errors_become_responses_in_a_proxy() {
    let (template, _) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).capacity(1).build();
    let (proxy, _upstream) = proxy(&sessions);
    let proxy = RespondLayer::new(HttpAnswer::new()).layer(proxy);
    let send = |request| {
        let response = proxy.clone().oneshot(request);
        tokio::spawn(async move { response.await.unwrap().status() })
    };
    assert_eq!(send(get("https://api.example.com/")).await.unwrap(), StatusCode::UNAUTHORIZED);
    let loading = send(of("ann"));
    settle_tasks().await;
    assert_eq!(send(of("bob")).await.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
    loads.answer("ann", Err("down".into()));
    assert_eq!(loading.await.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn g13_a_request_whose_session_is_loaded_holds_no_permit() {
    let (template, _) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).build();
    let (inner, mut handle): (Inner, _) = mock::pair();
    let mut service =
        SessionsLayer::new(sessions, by_header()).layer(ConcurrencyLimit::new(inner, 1));
    let mut other = service.clone();
    assert!(assert_ready!(task::spawn(service.ready()).poll()).is_ok());
    let mut loading = task::spawn(service.call(of("ann")));
    assert_pending!(loading.poll());
    // A request without a session goes on meanwhile.
    assert!(assert_ready!(task::spawn(other.ready()).poll()).is_ok());
    let mut next = task::spawn(other.call(get("https://api.example.com/")));
    assert_pending!(next.poll());
    settle_tasks().await;
    loads.find("ann");
    settle_tasks().await;
    assert_pending!(loading.poll());
    let (request, answer) = handle.next_request().await.unwrap();
    assert!(request.extensions().get::<Session>().is_none());
    answer.send_response(Response::new(Full::default()));
    assert!(assert_ready!(next.poll()).is_ok());
    drop(next);

    assert!(loading.is_woken());
    assert_pending!(loading.poll());
    let (request, answer) = handle.next_request().await.unwrap();
    assert!(request.extensions().get::<Session>().unwrap().credential().is_some());
    answer.send_response(Response::new(Full::default()));
    assert!(assert_ready!(loading.poll()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn g20_the_session_of_a_request_that_waits_is_not_forgotten() {
    let (refresher, mut flights) = crate::support::manual_refresher();
    let template = Session::builder(refresher).template();
    let sessions = builder(template).build();
    drop(log_in(&sessions, "ann").await);
    let (proxy, mut upstream) = proxy(&sessions);
    let request = ask(&proxy, of("ann"));
    upstream.next().await.reject();
    let flight = flights.next().await;
    assert!(!sessions.remove(&key("ann")));
    flight.succeed("at-2");
    let replay = upstream.next().await;
    assert_eq!(replay.token(), "at-2");
    replay.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    assert_eq!(sessions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn cookies_choose_the_session() {
    let (template, _) = template();
    let sessions = builder(template).build();
    sessions.login(&key("4f1c"), token("anns")).await.unwrap();
    let (inner, mut handle): (Inner, _) = mock::pair();
    let service: WithSession<Inner, CookieKey> =
        SessionsLayer::new(sessions, CookieKey::new("sid")).layer(inner);
    for (cookie, has_session) in [("a=b; sid=4f1c", true), ("sid=4f1c; sid=4f1d", false)] {
        let request = Request::get("https://api.example.com/").header("cookie", cookie);
        let request = request.body(Full::default()).unwrap();
        let response = tokio::spawn(service.clone().oneshot(request));
        let (request, answer) = handle.next_request().await.unwrap();
        assert_eq!(request.extensions().get::<Session>().is_some(), has_session);
        answer.send_response(Response::new(Full::default()));
        assert!(response.await.unwrap().is_ok());
    }
    let _: &Inner = service.get_ref();
    assert!(format!("{service:?}").contains("WithSession"));
    let _: Inner = service.into_inner();
}
