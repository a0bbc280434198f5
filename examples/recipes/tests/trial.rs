//! Every recipe passes the trial.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, uri::PathAndQuery};
use http_body_util::{Empty, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use jsonrpsee::core::client::ClientT;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter, SpanLinks};
use recipes::{
    recipes::{
        axum_proxy, cookie_client, hyper_util_client, jsonrpsee_client, kube_client,
        octocrab_client, otlp_exporter, proxy_client, reqwest_client, reqwest_middleware_client,
        tonic_client, tonic_web_client, tower_http_stack,
    },
    trial::{Server, trial},
};
use tokio::net::TcpListener;
use tonic::{body::Body, client::GrpcService, transport::Endpoint};
use tonic_prost::ProstCodec;
use tower::{BoxError, ServiceExt};
use tower_refresh::{Session, reqwest::SendThrough};

/// The trial of a client with a bearer token. Fails if it hangs.
async fn bearer_trial<T, F>(connect: impl FnOnce(Session, &Server) -> T, call: impl Fn(T) -> F)
where
    T: Clone + Send + 'static,
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let trial = trial(Server::refresher, Server::token, connect, call);
    tokio::time::timeout(Duration::from_secs(60), trial).await.expect("it hangs");
}

fn ok<B>(response: Response<B>) -> Result<(), BoxError> {
    if response.status().is_success() { Ok(()) } else { Err(response.status().to_string().into()) }
}

#[tokio::test]
async fn hyper_util() {
    let connect = |session, server: &Server| {
        (hyper_util_client::client(session, server.origin()), server.url("/user"))
    };
    bearer_trial(connect, |(client, url)| async move {
        ok(client.request(Request::post(url).body(Full::from("a body"))?).await?)
    })
    .await;
}

#[tokio::test]
async fn hyper_util_with_proxies() {
    let connect = |session, server: &Server| {
        let proxies = hyper_util::client::proxy::matcher::Matcher::builder().build();
        (proxy_client::client(session, server.origin(), proxies), server.url("/user"))
    };
    bearer_trial(connect, |(client, url)| async move {
        ok(client.request(Request::post(url).body(Full::from("a body"))?).await?)
    })
    .await;
}

#[tokio::test]
async fn reqwest() {
    let connect = |session, server: &Server| {
        (reqwest_client::client(session, server.origin()).unwrap(), server.url("/user"))
    };
    bearer_trial(connect, |(client, url)| async move {
        let request = client.get_ref().client().post(url).body("a body");
        request.send_through(&client).await?.error_for_status()?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn reqwest_middleware() {
    let connect = |session, server: &Server| {
        (reqwest_middleware_client::client(session, server.origin()).unwrap(), server.url("/user"))
    };
    bearer_trial(connect, |(client, url)| async move {
        client.post(url).body("a body").send().await?.error_for_status()?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn octocrab() {
    let connect = |session, server: &Server| {
        octocrab_client::client(session, server.origin(), server.uri()).unwrap()
    };
    bearer_trial(connect, |client: octocrab::Octocrab| async move {
        client.get::<serde_json::Value, _, _>("/user", None::<&()>).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn kube_with_a_stack_of_its_own() {
    let connect = |session, server: &Server| {
        let config = kube::Config::new(server.uri());
        kube_client::client(session, server.origin(), &config)
    };
    bearer_trial(connect, list_pods).await;
}

#[tokio::test]
async fn kube_around_its_stack() {
    let connect = |session, server: &Server| {
        let config = kube::Config::new(server.uri());
        kube_client::around(session, server.origin(), config).unwrap()
    };
    bearer_trial(connect, list_pods).await;
}

async fn list_pods(client: kube::Client) -> Result<(), BoxError> {
    Api::<Pod>::default_namespaced(client).list(&ListParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn tonic() {
    let connect = |session, server: &Server| {
        let endpoint = Endpoint::from_shared(server.url("")).unwrap();
        tonic_client::channel(session, server.origin(), endpoint)
    };
    bearer_trial(connect, |channel| unary(tonic::client::Grpc::new(channel))).await;
}

#[tokio::test]
async fn tonic_web() {
    let connect = |session, server: &Server| {
        (tonic_web_client::channel(session, server.origin()), server.uri())
    };
    bearer_trial(connect, |(channel, base)| unary(tonic::client::Grpc::with_origin(channel, base)))
        .await;
}

/// A unary call with an empty message, as generated code makes it.
async fn unary<T>(mut client: tonic::client::Grpc<T>) -> Result<(), BoxError>
where
    T: GrpcService<Body>,
    T::Error: Into<BoxError>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError> + Send,
{
    client.ready().await.map_err(Into::into)?;
    let path = PathAndQuery::from_static("/test.Echo/Unary");
    client.unary(tonic::Request::new(()), path, ProstCodec::<(), ()>::default()).await?;
    Ok(())
}

#[tokio::test]
async fn jsonrpsee() {
    let connect = |session, server: &Server| {
        let client = jsonrpsee_client::client(session, server.origin(), &server.url("/"));
        std::sync::Arc::new(client.unwrap())
    };
    bearer_trial(connect, |client| async move {
        client.request::<String, _>("ping", jsonrpsee::core::params::ArrayParams::new()).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn otlp() {
    let connect = |session, server: &Server| {
        let exporter = otlp_exporter::exporter(session, server.origin(), &server.url("/v1/traces"));
        std::sync::Arc::new(exporter.unwrap())
    };
    bearer_trial(connect, |exporter| async move { Ok(exporter.export(vec![span()]).await?) }).await;
}

fn span() -> SpanData {
    SpanData {
        span_context: SpanContext::NONE,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Client,
        name: "a span".into(),
        start_time: std::time::SystemTime::UNIX_EPOCH,
        end_time: std::time::SystemTime::UNIX_EPOCH,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: Default::default(),
    }
}

#[tokio::test]
async fn axum() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/user", listener.local_addr().unwrap());
    let connect = move |session, server: &Server| {
        let proxy = axum_proxy::proxy(session, server.origin(), server.uri());
        tokio::spawn(async move { axum::serve(listener, proxy).await });
        (Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>(), url)
    };
    bearer_trial(connect, |(client, url)| async move {
        ok(client.request(Request::get(url).body(Empty::new())?).await?)
    })
    .await;
}

#[tokio::test]
async fn tower_http() {
    let connect = |session, server: &Server| {
        (tower_http_stack::client(session, server.origin()), server.url("/user"))
    };
    bearer_trial(connect, |(client, url)| async move {
        ok(client.oneshot(Request::get(url).body(Full::default())?).await?)
    })
    .await;
}

#[tokio::test]
async fn cookies() {
    let connect = |session, server: &Server| {
        (cookie_client::client(session, server.origin()), server.url("/user"))
    };
    let call = |(client, url): (cookie_client::Api, String)| async move {
        ok(client.request(Request::get(url).body(Full::default())?).await?)
    };
    let trial = trial(Server::cookie_refresher, Server::jar, connect, call);
    tokio::time::timeout(Duration::from_secs(60), trial).await.expect("it hangs");
}
