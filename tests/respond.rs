//! The errors of a session as responses.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::{
    error, fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn, timeout::TimeoutLayer,
};
use tower_refresh::{
    Error, ErrorKind, Origins, RefreshContext, RefreshError, RefreshLayer, ReplayBody, Session,
    Token,
    head::RequestHead,
    refresher_fn,
    respond::{Answer, AnswerBody, HttpAnswer, RespondLayer, answer_fn},
};

const SECRETS: [&str; 2] = ["at-secret", "rt-secret"];

#[tokio::test]
async fn a_refused_refresh_is_a_401_with_a_challenge() {
    let session = failing(|| RefreshError::terminal("revoked"));
    let proxy = RespondLayer::default().layer(rejecting(&session));
    // The request that started the refresh, and a later one.
    for _ in 0..2 {
        let response = proxy.clone().oneshot(request()).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(response.extensions().get::<Error>().unwrap().kind(), ErrorKind::LoggedOut);
        let text = text(response).await;
        assert_eq!(text, "the login was ended by a refused refresh: the refresh was refused\n");
    }
}

#[tokio::test]
async fn a_transient_failure_is_a_503_with_retry_after() {
    for make in [|| RefreshError::transient("down"), || RefreshError::ambiguous("cut")] {
        let session = failing(make);
        let answer = HttpAnswer::new().retry_after(Duration::from_millis(1200)).causes(true);
        let proxy = RespondLayer::new(answer).layer(rejecting(&session));
        let response = proxy.oneshot(request()).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        let cause = error::Error::source(&make()).unwrap().to_string();
        assert!(text(response).await.trim_end().ends_with(&cause));
    }
}

#[tokio::test]
async fn no_answer_contains_a_secret() {
    for make in [|| RefreshError::terminal("revoked"), || RefreshError::transient("down")] {
        let session = failing(make);
        let proxy = RespondLayer::new(HttpAnswer::new().causes(true)).layer(rejecting(&session));
        let response = proxy.oneshot(request()).await.unwrap();
        let head = format!("{response:?}");
        let all = head + &text(response).await;
        assert!(SECRETS.iter().all(|secret| !all.contains(secret)), "{all}");
    }
}

#[tokio::test]
async fn the_challenge_of_a_401_can_be_set() {
    let session = failing(|| RefreshError::terminal("revoked"));
    session.logout().await;
    let answer =
        HttpAnswer::new().challenge(HeaderValue::from_static("Cookie realm=\"dashboard\""));
    let proxy = RespondLayer::new(answer).layer(rejecting(&session));
    let response = proxy.oneshot(request()).await.unwrap();
    assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Cookie realm=\"dashboard\"");
    assert_eq!(text(response).await, "not logged in\n");
}

#[tokio::test]
async fn errors_of_the_inner_service_pass_unchanged() {
    #[derive(Debug)]
    struct Unreachable;
    impl fmt::Display for Unreachable {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("unreachable")
        }
    }
    impl error::Error for Unreachable {}

    let session = failing(|| RefreshError::terminal("revoked"));
    let unreachable = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
        Err::<Response<Full<Bytes>>, _>(BoxError::from(Unreachable))
    });
    let proxy = ServiceBuilder::new()
        .layer(RespondLayer::default())
        .layer(RefreshLayer::new(session.clone(), Origins::any()))
        .service(unreachable);
    assert!(proxy.oneshot(request()).await.unwrap_err().is::<Unreachable>());

    /// Never ready.
    #[derive(Clone)]
    struct Broken;
    impl<R> Service<R> for Broken {
        type Response = Response<Full<Bytes>>;
        type Error = Unreachable;
        type Future = std::future::Pending<Result<Response<Full<Bytes>>, Unreachable>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Unreachable>> {
            Poll::Ready(Err(Unreachable))
        }
        fn call(&mut self, _: R) -> Self::Future {
            std::future::pending()
        }
    }
    let proxy = RespondLayer::default().layer(Broken);
    assert!(proxy.oneshot(request()).await.unwrap_err().is::<Unreachable>());
}

