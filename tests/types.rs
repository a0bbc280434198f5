//! Compile-time parts of the contract: `Send`, `Sync`, `Clone`, object safety, and the stacks that
//! the layer composes with.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod support;

use std::{error, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use support::*;
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn,
    util::{BoxCloneService, BoxCloneSyncService},
};
use tower_refresh::{
    Credential, Error, ErrorKind, FailureMode, Origin, Origins, Refresh, RefreshContext,
    RefreshError, RefreshErrorKind, RefreshLayer, Refresher, ReplayBody, Session, Token,
    credential::{InvalidOrigin, InvalidToken, Secret},
    detect::{Detect, DetectFn, Unauthorized, Verdict, detect_fn},
    extension::{Anonymous, NoReplay, Stamp},
    future::ResponseFuture,
    observe::{Event, EventKind, Observer},
    refresher::{BoxFuture, Cause, RefresherFn, Rejection},
    refresher_fn,
    session::{
        Closed, EndReason, EndedLogin, Failure, Flight, Generation, Login, Logout, Phase,
        SessionBuilder, SessionId, State, Watcher, WeakSession,
    },
};

fn is_send<T: Send>() {}
fn is_sync<T: Send + Sync>() {}
fn is_unpin<T: Unpin>() {}
fn is_clone<T: Clone + Send + Sync + 'static>() {}
fn is_value<T: Clone + Eq + std::hash::Hash + fmt::Debug + Send + Sync + 'static>() {}
fn is_error<T: error::Error + Clone + Send + Sync + 'static>() {}
fn is_body<T: Body<Data = Bytes, Error = BoxError> + Send + Unpin + 'static>() {}

/// A credential with the required method only.
struct Custom;

impl Credential for Custom {
    fn apply(&self, _: &mut Parts) {}
}

/// A body that is `Send` and not `Sync`, like the body of a tonic request.
type Unsync = UnsyncBoxBody<Bytes, BoxError>;
type Hyper<B> = Client<HttpConnector, ReplayBody<B>>;
type Boxed<B> = BoxCloneSyncService<Request<ReplayBody<B>>, Response<Incoming>, BoxError>;

const _: fn() = || {
    is_sync::<Event<'_>>();
    is_sync::<EventKind<'_>>();
    is_sync::<Box<dyn Observer>>();
    is_value::<SessionId>();
    is_clone::<Session>();
    is_clone::<Session<Custom>>();
    is_clone::<WeakSession<Custom>>();
    is_clone::<State<Custom>>();
    is_clone::<Watcher<Custom>>();
    is_clone::<RefreshContext<Custom>>();
    is_clone::<EndedLogin<Custom>>();
    is_clone::<RefreshLayer<Custom>>();
    is_clone::<Phase>();
    is_clone::<EndReason>();
    is_clone::<Flight>();
    is_clone::<Failure>();
    is_clone::<Token>();
    is_clone::<Secret>();
    is_clone::<Rejection>();
    is_clone::<Stamp>();
    is_clone::<Anonymous>();
    is_clone::<NoReplay>();
    is_clone::<RefresherFn<fn()>>();
    is_clone::<DetectFn<fn()>>();
    is_value::<Origin>();
    is_value::<Cause>();
    is_value::<ErrorKind>();
    is_value::<RefreshErrorKind>();
    is_value::<FailureMode>();
    is_value::<Verdict>();
    is_error::<Error>();
    is_error::<RefreshError>();
    is_error::<Closed>();
    is_error::<InvalidToken>();
    is_error::<InvalidOrigin>();
    is_send::<SessionBuilder<Custom>>();
    is_send::<Logout>();
    is_sync::<Box<dyn Detect>>();
    is_sync::<Box<dyn Refresher>>();

    is_copy_and_ordered::<Generation>();
    is_copy_and_equal::<Login>();
};

fn is_copy_and_ordered<T: Copy + Ord + fmt::Debug + Send + Sync + 'static>() {}
fn is_copy_and_equal<T: Copy + Eq + fmt::Debug + Send + Sync + 'static>() {}

