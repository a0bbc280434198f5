//! Guarantee 12: nothing secret is in `Debug`, `Display`, errors or panics.

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

/// That a text, however it is written, has no part of the secret in it.
#[track_caller]
fn assert_clean(text: &str) {
    assert!(!text.contains(SECRET), "{text}");
    // The bytes of it, one by one.
    let bytes = format!("{:?}", SECRET.as_bytes());
    assert!(!text.contains(bytes.trim_matches(['[', ']'])), "{text}");
}

#[track_caller]
fn debug_is_clean(value: &dyn fmt::Debug) {
    assert_clean(&format!("{value:?}"));
    assert_clean(&format!("{value:#?}"));
}

/// An error and all its causes.
#[track_caller]
fn error_is_clean(error: &(dyn error::Error + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        debug_is_clean(&error);
        assert_clean(&format!("{error} {error:#}"));
        next = error.source();
    }
}

fn secret() -> Token {
    token(SECRET).with_refresh_token(format!("refresh-{SECRET}"))
}

/// A credential that its author was careless with.
#[derive(Clone, Debug)]
struct Careless(&'static str);

impl Credential for Careless {
    fn apply(&self, request: &mut Parts) {
        request.headers.insert(header::COOKIE, HeaderValue::from_static(self.0));
    }

    fn expires_at(&self, _: SystemTime) -> Option<SystemTime> {
        Some(SystemTime::now() + Duration::from_secs(60))
    }
}

/// What the test wants of a session with a secret in every place that one can be in.
fn everything_of<C: Credential>(session: &Session<C>) {
    debug_is_clean(session);
    debug_is_clean(&session.downgrade());
    debug_is_clean(&session.subscribe());
    let state = session.state();
    debug_is_clean(&state);
    debug_is_clean(state.phase());
    debug_is_clean(&state.login());
    debug_is_clean(&state.generation());
}

#[test]
fn g12_a_token_shows_nothing_of_itself() {
    debug_is_clean(&secret());
    debug_is_clean(&secret().with_expires_in(Duration::from_secs(60)));
    assert!(format!("{:?}", secret()).starts_with("Token"));
    for bad in [
        format!("{SECRET}\n"),
        format!("\r{SECRET}"),
        format!("{SECRET} {SECRET}"),
        format!("é{SECRET}"),
    ] {
        let error = Token::bearer(bad).unwrap_err();
        error_is_clean(&error);
        error_is_clean(&RefreshError::from(error));
    }

    let (mut request, ()) = Request::new(()).into_parts();
    secret().apply(&mut request);
    assert!(request.headers[header::AUTHORIZATION].is_sensitive());
    debug_is_clean(&request);
}

#[test]
fn g12_origins_show_no_password() {
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
        error_is_clean(&Origin::try_from(&*text).unwrap_err());
    }
}

#[tokio::test(start_paused = true)]
async fn g12_a_session_shows_no_credential_in_any_phase() {
    let (refresher, mut flights) = by_hand();
    let session = Session::builder(refresher).credential(secret());
    debug_is_clean(&session);
    let session = session.build();
    everything_of(&session);
    let watcher = session.subscribe();

    let refresh = tokio::spawn(session.refresh());
    let flight = in_time(flights.next()).await;
    everything_of(&session);
    debug_is_clean(&flight.context);
    flight.answer(Err(RefreshError::transient("busy")));
    error_is_clean(&refresh.await.unwrap().unwrap_err());
    everything_of(&session);

    after_back_off().await;
    let refresh = tokio::spawn(session.refresh());
    let flight = in_time(flights.next()).await;
    debug_is_clean(&flight.context);
    flight.answer(Ok(secret()));
    debug_is_clean(&refresh.await.unwrap());
    everything_of(&session);

    let refused = session.replace(session.login(secret()), secret());
    assert!(refused.is_ok());
    let over = session.state().login();
    let logout = session.logout();
    debug_is_clean(&logout);
    logout.await;
    everything_of(&session);
    debug_is_clean(&session.replace(over, secret()));
    error_is_clean(&session.refresh().await.unwrap_err());
    drop(session);
    debug_is_clean(&watcher);
}