#[tokio::test(start_paused = true)]
async fn a_time_out_is_not_answered() {
    let hanging =
        refresher_fn(|_: RefreshContext| std::future::pending::<Result<Token, RefreshError>>());
    let session = Session::new(Token::bearer("at-secret").unwrap(), hanging);
    let proxy = ServiceBuilder::new()
        .layer(RespondLayer::default())
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .service(rejecting(&session));
    let error = proxy.oneshot(request()).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>());
    assert_eq!(session.waiters(), 0);
}

#[tokio::test]
async fn responses_pass_unchanged() {
    let session = failing(|| RefreshError::terminal("revoked"));
    let teapot = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
        let response = Response::builder().status(418).header("x-a", "1");
        Ok::<_, BoxError>(response.body(Full::new(Bytes::from_static(b"short and stout"))).unwrap())
    });
    let proxy =
        RespondLayer::default().layer(RefreshLayer::new(session, Origins::any()).layer(teapot));
    let response = proxy.oneshot(request()).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-a"]),
        (418, &"1".parse().unwrap())
    );
    assert_eq!(response.body().size_hint().exact(), Some(15));
    assert!(!response.body().is_end_stream());
    assert_eq!(text(response).await, "short and stout");
}

#[tokio::test]
async fn a_custom_answer_becomes_the_response() {
    struct Empty;
    impl Answer for Empty {
        fn answer(&self, _: &Error, _: &RequestHead<'_>) -> Response<Bytes> {
            Response::builder().status(499).body(Bytes::new()).unwrap()
        }
    }
    let session = failing(|| RefreshError::terminal("revoked"));
    let proxy = RespondLayer::new(Empty).layer(rejecting(&session));
    let response = proxy.oneshot(request()).await.unwrap();
    assert_eq!(response.status().as_u16(), 499);
    assert!(response.body().is_end_stream());
    assert_eq!(response.body().size_hint().exact(), Some(0));
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn an_answer_sees_the_request_also_behind_a_pointer_and_in_a_closure() {
    #[derive(Clone, Debug, PartialEq)]
    struct Marker;

    struct Echo;
    impl Answer for Echo {
        fn answer(&self, error: &Error, request: &RequestHead<'_>) -> Response<Bytes> {
            assert_eq!(request.extensions().get::<Marker>(), Some(&Marker));
            let text = format!("{} {} {:?}", request.method(), request.uri(), error.kind());
            Response::new(text.into())
        }
    }
    let session = failing(|| RefreshError::terminal("revoked"));
    let request = || {
        let request = Request::put("https://api.example.com:8443/a?b").extension(Marker);
        request.body(Full::default()).unwrap()
    };
    let expected = "PUT https://api.example.com:8443/a?b LoggedOut";
    let boxed: Box<dyn Answer> = Box::new(Echo);
    let shared: Arc<dyn Answer> = Arc::new(Echo);
    let plain = RespondLayer::new(Echo).layer(rejecting(&session)).oneshot(request()).await;
    let boxed = RespondLayer::new(boxed).layer(rejecting(&session)).oneshot(request()).await;
    let shared = RespondLayer::new(shared).layer(rejecting(&session)).oneshot(request()).await;
    let closure = answer_fn(|error, request| Echo.answer(error, request));
    let closure = RespondLayer::new(closure).layer(rejecting(&session)).oneshot(request()).await;
    for response in [plain, boxed, shared, closure] {
        assert_eq!(text(response.unwrap()).await, expected);
    }
}

// === helpers ===

fn failing(make: fn() -> RefreshError) -> Session {
    let refresher = refresher_fn(move |_: RefreshContext| async move { Err(make()) });
    Session::new(Token::bearer("at-secret").unwrap().with_refresh_token("rt-secret"), refresher)
}

/// A client whose upstream rejects every token.
fn rejecting(
    session: &Session,
) -> impl Service<Request<Full<Bytes>>, Response = Response<Full<Bytes>>, Error = BoxError, Future: Send>
+ Clone
+ use<> {
    RefreshLayer::new(session.clone(), Origins::any()).layer(service_fn(
        |_: Request<ReplayBody<Full<Bytes>>>| async {
            let mut response = Response::new(Full::new(Bytes::from_static(b"no")));
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            Ok::<_, BoxError>(response)
        },
    ))
}

fn request() -> Request<Full<Bytes>> {
    Request::get("/").body(Full::default()).unwrap()
}

async fn text(response: Response<AnswerBody<Full<Bytes>>>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}
