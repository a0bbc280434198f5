//! The bounds that generated clients have on their channel, checked by the compiler.

use tonic::{
    Request, Status,
    body::Body,
    client::GrpcService,
    service::{Interceptor, interceptor::InterceptedService},
};
use tower::{BoxError, Service, ServiceBuilder};
use tower_refresh::{Session, grpc::GrpcAnswer, respond::RespondLayer};

use crate::{
    client::{EchoClient, layered, note},
    echo::Echo,
    in_time,
    issuer::Issuer,
};

/// The bounds of every client that `tonic-build` generates, and of moving it to another task.
fn is_a_channel<T>(channel: T) -> T
where
    T: GrpcService<Body> + Clone + Send + 'static,
    T::Error: Into<BoxError>,
    T::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError> + Send,
    T::Future: Send,
{
    channel
}

/// The bounds of the generated `with_interceptor`.
fn intercepted<T, F>(channel: T, interceptor: F) -> InterceptedService<T, F>
where
    T: GrpcService<Body, ResponseBody: Default>
        + Service<
            http::Request<Body>,
            Response = http::Response<<T as GrpcService<Body>>::ResponseBody>,
        >,
    <T as Service<http::Request<Body>>>::Error: Into<BoxError> + Send + Sync,
    F: Interceptor,
{
    InterceptedService::new(channel, interceptor)
}

#[tokio::test]
async fn a_generated_client_takes_an_interceptor() {
    in_time(async {
        let issuer = Issuer::default();
        let server = Echo::listen(&issuer).await;
        let channel = layered(server.channel(), &issuer.expired_session());
        let channel =
            ServiceBuilder::new().layer(RespondLayer::new(GrpcAnswer::new())).service(channel);
        let reject = |mut request: Request<()>| {
            request.metadata_mut().insert("x-reject", "trailers".parse().unwrap());
            Ok::<_, Status>(request)
        };
        let mut client = EchoClient::new(is_a_channel(intercepted(channel, reject)));
        assert_eq!(client.unary(Request::new(note("a"))).await.unwrap().into_inner().text, "a");
        assert_eq!(issuer.refreshes(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_client_is_cloned_and_moved_to_other_tasks() {
    in_time(async {
        let issuer = Issuer::default();
        let server = Echo::listen(&issuer).await;
        let session: Session = issuer.expired_session();
        let client = EchoClient::new(is_a_channel(layered(server.channel(), &session)));
        let mut one = client.clone();
        let mut other = client;
        let one = tokio::spawn(async move { one.unary(Request::new(note("a"))).await });
        let other =
            tokio::spawn(async move { other.repeat(Request::new(note("b"))).await.map(drop) });
        assert_eq!(one.await.unwrap().unwrap().into_inner().text, "a");
        other.await.unwrap().unwrap();
        assert_eq!(issuer.refreshes(), 1);
    })
    .await;
}