#[tokio::test]
async fn g12_a_session_shows_nothing_of_a_credential_that_shows_itself() {
    let never = || {
        refresher_fn(|_: RefreshContext<Careless>| async { Err(RefreshError::terminal("never")) })
    };
    let ended = Arc::<Mutex<Vec<String>>>::default();
    let log = ended.clone();
    let builder = Session::builder(never()).credential(Careless(SECRET)).on_login_end(move |end| {
        log.lock().unwrap().push(format!("{end:?} {end:#?}"));
        async {}
    });
    debug_is_clean(&builder);
    let session = builder.build();
    everything_of(&session);
    let context = RefreshContext::new(Cause::Rejected).with_current(Arc::new(Careless(SECRET)));
    debug_is_clean(&context);

    let inner = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
        Ok::<_, BoxError>(response(StatusCode::UNAUTHORIZED))
    });
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);
    let error = client.clone().oneshot(get("/")).await.unwrap_err();
    error_is_clean(&*error);
    everything_of(&session);
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
            // What a layer below would log. The caller's own secrets are the caller's business,
            // bodies are not shown.
            debug_is_clean(&request);
            assert_eq!(bearer(&request), Some(SECRET));
            assert!(request.extensions().get::<Stamp>().is_some());
            debug_is_clean(request.extensions().get::<Stamp>().unwrap());
            std::future::pending()
        }
    }

    let (refresher, _flights) = by_hand();
    let layer =
        RefreshLayer::new(Session::new(secret(), refresher), Origins::any()).expose_stamp(true);
    debug_is_clean(&layer);
    let mut service = layer.layer(Inner);
    debug_is_clean(&service);
    ready(&mut service).await;
    let mut future = Box::pin(service.call(post("/", format!("password={SECRET}"))));
    debug_is_clean(&future);
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    debug_is_clean(&future);
    debug_is_clean(&service);
}

async fn ready<S: Service<Request<Full<Bytes>>, Error = BoxError>>(service: &mut S) {
    service.ready().await.expect("it has no error");
}

#[test]
fn g12_a_rejection_shows_the_names_of_its_headers_alone() {
    let mut headers = HeaderMap::new();
    headers.insert(header::SET_COOKIE, HeaderValue::from_static("sid=s3cr3t"));
    headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("DPoP nonce=s3cr3t"));
    let rejection = Rejection::new(StatusCode::UNAUTHORIZED, headers);
    debug_is_clean(&rejection);
    assert!(format!("{rejection:?}").contains("set-cookie"));
    debug_is_clean(&RefreshContext::<Token>::new(Cause::Rejected).with_rejection(rejection));
}

#[test]
fn g12_what_holds_closures_shows_nothing_of_them() {
    #[derive(Debug)]
    struct Captured(#[expect(dead_code, reason = "it is there to be shown")] &'static str);

    let captured = Arc::new(Captured(SECRET));
    let refresher = refresher_fn({
        let captured = captured.clone();
        move |_: RefreshContext| {
            drop(captured.clone());
            async { Err(RefreshError::transient("never")) }
        }
    });
    debug_is_clean(&refresher);
    let detect = detect_fn(move |_| Arc::strong_count(&captured) > 9);
    debug_is_clean(&detect);
    debug_is_clean(&Unauthorized);
    debug_is_clean(
        &Unauthorized
            .inspect(&tower_refresh::head::ResponseHead::new(StatusCode::OK, &HeaderMap::new())),
    );
    debug_is_clean(&(Anonymous, NoReplay, FailureMode::Response));
    debug_is_clean(&Session::builder(refresher).credential(secret()));
}

#[tokio::test]
async fn g12_a_panic_of_the_refresher_is_not_told_to_the_requests() {
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
    error_is_clean(&*error);
    everything_of(&session);
}

#[tokio::test]
async fn g12_panics_of_the_crate_show_no_credential() {
    let inner = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
        Ok::<_, BoxError>(response(StatusCode::OK))
    });
    let (refresher, _flights) = by_hand();
    let session = Session::new(secret(), refresher);
    let mut client = RefreshLayer::new(session.clone(), Origins::any()).layer(inner);
    // A future that is polled after its end panics, and its request has a secret in each of its
    // parts.
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
            assert_clean(&text.expect("a panic with a text"));
        }
    }
}
