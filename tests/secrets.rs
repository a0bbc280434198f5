//! Guarantee 12: no secret appears in `Debug`, `Display`, errors or panics.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod support;

use std::{
    error, fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use support::{stack::in_time, *};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_refresh::{
    Credential, FailureMode, Origin, Origins, RefreshContext, RefreshError, RefreshLayer,
    ReplayBody, Session, Token,
    detect::{Detect, Unauthorized, detect_fn},
    extension::{Anonymous, NoReplay, Stamp},
    refresher::{Cause, Rejection},
    refresher_fn,
};

const SECRET: &str = "s3cr3t";

/// Checks that a text does not contain the secret, neither as text nor as a list of bytes.
#[track_caller]
fn assert_clean(text: &str) {
    assert!(!text.contains(SECRET), "{text}");
    let bytes = format!("{:?}", SECRET.as_bytes());
    assert!(!text.contains(bytes.trim_matches(['[', ']'])), "{text}");
}

#[track_caller]
fn assert_debug_is_clean(value: &dyn fmt::Debug) {
    assert_clean(&format!("{value:?}"));
    assert_clean(&format!("{value:#?}"));
}

/// Checks an error and all its sources.
#[track_caller]
fn assert_error_is_clean(error: &(dyn error::Error + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        assert_debug_is_clean(&error);
        assert_clean(&format!("{error} {error:#}"));
        next = error.source();
    }
}

fn secret() -> Token {
    token(SECRET).with_refresh_token(format!("refresh-{SECRET}"))
}

/// A credential whose `Debug` shows the secret.
#[derive(Clone, Debug)]
struct DerivedDebug(&'static str);

impl Credential for DerivedDebug {
    fn apply(&self, request: &mut Parts) {
        request.headers.insert(header::COOKIE, HeaderValue::from_static(self.0));
    }

    fn expires_at(&self, _: SystemTime) -> Option<SystemTime> {
        Some(SystemTime::now() + Duration::from_secs(60))
    }
}

/// Checks every `Debug` that a session gives access to.
fn assert_session_is_clean<C: Credential>(session: &Session<C>) {
    assert_debug_is_clean(session);
    assert_debug_is_clean(&session.downgrade());
    assert_debug_is_clean(&session.subscribe());
    let state = session.state();
    assert_debug_is_clean(&state);
    assert_debug_is_clean(state.phase());
    assert_debug_is_clean(&state.login());
    assert_debug_is_clean(&state.generation());
}

#[test]
fn g12_a_token_shows_no_secret() {
    assert_debug_is_clean(&secret());
    assert_debug_is_clean(&secret().with_expires_in(Duration::from_secs(60)));
    assert!(format!("{:?}", secret()).starts_with("Token"));
    for bad in [
        format!("{SECRET}\n"),
        format!("\r{SECRET}"),
        format!("{SECRET} {SECRET}"),
        format!("é{SECRET}"),
    ] {
        let error = Token::bearer(bad).unwrap_err();
        assert_error_is_clean(&error);
        assert_error_is_clean(&RefreshError::from(error));
    }

    let (mut request, ()) = Request::new(()).into_parts();
    secret().apply(&mut request);
    assert!(request.headers[header::AUTHORIZATION].is_sensitive());
    assert_debug_is_clean(&request);
}

#[test]
fn g12_errors_of_origins_show_no_part_of_the_input() {
    for text in [
        format!("https://user:{SECRET}@api.example.com"),
        format!("https://{SECRET}@api.example.com"),
        format!("https://api.example.com/{SECRET}"),
        format!("https://api.example.com?token={SECRET}"),
        format!("https://api.example.com#{SECRET}"),
        format!("https://api.example.com:{SECRET}"),
        format!("https:{SECRET}"),
        format!("{SECRET}://api.example.com"),
        format!("{SECRET}.*"),
    ] {
        assert_error_is_clean(&Origin::try_from(&*text).unwrap_err());
    }
}

#[tokio::test(start_paused = true)]
async fn g12_a_session_shows_no_credential_in_any_phase() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::builder(refresher).credential(secret());
    assert_debug_is_clean(&session);
    let session = session.build();
    assert_session_is_clean(&session);
    let watcher = session.subscribe();

    let refresh = tokio::spawn(session.refresh());
    let flight = in_time(flights.next()).await;
    assert_session_is_clean(&session);
    assert_debug_is_clean(&flight.context);
    flight.answer(Err(RefreshError::transient("busy")));
    assert_error_is_clean(&refresh.await.unwrap().unwrap_err());
    assert_session_is_clean(&session);

    after_back_off().await;
    let refresh = tokio::spawn(session.refresh());
    let flight = in_time(flights.next()).await;
    assert_debug_is_clean(&flight.context);
    flight.answer(Ok(secret()));
    assert_debug_is_clean(&refresh.await.unwrap());
    assert_session_is_clean(&session);

    let refused = session.replace(session.login(secret()), secret());
    assert!(refused.is_ok());
    let over = session.state().login();
    let logout = session.logout();
    assert_debug_is_clean(&logout);
    logout.await;
    assert_session_is_clean(&session);
    assert_debug_is_clean(&session.replace(over, secret()));
    assert_error_is_clean(&session.refresh().await.unwrap_err());
    drop(session);
    assert_debug_is_clean(&watcher);
}

#[tokio::test]
async fn g12_a_session_shows_nothing_of_a_credential_whose_debug_is_derived() {
    let never = || {
        refresher_fn(|_: RefreshContext<DerivedDebug>| async {
            Err(RefreshError::terminal("never"))
        })
    };
    let ended = Arc::<Mutex<Vec<String>>>::default();
    let log = ended.clone();
    let builder =
        Session::builder(never()).credential(DerivedDebug(SECRET)).on_login_end(move |end| {
            log.lock().unwrap().push(format!("{end:?} {end:#?}"));
            async {}
        });
    assert_debug_is_clean(&builder);
    let session = builder.build();
    assert_session_is_clean(&session);
    let context = RefreshContext::new(Cause::Rejected).with_current(Arc::new(DerivedDebug(SECRET)));
    assert_debug_is_clean(&context);

    let inner = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
        Ok::<_, BoxError>(response(StatusCode::UNAUTHORIZED))
    });
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);
    let error = client.clone().oneshot(get("/")).await.unwrap_err();
    assert_error_is_clean(&*error);
    assert_session_is_clean(&session);
    settle_tasks().await;
    let ended = ended.lock().unwrap();
    assert_eq!(ended.len(), 1);
    assert_clean(&ended[0]);
}