const _: fn() = || {
    is_clone::<Refresh<Hyper<Full<Bytes>>>>();
    is_clone::<Refresh<Boxed<Full<Bytes>>, Custom>>();
    is_clone::<Refresh<Hyper<Unsync>>>();
    // The service is `Sync` only if its inner service is.
    is_send::<Refresh<BoxCloneService<(), (), BoxError>>>();

    is_send::<ResponseFuture<Hyper<Full<Bytes>>, Token, Full<Bytes>, Incoming>>();
    is_send::<ResponseFuture<Hyper<Unsync>, Token, Unsync, Incoming>>();
    is_send::<ResponseFuture<Boxed<Unsync>, Custom, Unsync, Incoming>>();

    is_body::<ReplayBody<Full<Bytes>>>();
    is_body::<ReplayBody<Unsync>>();
    is_body::<ReplayBody<stack::ScriptedBody>>();
    is_sync::<ReplayBody<Full<Bytes>>>();
    is_unpin::<ReplayBody<Incoming>>();
    is_default::<ReplayBody<Full<Bytes>>>();
};

fn is_default<T: Default>() {}

/// Futures of the session can be spawned.
const _: fn(Session) = |session| {
    fn spawns<F: Future + Send + 'static>(_: F) {}
    spawns(session.refresh());
    spawns(session.acquire());
    spawns(session.logout());
    let mut watcher = session.subscribe();
    spawns(async move { watcher.wait_for(|state| state.flights_settled() > 0).await.map(|_| ()) });
};

/// Checks that a type is a service for these requests, with a future that can be spawned.
fn serves<B, S>(service: S) -> S
where
    S: Service<Request<B>, Response = Response<Incoming>, Error = BoxError>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    service
}

fn session<C: Credential>(credential: C) -> Session<C> {
    Session::new(
        credential,
        refresher_fn(|_: RefreshContext<C>| async { Err(RefreshError::transient("never")) }),
    )
}

fn hyper_client<B>() -> Client<HttpConnector, B>
where
    B: Body + Send,
    B::Data: Send,
{
    Client::builder(TokioExecutor::new()).build_http()
}

#[tokio::test]
async fn the_layer_wraps_the_client_of_hyper_util() {
    let client: Client<HttpConnector, ReplayBody<Full<Bytes>>> = hyper_client();
    drop(serves::<Full<Bytes>, _>(
        RefreshLayer::new(session(token("at-1")), Origins::any()).layer(client),
    ));
    let client: Client<HttpConnector, ReplayBody<Unsync>> = hyper_client();
    drop(serves::<Unsync, _>(RefreshLayer::new(session(Custom), Origins::any()).layer(client)));
    let client: Client<HttpConnector, ReplayBody<Incoming>> = hyper_client();
    drop(serves::<Incoming, _>(RefreshLayer::new(session(Custom), Origins::any()).layer(client)));
}

#[tokio::test]
async fn the_layer_wraps_a_boxed_service_and_can_be_boxed() {
    let client = hyper_client::<ReplayBody<Unsync>>().map_err(BoxError::from);
    let boxed: Boxed<Unsync> = BoxCloneSyncService::new(client);
    let service =
        serves::<Unsync, _>(RefreshLayer::new(session(token("at-1")), Origins::any()).layer(boxed));
    let boxed: BoxCloneSyncService<Request<Unsync>, Response<Incoming>, BoxError> =
        BoxCloneSyncService::new(service);
    drop(serves(boxed));

    let client = hyper_client::<ReplayBody<Full<Bytes>>>().map_err(BoxError::from);
    let boxed: BoxCloneService<_, _, BoxError> = BoxCloneService::new(client);
    drop(serves::<Full<Bytes>, _>(
        RefreshLayer::new(session(token("at-1")), Origins::any()).layer(boxed),
    ));
}

#[tokio::test]
async fn the_layer_composes_in_a_service_builder() {
    let service = ServiceBuilder::new()
        .buffer(8)
        .concurrency_limit(8)
        .timeout(Duration::from_secs(30))
        .layer(tower_http::follow_redirect::FollowRedirectLayer::new())
        .layer(RefreshLayer::new(session(token("at-1")), Origins::any()))
        .map_err(BoxError::from)
        .timeout(Duration::from_secs(10))
        .buffer(8)
        .concurrency_limit(8)
        .layer(tower_http::follow_redirect::FollowRedirectLayer::new())
        .service(hyper_client());
    drop(serves::<Full<Bytes>, _>(service));
    let optional = ServiceBuilder::new()
        .layer(tower::util::BoxCloneSyncServiceLayer::new(RefreshLayer::new(
            session(token("at-1")),
            Origins::any(),
        )))
        .service(hyper_client());
    drop(serves::<Full<Bytes>, _>(optional));
}

