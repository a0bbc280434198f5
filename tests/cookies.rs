//! Cookie sessions behind the layer: with an application in memory, with answers by hand, and over
//! real connections.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::{
    collections::HashMap,
    convert::Infallible,
    error::Error as _,
    fmt,
    future::{pending, poll_fn},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, DATE, LOCATION, RETRY_AFTER, SET_COOKIE},
    request::Parts,
};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    net::TcpListener,
    sync::{Barrier, mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tower::{BoxError, Layer, Service, ServiceExt, util::BoxCloneService};
use tower_refresh::{
    Credential, Error, ErrorKind, Origins, RefreshContext, RefreshError, RefreshErrorKind,
    RefreshLayer, Refresher, ReplayBody, Session,
    cookies::{Csrf, InvalidCookie, Jar, LogoutEndpoint, RefreshEndpoint, StripSetCookieLayer},
    exchange::{InvalidUrl, RequestBody},
    refresher::{BoxFuture, Cause},
    session::{Phase, SessionBuilder},
};

type Answer = Response<Full<Bytes>>;

const BASE: &str = "https://app.example.com";
const CSRF: HeaderName = HeaderName::from_static("x-csrf");

/// A web application: short-lived `access`, `refresh` that is good for one use, and a `csrf` that
/// rolls.
#[derive(Default)]
struct App {
    sessions: Mutex<Sessions>,
    /// Delays rejections until this many have come.
    rejected_together: Option<Barrier>,
}

#[derive(Default)]
struct Sessions {
    issued: usize,
    access: Option<String>,
    refresh: Option<String>,
    csrf: Option<String>,
    /// `METHOD /path`, then what the cookies were.
    log: Vec<(String, HashMap<String, String>)>,
}

/// A service in memory, for every body type.
#[derive(Clone)]
struct InMemory(Arc<dyn Fn(Parts) -> BoxFuture<'static, Result<Answer, BoxError>> + Send + Sync>);

/// The test's side of a service whose answers it gives.
struct ByHand(mpsc::UnboundedReceiver<InHand>);

struct InHand {
    head: Parts,
    answer: oneshot::Sender<Result<Answer, BoxError>>,
}

const _: fn() = || {
    fn is_clone<T: Clone + fmt::Debug + Send + Sync + 'static>() {}
    fn is_error<T: std::error::Error + Clone + Send + Sync + 'static>() {}
    is_clone::<RefreshEndpoint>();
    is_clone::<LogoutEndpoint>();
    is_clone::<Csrf>();
    is_error::<InvalidCookie>();
    is_error::<InvalidUrl>();
    // An HTTP client has to be `Clone` and `Send`, and no more.
    let _ = |service: BoxCloneService<Request<RequestBody>, Answer, BoxError>| {
        drop(LogoutEndpoint::new(service.clone(), "/"));
        RefreshEndpoint::new(service, "/")
    };
};

// === against the application, in memory ===

#[tokio::test]
async fn a_refresh_replaces_the_expired_cookies_of_the_login() {
    let app = App::shared();
    let session = app.session(app.log_in().await);
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(app.in_memory());

    assert_eq!(call(&client, get("/api/user")).await.status(), StatusCode::OK);
    app.expire();
    assert_eq!(call(&client, get("/api/user")).await.status(), StatusCode::OK);
    assert_eq!(app.count("POST /auth/refresh"), 1);
    assert_eq!(session.credential().unwrap().value("access").as_deref(), Some("access-2"));

    let sent = app.cookies_of("POST /auth/refresh");
    assert_eq!(sent["refresh"], "refresh-1", "the refresh cookie has a path of its own");
    assert!(!app.cookies_of("GET /api/user").contains_key("refresh"));
}

#[tokio::test]
async fn an_expired_cookie_is_renewed_before_the_request_is_sent() {
    let app = App::shared();
    let later = Arc::new(AtomicU64::new(0));
    let clock = {
        let later = later.clone();
        move || SystemTime::now() + Duration::from_secs(later.load(SeqCst))
    };
    let session = builder(refresh_by(app.in_memory()))
        .credential(app.log_in().await.with_expiry_of("access"))
        .clock(clock)
        .build();
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(app.in_memory());
    call(&client, get("/api/user")).await;
    assert_eq!(app.count("POST /auth/refresh"), 0);

    later.store(301, SeqCst);
    app.expire();
    assert_eq!(call(&client, get("/api/user")).await.status(), StatusCode::OK);
    assert_eq!(app.count("POST /auth/refresh"), 1);
    assert_eq!(app.count("GET /api/user"), 2, "none was rejected");
}

/// The clock of this machine is an hour ahead of the server's, or behind it.
#[tokio::test]
async fn a_wrong_clock_costs_no_cookie_and_no_lifetime() {
    let system = SystemTime::now();
    let date = httpdate::fmt_http_date;
    for (offset, jar_is_wrong) in
        [(3600_i64, false), (3600, true), (-3600, false), (-3600, true), (0, true)]
    {
        let clock = move || match u64::try_from(offset) {
            Ok(ahead) => system + Duration::from_secs(ahead),
            Err(_) => system - Duration::from_secs(3600),
        };
        for cookie in [
            "sid=2; Path=/; Max-Age=300".to_owned(),
            format!("sid=2; Path=/; Expires={}", date(system + Duration::from_secs(300))),
        ] {
            let (auth, mut calls) = by_hand();
            let jar = jar(&["sid=1; Path=/"]).with_expiry_of("sid");
            let jar =
                if jar_is_wrong { jar.with_clock(clock) } else { jar.with_clock(move || system) };
            let session = builder(refresh_by(auth)).credential(jar).clock(clock).build();
            let refresh = tokio::spawn(session.refresh());
            let mut answer = with_cookies(StatusCode::OK, &[&cookie]);
            answer.headers_mut().insert(DATE, date(system).parse().unwrap());
            calls.next().await.answer_with(Ok(answer));
            in_time(refresh).await.unwrap().unwrap();
            let left = session.state().expires_at().unwrap().duration_since(clock()).unwrap();
            assert!(left.as_secs().abs_diff(300) <= 1, "{offset} {cookie}: {left:?}");
        }
    }
}

#[tokio::test]
async fn an_expiry_without_a_date_goes_by_the_session_s_clock() {
    // The application corrects the clock of a machine that is an hour behind.
    let corrected = || SystemTime::now() + Duration::from_secs(3600);
    let (auth, mut calls) = by_hand();
    let jar = jar(&["sid=1; Path=/"]).with_expiry_of("sid");
    let session = builder(refresh_by(auth)).credential(jar).clock(corrected).build();
    let refresh = tokio::spawn(session.refresh());
    let expires = httpdate::fmt_http_date(corrected() + Duration::from_secs(300));
    calls.next().await.answer(StatusCode::OK, &[&format!("sid=2; Path=/; Expires={expires}")]);
    in_time(refresh).await.unwrap().unwrap();
    let left = session.state().expires_at().unwrap().duration_since(corrected()).unwrap();
    assert!(left.as_secs().abs_diff(300) <= 2, "{left:?}");
}

#[tokio::test]
async fn the_callers_own_cookies_travel_with_the_jars_also_on_the_replay() {
    let app = App::shared();
    let session = app.session(app.log_in().await);
    let client = RefreshLayer::new(session, Origins::any()).layer(app.in_memory());
    app.expire();

    let mut request = get("/api/user");
    request.headers_mut().append(COOKIE, HeaderValue::from_static("theme=dark; access=mine"));
    request.headers_mut().append(COOKIE, HeaderValue::from_static("lang=en"));
    assert_eq!(call(&client, request).await.status(), StatusCode::OK);
    let sent = app.cookies_of("GET /api/user");
    assert_eq!(sent["theme"], "dark");
    assert_eq!(sent["lang"], "en");
    assert_eq!(sent["access"], "access-2");
    assert_eq!(app.count("GET /api/user"), 2);
}

#[tokio::test]
async fn a_request_with_an_authorization_header_passes_untouched_unless_overwritten() {
    let app = App::shared();
    let session = app.session(app.log_in().await);
    let request = || {
        let mut request = get("/api/user");
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Basic eDp5"));
        request
    };
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(app.in_memory());
    assert_eq!(call(&client, request()).await.status(), StatusCode::UNAUTHORIZED);
    let client = RefreshLayer::new(session, Origins::any()).overwrite(true).layer(app.in_memory());
    assert_eq!(call(&client, request()).await.status(), StatusCode::OK);
    assert_eq!(app.count("POST /auth/refresh"), 0);
}

#[tokio::test]
async fn an_ordinary_answer_updates_the_jar() {
    let app = App::shared();
    let session = app.session(app.log_in().await);
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(app.in_memory());

    for _ in 0..3 {
        let csrf = session.credential().unwrap().value("csrf").unwrap();
        assert_eq!(call(&client, post("/api/orders")).await.status(), StatusCode::OK);
        let rolled = session.credential().unwrap().value("csrf").unwrap();
        assert_ne!(rolled, csrf, "the application rolls it with each order");
    }
    assert_eq!(app.count("POST /auth/refresh"), 0);
}

#[tokio::test]
async fn the_refresh_and_the_replay_carry_the_current_csrf_header() {
    let app = App::shared();
    let session = app.session(app.log_in().await);
    let client = RefreshLayer::new(session, Origins::any()).layer(app.in_memory());
    app.expire();
    assert_eq!(call(&client, post("/api/orders")).await.status(), StatusCode::OK);
    assert_eq!(app.count("POST /api/orders"), 2);
    assert_eq!(app.count("POST /auth/refresh"), 1);

    let bare = Jar::new(BASE).unwrap();
    bare.store(&app.log_in_answer());
    let client = RefreshLayer::new(app.session(bare), Origins::any()).layer(app.in_memory());
    assert_eq!(
        call(&client, post("/api/orders")).await.status(),
        StatusCode::FORBIDDEN,
        "the check is real"
    );
}

#[tokio::test]
async fn a_logout_calls_the_endpoint_with_the_last_cookies_and_closes_the_jar() {
    let app = App::shared();
    let session = app.session(app.log_in().await);
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(app.in_memory());
    app.expire();
    call(&client, get("/api/user")).await;
    let last = session.credential().unwrap();

    session.logout().await;
    assert_eq!(app.cookies_of("POST /auth/logout")["refresh"], "refresh-2");
    assert!(last.is_empty());
    assert!(app.sessions.lock().unwrap().refresh.is_none(), "the application has ended it too");
    assert_eq!(refused(&client, get("/api/user")).await.kind(), ErrorKind::LoggedOut);

    session.login(app.log_in().await);
    assert_eq!(call(&client, get("/api/user")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_refused_refresh_ends_the_login_and_closes_the_jar() {
    let app = App::shared();
    let session = app.session(app.log_in().await);
    let last = session.credential().unwrap();
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(app.in_memory());
    app.revoke();
    let error = refused(&client, get("/api/user")).await;
    assert_eq!(error.kind(), ErrorKind::LoggedOut);
    let cause = error.source().unwrap().source().unwrap().to_string();
    assert_eq!(cause, "the refresh endpoint answered 401 Unauthorized");
    in_time(async {
        while !last.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(app.count("POST /auth/logout"), 1);
}

// === late answers ===

#[tokio::test]
async fn the_cookies_of_the_refresh_are_there_before_any_waiter_is_released() {
    let (api, mut sent) = by_hand();
    let (auth, mut refreshes) = by_hand();
    let session = Session::new(jar(&["sid=1; Path=/"]), refresh_by(auth));
    let client = RefreshLayer::new(session, Origins::any()).layer(api);
    let requests: Vec<_> = (0..3).map(|_| spawn(&client, get("/api"))).collect();
    for _ in 0..3 {
        sent.next().await.answer(StatusCode::UNAUTHORIZED, &[]);
    }
    refreshes.next().await.answer(StatusCode::NO_CONTENT, &["sid=2; Path=/"]);
    for _ in 0..3 {
        let replay = sent.next().await;
        assert_eq!(replay.head.headers[COOKIE], "sid=2");
        replay.answer(StatusCode::OK, &[]);
    }
    for request in requests {
        assert_eq!(in_time(request).await.unwrap().unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn the_cookies_of_a_late_answer_never_reach_a_newer_login() {
    let (api, mut sent) = by_hand();
    let session = Session::new(jar(&["sid=ada; Path=/"]), refresh_by(never()));
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(api);
    let late = spawn(&client, get("/api"));
    let in_hand = sent.next().await;
    session.login(jar(&["sid=bob; Path=/"]));
    in_hand.answer(StatusCode::OK, &["sid=ada-2; Path=/", "more=ada; Path=/"]);
    assert_eq!(in_time(late).await.unwrap().unwrap().status(), StatusCode::OK);

    let next = spawn(&client, get("/api"));
    let in_hand = sent.next().await;
    assert_eq!(in_hand.head.headers[COOKIE], "sid=bob");
    in_hand.answer(StatusCode::OK, &[]);
    in_time(next).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_answer_that_a_refresh_overtook_does_not_undo_the_refresh() {
    let (api, mut sent) = by_hand();
    let (auth, mut refreshes) = by_hand();
    let session = Session::new(jar(&["sid=1; Path=/"]), refresh_by(auth));
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(api);
    let slow = spawn(&client, get("/slow"));
    let slow_in_hand = sent.next().await;
    let refresh = tokio::spawn(session.refresh());
    refreshes.next().await.answer(StatusCode::OK, &["sid=2; Path=/"]);
    in_time(refresh).await.unwrap().unwrap();

    slow_in_hand
        .answer(StatusCode::UNAUTHORIZED, &["sid=; Path=/; Max-Age=0", "csrf=rolled; Path=/"]);
    let replay = sent.next().await;
    assert_eq!(
        replay.head.headers[COOKIE], "sid=2; csrf=rolled",
        "what the refresh did not set still rolls"
    );
    replay.answer(StatusCode::OK, &[]);
    in_time(slow).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_late_answer_after_a_logout_stores_nothing() {
    let (api, mut sent) = by_hand();
    let (auth, mut calls) = by_hand();
    let logout = LogoutEndpoint::new(auth, "/auth/logout").unwrap();
    let session = builder(refresh_by(never()))
        .on_login_end(logout.into_hook())
        .credential(jar(&["sid=1"]))
        .build();
    let last = session.credential().unwrap();
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(api);
    let late = spawn(&client, get("/api"));
    let in_hand = sent.next().await;
    let logout = session.logout();
    calls.next().await.answer(StatusCode::FOUND, &["sid=anonymous"]);
    in_time(logout).await;
    in_hand.answer(StatusCode::OK, &["sid=2"]);
    in_time(late).await.unwrap().unwrap();
    assert!(last.is_empty());
    assert!(session.credential().is_none());
}

#[tokio::test]
async fn a_refresh_that_a_logout_overtook_stores_nothing_and_the_logout_gets_its_cookies() {
    let (auth, mut calls) = by_hand();
    let logout = LogoutEndpoint::new(auth.clone(), "/auth/logout").unwrap();
    let session = builder(refresh_by(auth))
        .on_login_end(logout.into_hook())
        .credential(jar(&["rt=1; Path=/"]))
        .build();
    let old = session.credential().unwrap();
    let refresh = tokio::spawn(session.refresh());
    let refreshing = calls.next().await;
    let logout = session.logout();
    refreshing.answer(StatusCode::OK, &["rt=2; Path=/"]);

    let logging_out = calls.next().await;
    assert_eq!(logging_out.head.uri.path(), "/auth/logout");
    assert_eq!(logging_out.head.headers[COOKIE], "rt=2", "the first one was used up");
    assert_eq!(old.value("rt").as_deref(), Some("1"));
    logging_out.answer(StatusCode::OK, &["rt=3; Path=/"]);
    in_time(logout).await;
    assert_eq!(in_time(refresh).await.unwrap().unwrap_err().kind(), ErrorKind::LoggedOut);
    assert!(session.credential().is_none());
    let (mut head, ()) = Request::get("/").body(()).unwrap().into_parts();
    old.apply(&mut head);
    assert!(!head.headers.contains_key(COOKIE), "all jars of the login are closed");
}

#[tokio::test]
async fn another_host_gets_no_cookie_and_sets_none() {
    let (api, mut sent) = by_hand();
    let session = Session::new(jar(&["sid=1; Path=/"]), refresh_by(never()));
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(api);
    let elsewhere = spawn(&client, get("https://evil.example.org/"));
    let in_hand = sent.next().await;
    assert!(!in_hand.head.headers.contains_key(COOKIE));
    in_hand.answer(StatusCode::OK, &["sid=fixed; Path=/"]);
    in_time(elsewhere).await.unwrap().unwrap();
    assert_eq!(session.credential().unwrap().value("sid").as_deref(), Some("1"));
}

// === answers of the refresh endpoint ===

#[tokio::test]
async fn the_status_of_the_refresh_endpoint_decides() {
    use RefreshErrorKind::{Ambiguous, Terminal, Transient};
    for (status, kind) in
        [(301, Transient), (302, Transient), (307, Transient), (308, Transient), (304, Transient)]
            .into_iter()
            .chain([
                (400, Transient),
                (401, Terminal),
                (403, Terminal),
                (404, Transient),
                (429, Transient),
            ])
            .chain([(500, Transient), (503, Transient), (504, Ambiguous)])
    {
        let status = StatusCode::from_u16(status).unwrap();
        let (auth, mut calls) = by_hand();
        let refresh = spawn_refresh(refresh_by(auth));
        let mut answer = with_cookies(status, &["sid=s3cr3t; Path=/"]);
        answer.headers_mut().insert(LOCATION, HeaderValue::from_static("/login?next=s3cr3t"));
        calls.next().await.answer_with(Ok(answer));
        let error = in_time(refresh).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
        assert_eq!(
            error.source().unwrap().to_string(),
            format!("the refresh endpoint answered {status}")
        );
        assert!(!shown(&error).contains("s3cr3t"));
        assert!(calls.0.try_recv().is_err(), "a redirect is not followed");
    }
}

#[tokio::test]
async fn a_custom_classifier_decides() {
    let (auth, mut calls) = by_hand();
    let endpoint = refresh_by(auth).classify(|status, headers| match status {
        StatusCode::FOUND if headers.get(LOCATION).is_some_and(|to| to == "/login") => {
            Err(RefreshError::terminal("sent to the login page"))
        }
        StatusCode::FORBIDDEN => Err(RefreshError::transient("a firewall")),
        _ => Ok(()),
    });
    for (status, kind) in [
        (StatusCode::FOUND, RefreshErrorKind::Terminal),
        (StatusCode::FORBIDDEN, RefreshErrorKind::Transient),
    ] {
        let refresh = spawn_refresh(endpoint.clone());
        let mut answer = with_cookies(status, &[]);
        answer.headers_mut().insert(LOCATION, HeaderValue::from_static("/login"));
        calls.next().await.answer_with(Ok(answer));
        assert_eq!(in_time(refresh).await.unwrap().unwrap_err().kind(), kind);
    }
}

#[tokio::test]
async fn the_endpoint_may_name_the_time_until_the_next_attempt() {
    let (auth, mut calls) = by_hand();
    let endpoint = refresh_by(auth);
    let mut wait = async |value: &'static str| {
        let refresh = spawn_refresh(endpoint.clone());
        let mut answer = with_cookies(StatusCode::TOO_MANY_REQUESTS, &[]);
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(value));
        calls.next().await.answer_with(Ok(answer));
        in_time(refresh).await.unwrap().unwrap_err().retry_after()
    };
    assert_eq!(wait("30").await, Some(Duration::from_secs(30)));
    assert!(wait("Wed, 18 May 2033 03:33:20 GMT").await.is_some());
    assert_eq!(wait("Thu, 01 Jan 1970 00:00:00 GMT").await, None);
    assert_eq!(wait("soon").await, None);
}

#[tokio::test]
async fn a_refresh_that_only_sets_cookies_of_other_domains_has_failed_and_the_login_goes_on() {
    let (api, mut sent) = by_hand();
    let (auth, mut calls) = by_hand();
    let session = Session::new(jar(&["sid=1; Path=/"]), refresh_by(auth));
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(api);
    let request = spawn(&client, get("/api"));
    sent.next().await.answer(StatusCode::UNAUTHORIZED, &[]);
    let foreign = [
        "sid=s3cr3t; Domain=evil.org",
        "sid=s3cr3t; Domain=com",
        "sid=s3cr3t; Domain=example.com.evil.org",
    ];
    calls.next().await.answer(StatusCode::OK, &foreign);
    let error = in_time(request).await.unwrap().unwrap_err();
    let error = error.downcast_ref::<Error>().unwrap();
    assert_eq!(error.kind(), ErrorKind::RefreshFailed);
    assert!(shown(error).contains("set no cookie that the jar may hold"), "{}", shown(error));
    assert!(!shown(error).contains("s3cr3t"));
    assert_eq!(session.credential().unwrap().value("sid").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_refresh_that_changes_no_cookie_has_failed_when_the_old_ones_were_rejected() {
    let (api, mut sent) = by_hand();
    let (auth, mut calls) = by_hand();
    let session = Session::new(jar(&["sid=1; Path=/"]), refresh_by(auth));
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(api);
    let request = spawn(&client, get("/api"));
    sent.next().await.answer(StatusCode::UNAUTHORIZED, &[]);
    calls.next().await.answer(StatusCode::OK, &[]);
    let error = in_time(request).await.unwrap().unwrap_err();
    assert_eq!(error.downcast_ref::<Error>().unwrap().kind(), ErrorKind::RefreshFailed);
    assert!(matches!(session.state().phase(), Phase::Failed(_)));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_never_answers_is_ambiguous_when_the_time_is_over() {
    let (api, mut sent) = by_hand();
    let session = Session::new(jar(&["sid=1; Path=/"]), refresh_by(never()));
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(api);
    let request = spawn(&client, get("/api"));
    sent.next().await.answer(StatusCode::UNAUTHORIZED, &[]);
    let error = request.await.unwrap().unwrap_err();
    let cause = error.source().unwrap().downcast_ref::<RefreshError>().unwrap();
    assert_eq!(cause.kind(), RefreshErrorKind::Ambiguous);
    assert!(session.credential().is_some(), "the login goes on");
}

#[tokio::test]
async fn an_unsent_refresh_is_transient_and_an_unanswered_one_is_ambiguous() {
    use RefreshErrorKind::{Ambiguous, Transient};
    for (error, kind) in [
        (BoxError::from(io::Error::from(io::ErrorKind::ConnectionRefused)), Transient),
        (io::Error::other(io::Error::from(io::ErrorKind::HostUnreachable)).into(), Transient),
        (io::Error::from(io::ErrorKind::ConnectionReset).into(), Ambiguous),
        ("broken".into(), Ambiguous),
    ] {
        let (auth, mut calls) = by_hand();
        let refresh = spawn_refresh(refresh_by(auth));
        calls.next().await.answer_with(Err(error));
        assert_eq!(in_time(refresh).await.unwrap().unwrap_err().kind(), kind);
    }
    let (auth, mut calls) = by_hand();
    let refresh = spawn_refresh(refresh_by(auth).unsent_if(|error| error.to_string() == "no name"));
    calls.next().await.answer_with(Err("no name".into()));
    assert_eq!(in_time(refresh).await.unwrap().unwrap_err().kind(), Transient);

    let endpoint = RefreshEndpoint::new(NeverReady, "/auth/refresh").unwrap();
    assert_eq!(in_time(spawn_refresh(endpoint)).await.unwrap().unwrap_err().kind(), Transient);
}

#[tokio::test]
async fn the_body_of_an_answer_is_not_waited_for() {
    let endless = tower::service_fn(|_: Request<RequestBody>| async {
        let body =
            StreamBody::new(tokio_stream::pending::<Result<http_body::Frame<Bytes>, Infallible>>());
        Ok::<_, Infallible>(
            Response::builder().header(SET_COOKIE, "sid=2; Path=/").body(body).unwrap(),
        )
    });
    let endpoint = RefreshEndpoint::new(endless, "/auth/refresh").unwrap();
    let renewed = in_time(spawn_refresh(endpoint)).await.unwrap().unwrap();
    assert_eq!(renewed.value("sid").as_deref(), Some("2"));

    let huge = tower::service_fn(|_: Request<RequestBody>| async {
        let frame = || Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(&[0; 1024])));
        let body = StreamBody::new(tokio_stream::iter(std::iter::repeat_with(frame)));
        Ok::<_, Infallible>(
            Response::builder().header(SET_COOKIE, "sid=3; Path=/").body(body).unwrap(),
        )
    });
    let endpoint = RefreshEndpoint::new(huge, "/auth/refresh").unwrap();
    let renewed = in_time(spawn_refresh(endpoint)).await.unwrap().unwrap();
    assert_eq!(renewed.value("sid").as_deref(), Some("3"));
}

#[tokio::test]
async fn a_refresh_is_a_post_to_the_upstream_with_the_configured_headers() {
    let (auth, mut calls) = by_hand();
    let endpoint = RefreshEndpoint::new(auth, "/auth/refresh?client=web")
        .unwrap()
        .header(http::header::REFERER, HeaderValue::from_static("https://app.example.com/"))
        .body(HeaderValue::from_static("application/json"), "{}");
    assert_eq!(format!("{endpoint:?}"), r#"RefreshEndpoint { path: "/auth/refresh", .. }"#);
    let refresh = spawn_refresh(endpoint);
    let call = calls.next().await;
    assert_eq!(call.head.method, Method::POST);
    assert_eq!(call.head.uri, "https://app.example.com/auth/refresh?client=web");
    assert_eq!(call.head.headers["referer"], "https://app.example.com/");
    assert_eq!(call.head.headers["content-type"], "application/json");
    assert!(call.head.extensions.get::<tower_refresh::extension::Anonymous>().is_some());
    call.answer(StatusCode::OK, &["sid=2"]);
    in_time(refresh).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_endpoint_may_have_a_csrf_check_of_its_own() {
    let (auth, mut calls) = by_hand();
    let jar = jar(&["csrf=c; Path=/", "csrf_refresh=r; Path=/"]).with_csrf(Csrf::new("csrf", CSRF));
    let own = Csrf::new("csrf_refresh", CSRF);
    let logout = LogoutEndpoint::new(auth.clone(), "/auth/logout").unwrap();
    let session = builder(refresh_by(auth).csrf(own.clone()))
        .on_login_end(logout.csrf(own).into_hook())
        .credential(jar)
        .build();
    let refresh = tokio::spawn(session.refresh());
    let call = calls.next().await;
    assert_eq!(call.head.headers[CSRF], "r");
    call.answer(StatusCode::OK, &["csrf_refresh=r2; Path=/"]);
    in_time(refresh).await.unwrap().unwrap();
    let logout = session.logout();
    let call = calls.next().await;
    assert_eq!(call.head.headers[CSRF], "r2");
    call.answer(StatusCode::OK, &[]);
    in_time(logout).await;
}

#[tokio::test]
async fn cookies_do_not_travel_in_cleartext_unless_allowed() {
    let (auth, mut calls) = by_hand();
    let jar = || Jar::new("http://app.example.com").unwrap().with_cookie("sid=1").unwrap();
    let context = move || RefreshContext::new(Cause::Forced).with_current(Arc::new(jar()));
    let endpoint = refresh_by(auth.clone());
    let error = in_time(endpoint.refresh(context())).await.unwrap_err();
    assert_eq!(error.kind(), RefreshErrorKind::Transient);
    assert_eq!(
        error.source().unwrap().downcast_ref::<Error>().unwrap().kind(),
        ErrorKind::Cleartext
    );

    let logout = LogoutEndpoint::new(auth, "/auth/logout").unwrap();
    let session =
        builder(refresh_by(never())).on_login_end(logout.into_hook()).credential(jar()).build();
    in_time(session.logout()).await;
    assert!(calls.0.try_recv().is_err(), "nothing was sent");

    let allowed =
        tokio::spawn(async move { endpoint.allow_cleartext(true).refresh(context()).await });
    calls.next().await.answer(StatusCode::OK, &["sid=2"]);
    in_time(allowed).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_page_does_not_end_the_login() {
    use RefreshErrorKind::{Terminal, Transient};
    let page = "\n<!DOCTYPE html><title>Request blocked</title>";
    for (content_type, body, kind) in [
        ("", "", Terminal),
        ("application/json", r#"{"error":"session expired"}"#, Terminal),
        ("text/plain", "session expired", Terminal),
        ("text/html; charset=utf-8", "", Transient),
        ("application/xhtml+xml", "session expired", Transient),
        ("", page, Transient),
        ("application/json", page, Transient),
    ] {
        for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
            let (auth, mut calls) = by_hand();
            let refresh = spawn_refresh(refresh_by(auth));
            let mut answer = with_cookies(status, &[]).map(|_| Full::from(body));
            if !content_type.is_empty() {
                answer.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
            }
            calls.next().await.answer_with(Ok(answer));
            let error = in_time(refresh).await.unwrap().unwrap_err();
            assert_eq!(error.kind(), kind, "{status} {content_type:?} {body:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_start_of_a_refusal_is_waited_for_and_its_end_is_not() {
    for (start, kind) in [
        ("<html>", RefreshErrorKind::Transient),
        ("{}", RefreshErrorKind::Terminal),
        ("  ", RefreshErrorKind::Terminal),
    ] {
        let http = tower::service_fn(move |_: Request<RequestBody>| async move {
            let start =
                tokio_stream::once(Ok::<_, Infallible>(http_body::Frame::data(Bytes::from(start))));
            let body =
                StreamBody::new(tokio_stream::StreamExt::chain(start, tokio_stream::pending()));
            Ok::<_, Infallible>(Response::builder().status(403).body(body).unwrap())
        });
        let endpoint = RefreshEndpoint::new(http, "/auth/refresh").unwrap();
        let error = in_time(spawn_refresh(endpoint)).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), kind, "{start}");
    }
}

#[tokio::test]
async fn a_success_that_only_deletes_cookies_is_ambiguous() {
    for deletion in
        ["sid=; Path=/; Max-Age=0", "sid=; Path=/; Expires=Sun, 06 Nov 1994 08:49:37 UTC"]
    {
        let (auth, mut calls) = by_hand();
        let refresh = spawn_refresh(refresh_by(auth));
        calls.next().await.answer(StatusCode::OK, &[deletion]);
        let error = in_time(refresh).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), RefreshErrorKind::Ambiguous);
        assert!(!shown(&error).contains("no answer"), "{}", shown(&error));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_made_in_time_is_transient() {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeping = kept.clone();
    let connecting = tower::service_fn(move |request: Request<RequestBody>| {
        keeping.lock().unwrap().push(request);
        pending::<Result<Answer, BoxError>>()
    });
    let endpoint = RefreshEndpoint::new(connecting, "/auth/refresh").unwrap();
    for (endpoint, seconds) in
        [(endpoint.clone(), 10), (endpoint.connect_timeout(Duration::from_secs(3)), 3)]
    {
        let start = tokio::time::Instant::now();
        let error = spawn_refresh(endpoint).await.unwrap().unwrap_err();
        assert_eq!(start.elapsed().as_secs(), seconds);
        assert_eq!(error.kind(), RefreshErrorKind::Transient);
        let request = kept.lock().unwrap().pop().unwrap();
        assert!(request.into_body().collect().await.is_err(), "the request is not sent later");
    }
}

#[tokio::test]
async fn a_proxys_callers_do_not_get_the_cookies_of_the_session() {
    let app = App::shared();
    let session = app.session(app.log_in().await);
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(app.in_memory());
    let bare = client.clone().oneshot(post("/api/orders")).await.unwrap();
    assert!(bare.headers().contains_key(SET_COOKIE));
    let csrf = session.credential().unwrap().value("csrf");
    let proxy = StripSetCookieLayer::new().layer(client);
    let stripped = in_time(proxy.oneshot(post("/api/orders"))).await.unwrap();
    assert!(!stripped.headers().contains_key(SET_COOKIE));
    assert_ne!(session.credential().unwrap().value("csrf"), csrf, "the jar has taken the cookie");
}

#[tokio::test]
async fn without_a_jar_there_is_nothing_to_refresh() {
    let session = builder(refresh_by(never())).build();
    let error = in_time(session.acquire()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LoggedOut);
}

#[tokio::test(start_paused = true)]
async fn a_logout_endpoint_that_never_answers_is_given_up_and_the_jar_closed() {
    let logout = LogoutEndpoint::new(never(), "/auth/logout").unwrap();
    let logout = logout.timeout(Duration::from_secs(3));
    let session = builder(refresh_by(never()))
        .on_login_end(logout.into_hook())
        .credential(jar(&["sid=1"]))
        .build();
    let last = session.credential().unwrap();
    let start = tokio::time::Instant::now();
    session.logout().await;
    assert_eq!(start.elapsed().as_secs(), 3);
    assert!(last.is_empty());
}

// === over real connections ===

#[tokio::test]
async fn fifty_rejected_requests_cost_one_refresh_and_each_is_answered() {
    let app = Arc::new(App { rejected_together: Some(Barrier::new(50)), ..App::default() });
    let base = app.serve().await;
    let session = app.session_at(app.log_in_over_http(&base).await, http_client());
    let client = RefreshLayer::new(session.clone(), session.credential().unwrap().origin())
        .layer(http_client::<ReplayBody<Full<Bytes>>>());
    app.expire();

    let mut requests = JoinSet::new();
    for n in 0..50 {
        let request =
            Request::get(format!("{base}/api/{n}")).body(Full::<Bytes>::default()).unwrap();
        requests.spawn(client.clone().oneshot(request));
    }
    while let Some(answer) = in_time(requests.join_next()).await {
        let answer = answer.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "access-2");
    }
    assert_eq!(app.count("POST /auth/refresh"), 1);

    in_time(session.logout()).await;
    assert_eq!(app.count("POST /auth/logout"), 1);
    assert!(app.sessions.lock().unwrap().refresh.is_none());
}

#[tokio::test]
async fn a_name_that_is_not_resolved_is_transient() {
    let jar = Jar::new("https://no-such-host.invalid").unwrap().with_cookie("sid=1").unwrap();
    let endpoint = RefreshEndpoint::new(http_client(), "/auth/refresh").unwrap();
    // `https` over a connector without TLS fails before the connection, too.
    let context = || RefreshContext::new(Cause::Forced);
    let error = in_time(endpoint.refresh(context().with_current(Arc::new(jar)))).await.unwrap_err();
    assert_eq!(error.kind(), RefreshErrorKind::Transient);

    let jar = Jar::new("http://no-such-host.invalid").unwrap().with_cookie("sid=1").unwrap();
    let endpoint = endpoint.allow_cleartext(true);
    let error = in_time(endpoint.refresh(context().with_current(Arc::new(jar)))).await.unwrap_err();
    assert_eq!(error.kind(), RefreshErrorKind::Transient);
}

#[tokio::test]
async fn a_refused_connection_is_transient() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let jar = Jar::new(&base).unwrap().with_cookie("sid=1").unwrap();
    let endpoint = RefreshEndpoint::new(http_client(), "/auth/refresh").unwrap();
    let context = RefreshContext::new(Cause::Forced).with_current(Arc::new(jar));
    let error = in_time(endpoint.refresh(context)).await.unwrap_err();
    assert_eq!(error.kind(), RefreshErrorKind::Transient);
}

// === helpers ===

/// A service that fails before it is given a request.
#[derive(Clone)]
struct NeverReady;

impl Service<Request<RequestBody>> for NeverReady {
    type Response = Answer;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Answer, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Err("closed".into()))
    }

    fn call(&mut self, _: Request<RequestBody>) -> Self::Future {
        unreachable!("it is never ready")
    }
}

impl<B> Service<Request<B>> for InMemory {
    type Response = Answer;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Answer, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        (self.0)(request.into_parts().0)
    }
}

impl App {
    fn shared() -> Arc<Self> {
        Arc::default()
    }

    fn in_memory(self: &Arc<Self>) -> InMemory {
        let app = self.clone();
        InMemory(Arc::new(move |head| {
            let app = app.clone();
            Box::pin(async move { Ok(app.answer(&head).await) })
        }))
    }

    /// On loopback, until the test ends.
    async fn serve(self: &Arc<Self>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let app = self.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let app = app.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let app = app.clone();
                    async move { Ok::<_, Infallible>(app.answer(&request.into_parts().0).await) }
                });
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(async move {
                    server.serve_connection(TokioIo::new(stream), service).await
                });
            }
        });
        base
    }

    fn session(self: &Arc<Self>, jar: Jar) -> Session<Jar> {
        self.session_at(jar, self.in_memory())
    }

    fn session_at<S, ResBody>(&self, jar: Jar, service: S) -> Session<Jar>
    where
        S: Service<Request<RequestBody>, Response = Response<ResBody>>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        ResBody: http_body::Body + Send + 'static,
        ResBody::Error: Into<BoxError>,
    {
        let refresh = RefreshEndpoint::new(service.clone(), "/auth/refresh").unwrap();
        let logout = LogoutEndpoint::new(service, "/auth/logout").unwrap();
        builder(refresh).on_login_end(logout.into_hook()).credential(jar).build()
    }

    fn log_in_answer(&self) -> HeaderMap {
        self.issue(true).headers().clone()
    }

    async fn log_in(&self) -> Jar {
        let jar = Jar::new(BASE).unwrap().with_csrf(Csrf::new("csrf", CSRF));
        jar.store(&self.log_in_answer());
        jar
    }

    async fn log_in_over_http(&self, base: &str) -> Jar {
        let request =
            Request::post(format!("{base}/auth/login")).body(Full::<Bytes>::default()).unwrap();
        let answer = in_time(http_client().request(request)).await.unwrap();
        let jar = Jar::new(base).unwrap().with_csrf(Csrf::new("csrf", CSRF));
        jar.store(answer.headers());
        jar
    }

    /// Invalidates the access cookie.
    fn expire(&self) {
        self.sessions.lock().unwrap().access = None;
    }

    fn revoke(&self) {
        *self.sessions.lock().unwrap() = Sessions::default();
    }

    fn count(&self, line: &str) -> usize {
        self.sessions.lock().unwrap().log.iter().filter(|(logged, _)| logged == line).count()
    }

    /// The cookies of the last request with this line.
    fn cookies_of(&self, line: &str) -> HashMap<String, String> {
        let sessions = self.sessions.lock().unwrap();
        sessions.log.iter().rfind(|(logged, _)| logged == line).expect(line).1.clone()
    }

    async fn answer(&self, head: &Parts) -> Answer {
        let cookies = cookies(&head.headers);
        let line = format!("{} {}", head.method, head.uri.path());
        let answer = self.decide(&line, head, &cookies);
        if let Some(barrier) = &self.rejected_together
            && answer.status() == StatusCode::UNAUTHORIZED
        {
            barrier.wait().await;
        }
        answer
    }

    fn decide(&self, line: &str, head: &Parts, cookies: &HashMap<String, String>) -> Answer {
        let holds = {
            let mut sessions = self.sessions.lock().unwrap();
            sessions.log.push((line.to_owned(), cookies.clone()));
            |name: &str, good: &Option<String>| good.is_some() && cookies.get(name) == good.as_ref()
        };
        let (access, refresh, csrf) = {
            let sessions = self.sessions.lock().unwrap();
            let sent = head.headers.get(CSRF).map(|value| value.to_str().unwrap().to_owned());
            let csrf =
                sessions.csrf.is_some() && sent == sessions.csrf && holds("csrf", &sessions.csrf);
            (holds("access", &sessions.access), holds("refresh", &sessions.refresh), csrf)
        };
        match line {
            "POST /auth/login" => self.issue(true),
            "POST /auth/refresh" | "POST /auth/logout" if !refresh => {
                with_cookies(StatusCode::UNAUTHORIZED, &[])
            }
            _ if line.starts_with("POST /auth") && !csrf => {
                with_cookies(StatusCode::FORBIDDEN, &[])
            }
            "POST /auth/refresh" => self.issue(false),
            "POST /auth/logout" => {
                let mut sessions = self.sessions.lock().unwrap();
                (sessions.access, sessions.refresh) = (None, None);
                with_cookies(StatusCode::NO_CONTENT, &["refresh=; Path=/auth; Max-Age=0"])
            }
            _ if !access => with_cookies(StatusCode::UNAUTHORIZED, &["access=; Path=/; Max-Age=0"]),
            "POST /api/orders" if !csrf => with_cookies(StatusCode::FORBIDDEN, &[]),
            "POST /api/orders" => {
                let csrf = self.roll_csrf();
                with_cookies(StatusCode::OK, &[&format!("csrf={csrf}; Path=/")])
            }
            _ => with_cookies(StatusCode::OK, &[]).map(|_| Full::from(cookies["access"].clone())),
        }
    }

    fn issue(&self, is_login: bool) -> Answer {
        let csrf = is_login.then(|| self.roll_csrf());
        let mut sessions = self.sessions.lock().unwrap();
        sessions.issued += 1;
        let n = sessions.issued;
        sessions.access = Some(format!("access-{n}"));
        sessions.refresh = Some(format!("refresh-{n}"));
        let access =
            format!("access=access-{n}; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=300");
        let refresh = format!("refresh=refresh-{n}; Path=/auth; HttpOnly; Secure; SameSite=Strict");
        let csrf = csrf.map(|csrf| format!("csrf={csrf}; Path=/"));
        let set: Vec<_> = [Some(access), Some(refresh), csrf].into_iter().flatten().collect();
        with_cookies(StatusCode::OK, &set.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn roll_csrf(&self) -> String {
        let mut sessions = self.sessions.lock().unwrap();
        let rolled = format!("{}+", sessions.csrf.as_deref().unwrap_or("csrf"));
        sessions.csrf.insert(rolled).clone()
    }
}

impl ByHand {
    async fn next(&mut self) -> InHand {
        in_time(self.0.recv()).await.expect("the service is still there")
    }
}

impl InHand {
    fn answer(self, status: StatusCode, set_cookies: &[&str]) {
        self.answer_with(Ok(with_cookies(status, set_cookies)));
    }

    fn answer_with(self, answer: Result<Answer, BoxError>) {
        assert!(self.answer.send(answer).is_ok(), "the request is still waited for");
    }
}

fn by_hand() -> (InMemory, ByHand) {
    let (sent, received) = mpsc::unbounded_channel();
    let service = InMemory(Arc::new(move |head| {
        let (answer, answered) = oneshot::channel();
        assert!(sent.send(InHand { head, answer }).is_ok(), "the test is still there");
        Box::pin(async move { answered.await.expect("the test answers") })
    }));
    (service, ByHand(received))
}

fn never() -> InMemory {
    InMemory(Arc::new(|_| Box::pin(pending())))
}

fn refresh_by(service: InMemory) -> RefreshEndpoint {
    RefreshEndpoint::new(service, "/auth/refresh").unwrap()
}

fn builder(refresher: RefreshEndpoint) -> SessionBuilder<Jar> {
    Session::builder(refresher)
}

fn jar(cookies: &[&str]) -> Jar {
    cookies.iter().fold(Jar::new(BASE).unwrap(), |jar, cookie| jar.with_cookie(cookie).unwrap())
}

/// Runs the refresher without a session.
fn spawn_refresh(endpoint: RefreshEndpoint) -> tokio::task::JoinHandle<Result<Jar, RefreshError>> {
    let context =
        RefreshContext::new(Cause::Forced).with_current(Arc::new(jar(&["sid=1; Path=/"])));
    tokio::spawn(async move { endpoint.refresh(context).await })
}

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).unwrap()
}

fn post(uri: &str) -> Request<Full<Bytes>> {
    Request::post(uri).body(Full::from("{}")).unwrap()
}

fn with_cookies(status: StatusCode, set_cookies: &[&str]) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    for cookie in set_cookies {
        answer.headers_mut().append(SET_COOKIE, HeaderValue::from_str(cookie).unwrap());
    }
    answer
}

fn cookies(headers: &HeaderMap) -> HashMap<String, String> {
    assert!(headers.get_all(COOKIE).iter().count() <= 1, "at most one header");
    let Some(header) = headers.get(COOKIE) else { return HashMap::new() };
    let pairs = header.to_str().unwrap().split("; ").map(|pair| pair.split_once('=').unwrap());
    let mut cookies = HashMap::new();
    for (name, value) in pairs {
        assert!(
            cookies.insert(name.to_owned(), value.to_owned()).is_none(),
            "{name} was sent twice"
        );
    }
    cookies
}

type Layered = tower_refresh::Refresh<InMemory, Jar>;

async fn call(client: &Layered, request: Request<Full<Bytes>>) -> Answer {
    in_time(client.clone().oneshot(request)).await.unwrap()
}

async fn refused(client: &Layered, request: Request<Full<Bytes>>) -> Error {
    let error = in_time(client.clone().oneshot(request)).await.unwrap_err();
    error.downcast_ref::<Error>().unwrap().clone()
}

fn spawn(
    client: &Layered,
    request: Request<Full<Bytes>>,
) -> tokio::task::JoinHandle<Result<Answer, BoxError>> {
    let mut client = client.clone();
    tokio::spawn(async move {
        poll_fn(|cx| Service::<Request<Full<Bytes>>>::poll_ready(&mut client, cx)).await?;
        client.call(request).await
    })
}

fn http_client<B>() -> Client<HttpConnector, B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    Client::builder(TokioExecutor::new()).build_http()
}

/// All texts that an error can be printed as.
fn shown(error: &(dyn std::error::Error + 'static)) -> String {
    let mut shown = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        shown += &format!("{error} {error:?}\n");
        next = error.source();
    }
    shown
}

/// A deadline for a test that would hang.
async fn in_time<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(60), future).await.expect("it hangs")
}