#[tokio::test]
async fn g12_layers_services_and_futures_show_no_credential() {
    #[derive(Clone, Debug)]
    struct Inner;

    impl Service<Request<ReplayBody<Full<Bytes>>>> for Inner {
        type Response = Response<Full<Bytes>>;
        type Error = BoxError;
        type Future = std::future::Pending<Result<Response<Full<Bytes>>, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<ReplayBody<Full<Bytes>>>) -> Self::Future {
            // A layer below would log this request. `Debug` of a body shows no data.
            assert_debug_is_clean(&request);
            assert_eq!(bearer(&request), Some(SECRET));
            assert!(request.extensions().get::<Stamp>().is_some());
            assert_debug_is_clean(request.extensions().get::<Stamp>().unwrap());
            std::future::pending()
        }
    }

    let (refresher, _flights) = manual_refresher();
    let layer =
        RefreshLayer::new(Session::new(secret(), refresher), Origins::any()).expose_stamp(true);
    assert_debug_is_clean(&layer);
    let mut service = layer.layer(Inner);
    assert_debug_is_clean(&service);
    ready(&mut service).await;
    let mut future = Box::pin(service.call(post("/", format!("password={SECRET}"))));
    assert_debug_is_clean(&future);
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_debug_is_clean(&future);
    assert_debug_is_clean(&service);
}

async fn ready<S: Service<Request<Full<Bytes>>, Error = BoxError>>(service: &mut S) {
    service.ready().await.expect("the service has no error");
}

#[test]
fn g12_a_rejection_shows_only_the_names_of_its_headers() {
    let mut headers = HeaderMap::new();
    headers.insert(header::SET_COOKIE, HeaderValue::from_static("sid=s3cr3t"));
    headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("DPoP nonce=s3cr3t"));
    let rejection = Rejection::new(StatusCode::UNAUTHORIZED, headers);
    assert_debug_is_clean(&rejection);
    assert!(format!("{rejection:?}").contains("set-cookie"));
    assert_debug_is_clean(&RefreshContext::<Token>::new(Cause::Rejected).with_rejection(rejection));
}

#[test]
fn g12_types_with_closures_show_no_captured_value() {
    #[derive(Debug)]
    struct Captured(#[expect(dead_code, reason = "only its Debug is used")] &'static str);

    let captured = Arc::new(Captured(SECRET));
    let refresher = refresher_fn({
        let captured = captured.clone();
        move |_: RefreshContext| {
            drop(captured.clone());
            async { Err(RefreshError::transient("never")) }
        }
    });
    assert_debug_is_clean(&refresher);
    let detect = detect_fn(move |_| Arc::strong_count(&captured) > 9);
    assert_debug_is_clean(&detect);
    assert_debug_is_clean(&Unauthorized);
    assert_debug_is_clean(
        &Unauthorized
            .inspect(&tower_refresh::head::ResponseHead::new(StatusCode::OK, &HeaderMap::new())),
    );
    assert_debug_is_clean(&(Anonymous, NoReplay, FailureMode::Response));
    assert_debug_is_clean(&Session::builder(refresher).credential(secret()));
}

#[tokio::test]
async fn g12_the_panic_message_of_a_refresher_is_not_in_the_error() {
    let refresher = refresher_fn(|context: RefreshContext| async move {
        let token = context.current().unwrap().access_token().to_owned();
        if !token.is_empty() {
            panic!("could not refresh {token}");
        }
        Ok(secret())
    });
    let session = Session::new(secret(), refresher);
    let inner = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
        Ok::<_, BoxError>(response(StatusCode::UNAUTHORIZED))
    });
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);
    let error = in_time(client.oneshot(get("/"))).await.unwrap_err();
    assert_error_is_clean(&*error);
    assert_session_is_clean(&session);
}

#[tokio::test]
async fn g12_panics_of_the_crate_show_no_credential() {
    let inner = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
        Ok::<_, BoxError>(response(StatusCode::OK))
    });
    let (refresher, _flights) = manual_refresher();
    let session = Session::new(secret(), refresher);
    let mut client = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);
    // A response future panics when it is polled after its end. Its request has a secret in each
    // part.
    ready(&mut client).await;
    let done = client.call(post("/?s3cr3t", SECRET));
    let cleartext = client.call(post("http://example.com/?s3cr3t", SECRET));
    drop(session.logout());
    let ended = client.call(post("/?s3cr3t", SECRET));
    for future in [done, cleartext, ended] {
        let mut future = Box::pin(future);
        let _ = in_time(future.as_mut()).await;
        let mut cx = Context::from_waker(Waker::noop());
        let panic = catch_unwind(AssertUnwindSafe(|| drop(future.as_mut().poll(&mut cx))));
        if let Err(panic) = panic {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            assert_clean(&text.expect("a panic message"));
        }
    }
}
