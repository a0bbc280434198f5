//! What generated clients ask of their channel, as compiled facts.

use tonic::{Request, body::Body, client::GrpcService};
use tower::BoxError;
use tower_refresh::Session;

use crate::{
    client::{EchoClient, layered, note},
    echo::Echo,
    in_time,
    issuer::Issuer,
};

/// The bounds of every client that `tonic-build` generates, and those of sending it across tasks.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_style_client_is_cloned_and_sent_across_tasks() {
    in_time(async {
        let issuer = Issuer::default();
        let server = Echo::listen(&issuer).await;
        let session: Session = issuer.expired_session();
        let client = EchoClient::new(is_a_channel(layered(server.channel(), &session)));
        let mut one = client.clone();
        let mut other = client;
        let one = tokio::spawn(async move { one.unary(Request::new(note("a"))).await });
        let other = tokio::spawn(async move { other.repeat(Request::new(note("b"))).await.map(drop) });
        assert_eq!(one.await.unwrap().unwrap().into_inner().text, "a");
        other.await.unwrap().unwrap();
        assert_eq!(issuer.refreshes(), 1);
    })
    .await;
}