#[tokio::test]
async fn two_layers_with_different_credentials_stack() {
    let layer = ServiceBuilder::new()
        .layer(RefreshLayer::new(session(Custom), Origins::any()))
        .layer(RefreshLayer::new(session(token("at-1")), Origins::any()));
    let client: Client<HttpConnector, ReplayBody<ReplayBody<Full<Bytes>>>> = hyper_client();
    drop(serves::<Full<Bytes>, _>(layer.service(client)));
}

#[tokio::test]
async fn refreshers_are_used_as_trait_objects() {
    struct FixedRefresher;

    impl Refresher for FixedRefresher {
        fn refresh(&self, _: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
            Box::pin(async { Ok(Token::bearer("at-2")?) })
        }
    }

    struct DecoratedRefresher<R>(R);

    impl<C: Credential, R: Refresher<C>> Refresher<C> for DecoratedRefresher<R> {
        fn refresh(&self, context: RefreshContext<C>) -> BoxFuture<'_, Result<C, RefreshError>> {
            self.0.refresh(context)
        }
    }

    let shared: Arc<dyn Refresher> = Arc::new(FixedRefresher);
    let boxed: Box<dyn Refresher> = Box::new(shared.clone());
    let nested: Arc<Box<dyn Refresher>> = Arc::new(Box::new(FixedRefresher));
    for session in [
        Session::new(token("at-1"), FixedRefresher),
        Session::new(token("at-1"), shared),
        Session::new(token("at-1"), DecoratedRefresher(boxed)),
        Session::new(token("at-1"), nested),
    ] {
        assert_eq!(session.refresh().await.unwrap().access_token(), "at-2");
    }
}

#[tokio::test]
async fn detectors_are_closures_types_and_trait_objects() {
    let shared: Arc<dyn Detect> = Arc::new(Unauthorized);
    let layer = RefreshLayer::new(session(Custom), Origins::any());
    let _ = layer.clone().detect(Unauthorized);
    let _ = layer.clone().detect(shared);
    let _ = layer.clone().detect(Box::new(Unauthorized) as Box<dyn Detect>);
    let _ = layer.detect(detect_fn(|response| response.status().as_u16() == 419));
}

#[tokio::test]
async fn an_error_of_the_session_is_found_by_a_downcast_through_a_stack() {
    let inner = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
        Err::<Response<Full<Bytes>>, BoxError>("inner".into())
    });
    let session = session(Custom);
    let client = ServiceBuilder::new()
        .buffer(1)
        .timeout(Duration::from_secs(30))
        .layer(RefreshLayer::new(session.clone(), Origins::any()))
        .service(inner);
    let error = client.clone().oneshot(get("/")).await.expect_err("an error");
    assert!(!error.is::<Error>());
    assert_eq!(error.to_string(), "inner");

    drop(session.logout());
    let error = client.oneshot(get("/")).await.expect_err("an error");
    let error = error.downcast_ref::<Error>().expect("an error of the session").clone();
    assert_eq!(error.kind(), ErrorKind::LoggedOut);
}

#[tokio::test]
async fn a_body_that_is_not_sync_goes_through() {
    let inner = service_fn(|request: Request<ReplayBody<Unsync>>| {
        std::future::ready(Ok::<_, BoxError>(Response::new(request.into_body())))
    });
    let client = RefreshLayer::new(session(Custom), Origins::any()).layer(inner);
    let body = Full::new(Bytes::from("hello")).map_err(Into::into).boxed_unsync();
    let answer = tokio::spawn(client.oneshot(Request::new(body))).await.unwrap().unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
}

#[test]
fn accessors_reach_the_inner_service() {
    let mut service = RefreshLayer::new(session(Custom), Origins::any()).layer(7);
    *service.get_mut() += 1;
    assert_eq!(*service.get_ref(), 8);
    assert_eq!(service.into_inner(), 8);
}
