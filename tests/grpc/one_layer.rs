//! `GrpcRefreshLayer` over tonic's channel: what a client gets without any other layer.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tonic::{
    Code, Request, Status,
    body::Body,
    client::GrpcService,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use tower::{BoxError, Layer, ServiceBuilder, util::BoxCloneSyncService};
use tower_refresh::{
    ErrorKind, Origin, RefreshError, Session,
    detect::{Detect, GrpcUnauthenticated, Verdict, detect_fn},
    grpc::{GrpcAnswer, GrpcRefresh, GrpcRefreshLayer},
    head::ResponseHead,
};

use crate::{
    client::{EchoClient, KINDS, LONG, call, expected, note},
    echo::Echo,
    in_time,
    issuer::Issuer,
};

type BoxChannel = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, BoxError>;

/// A struct that keeps the client in a field.
#[derive(Clone)]
struct App {
    echo: EchoClient<GrpcRefresh<Channel, Body>>,
}

/// A detector that counts how often it is asked, and may accept everything.
struct Counted {
    rejects: bool,
    asked: Arc<AtomicUsize>,
}

impl Detect for Counted {
    fn inspect(&self, response: &ResponseHead<'_>) -> Verdict {
        self.asked.fetch_add(1, SeqCst);
        if self.rejects { GrpcUnauthenticated.inspect(response) } else { Verdict::Accepted }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_call_is_replayed_after_every_kind_of_rejection() {
    in_time(async {
        for kind in KINDS {
            for reject in ["head", "trailers", "401"] {
                let issuer = Issuer::default();
                let server = Echo::listen(&issuer).await;
                let layer = layer(&issuer.expired_session()).grace(LONG);
                let mut app = App { echo: EchoClient::new(layer.layer(server.channel())) };
                let answer = call(&mut app.echo, kind, reject).await;
                assert_eq!(answer.unwrap(), expected(kind), "{kind}, {reject}");
                assert_eq!(issuer.refreshes(), 1, "{kind}, {reject}");
                assert_eq!(server.seen().len(), 2, "{kind}, {reject}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_failure_of_the_session_is_a_status() {
    in_time(async {
        let failures = [
            (RefreshError::terminal("invalid_grant"), Code::Unauthenticated),
            (RefreshError::transient("auth.internal is down"), Code::Unavailable),
        ];
        for (failure, code) in failures {
            let issuer = Issuer::default();
            issuer.fail(failure.clone());
            let server = Echo::listen(&issuer).await;
            let session = issuer.expired_session();
            let status = |causes| {
                let answer = GrpcAnswer::new().causes(causes);
                let layer = layer(&session).grace(LONG).answer(answer);
                let mut client = EchoClient::new(layer.layer(server.channel()));
                async move { call(&mut client, "unary", "trailers").await.unwrap_err() }
            };
            let cause = std::error::Error::source(&failure).unwrap().to_string();
            let (shown, hidden) = (status(true).await, status(false).await);
            assert_eq!((shown.code(), hidden.code(), issuer.refreshes()), (code, code, 1));
            assert!(shown.message().contains(&cause), "{shown:?}");
            assert!(!hidden.message().contains(&cause), "{hidden:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_logged_out_session_sends_nothing_and_answers_unauthenticated() {
    in_time(async {
        let issuer = Issuer::default();
        let server = Echo::listen(&issuer).await;
        let session = issuer.session();
        session.logout().await;
        let mut client = EchoClient::new(layer(&session).layer(server.channel()));
        for kind in KINDS {
            let status = call(&mut client, kind, "head").await.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{kind}");
        }
        assert!(server.seen().is_empty());
    })
    .await;
}

#[tokio::test]
async fn trailers_are_detected_whatever_the_settings_of_the_refresh_layer_say() {
    in_time(async {
        let issuer = Issuer::default();
        let server = Echo::listen(&issuer).await;
        let layer = layer(&issuer.expired_session())
            .grace(LONG)
            .configure(|refresh| refresh.expose_stamp(false).replay_limit(1024));
        let mut client = EchoClient::new(layer.layer(server.channel()));
        assert_eq!(call(&mut client, "unary", "trailers").await.unwrap(), expected("unary"));
        assert_eq!(issuer.refreshes(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_detector_is_asked_about_heads_and_about_trailers_however_it_is_set() {
    type Setting = fn(GrpcRefreshLayer<Body>, Counted) -> GrpcRefreshLayer<Body>;
    let settings: [(&str, Setting); 4] = [
        ("detect", |layer, detect| layer.detect(detect)),
        ("configure", |layer, detect| layer.configure(|refresh| refresh.detect(detect))),
        ("configure after detect", |layer, detect| {
            let layer = layer.detect(detect_fn(|_| false));
            layer.configure(|refresh| refresh.replay_limit(1024).detect(detect))
        }),
        ("detect after configure", |layer, detect| {
            layer.configure(|refresh| refresh.detect(detect_fn(|_| false))).detect(detect)
        }),
    ];
    in_time(async {
        for (name, set) in settings {
            for reject in ["head", "trailers"] {
                let issuer = Issuer::default();
                let server = Echo::listen(&issuer).await;
                let session = issuer.expired_session();
                let rejecting = Counted { rejects: true, asked: Arc::default() };
                let asked = rejecting.asked.clone();
                let channel = set(layer(&session).grace(LONG), rejecting).layer(server.channel());
                call(&mut EchoClient::new(channel), "unary", reject).await.unwrap();
                assert_eq!(issuer.refreshes(), 1, "{name}, {reject}");
                assert!(asked.load(SeqCst) >= 2, "{name}, {reject}");

                // A detector that accepts everything is believed, too.
                issuer.expire();
                let accepting = Counted { rejects: false, asked: Arc::default() };
                let channel = set(layer(&session).grace(LONG), accepting).layer(server.channel());
                let answer = call(&mut EchoClient::new(channel), "unary", reject).await;
                let code = answer.unwrap_err().code();
                assert_eq!(code, Code::Unauthenticated, "{name}, {reject}");
                assert_eq!(issuer.refreshes(), 1, "{name}, {reject}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_interceptor_is_above_or_below_the_layer() {
    fn rejected_in_trailers(mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("x-reject", "trailers".parse().unwrap());
        Ok(request)
    }

    in_time(async {
        let issuer = Issuer::default();
        let server = Echo::listen(&issuer).await;
        let layered = layer(&issuer.expired_session()).grace(LONG).layer(server.channel());
        let above = InterceptedService::new(layered, rejected_in_trailers);
        assert_eq!(unary(above).await.unwrap(), "a");

        let intercepted = InterceptedService::new(server.channel(), rejected_in_trailers);
        let below = layer(&issuer.expired_session()).grace(LONG).layer(intercepted);
        assert_eq!(unary(below).await.unwrap(), "a");
        assert_eq!((issuer.refreshes(), server.seen().len()), (2, 4));
    })
    .await;
}

#[tokio::test]
async fn a_balanced_channel_and_a_box_are_channels() {
    in_time(async {
        let issuer = Issuer::default();
        let server = Echo::listen(&issuer).await;
        let endpoint = Endpoint::from_shared(server.uri().to_owned()).unwrap();
        let balanced = Channel::balance_list([endpoint.clone(), endpoint].into_iter());
        let boxed: BoxChannel = ServiceBuilder::new()
            .layer(BoxCloneSyncService::layer())
            .map_response(|response: http::Response<_>| response.map(Body::new))
            .layer(layer(&issuer.expired_session()))
            .service(balanced);
        assert_eq!(unary(boxed).await.unwrap(), "a");
        assert_eq!(issuer.refreshes(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_channel_to_another_origin_carries_no_credential() {
    in_time(async {
        let issuer = Issuer::default();
        let server = Echo::listen(&issuer).await;
        let session = issuer.session();
        let elsewhere = Origin::from_static("https://api.example.com");
        let layer = GrpcRefreshLayer::new(session.clone(), elsewhere, Body::new);
        // A client that sends absolute URIs, unlike a generated one.
        let absolute = format!("{}/test.Echo/Unary", server.uri()).parse().unwrap();
        let mut client = layer.layer(server.channel());
        let request = http::Request::post::<http::Uri>(absolute)
            .header("content-type", "application/grpc")
            .body(Body::empty())
            .unwrap();
        GrpcService::call(&mut client, request).await.unwrap();
        assert!(!server.seen()[0].contains_key("authorization"));
        assert_eq!(session.state().flights_started(), 0);
    })
    .await;
}

#[tokio::test]
async fn the_error_of_the_session_is_in_the_extensions_and_an_error_of_the_channel_passes() {
    in_time(async {
        let issuer = Issuer::default();
        let server = Echo::listen(&issuer).await;
        let session = issuer.session();
        let mut client = layer(&session).layer(server.channel());
        session.logout().await;
        let request = http::Request::post("/test.Echo/Unary").body(Body::empty()).unwrap();
        let answer = GrpcService::call(&mut client, request).await.unwrap();
        let error = answer.extensions().get::<tower_refresh::Error>().unwrap();
        assert_eq!(error.kind(), ErrorKind::LoggedOut);

        let dead = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let dead = layer(&issuer.session()).layer(dead);
        assert_eq!(unary(dead).await.unwrap_err().code(), Code::Unavailable);
    })
    .await;
}

#[test]
fn the_service_and_its_future_can_be_sent_to_another_thread_and_the_service_shared() {
    fn is_shared<T: Send + Sync + Clone + Unpin>() {}
    fn is_sent<T: Send>() {}
    is_shared::<GrpcRefresh<Channel, Body>>();
    is_shared::<GrpcRefreshLayer<Body>>();
    is_sent::<<GrpcRefresh<Channel, Body> as GrpcService<Body>>::Future>();
}

fn layer(session: &Session) -> GrpcRefreshLayer<Body> {
    let origin = Origin::from_static("http://localhost");
    GrpcRefreshLayer::new(session.clone(), origin, Body::new)
}

async fn unary<T>(channel: T) -> Result<String, Status>
where
    T: GrpcService<Body>,
    T::Error: Into<BoxError>,
    T::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError> + Send,
{
    let answer = EchoClient::new(channel).unary(Request::new(note("a"))).await?;
    Ok(answer.into_inner().text)
}
