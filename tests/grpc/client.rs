//! A client of `test.Echo`, written like generated code, over a layered channel.

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio_stream::StreamExt;
use tonic::{
    Request, Response, Status, Streaming, body::Body, client::GrpcService, transport::Channel,
};
use tonic_prost::ProstCodec;
use tower::{BoxError, ServiceBuilder};
use tower_http::map_request_body::{MapRequestBody, MapRequestBodyLayer};
use tower_refresh::{
    Credential, Origin, Refresh, ReplayBody, Session, Token,
    grpc::{self, RequestBody, Trailers, TrailersLayer},
};

#[derive(Clone, PartialEq, prost::Message)]
pub struct Note {
    #[prost(string, tag = "1")]
    pub text: String,
    /// The number of answers that are requested.
    #[prost(uint32, tag = "2")]
    pub count: u32,
}

#[derive(Clone)]
pub struct EchoClient<T> {
    inner: tonic::client::Grpc<T>,
}

pub type Layered<C = Token> = Refresh<Trailers<Adapted>, C>;
type Adapted = MapRequestBody<Channel, fn(RequestBody<ReplayBody<Body>>) -> Body>;

pub const KINDS: [&str; 4] = ["unary", "server streaming", "client streaming", "bidirectional"];

/// For tests that must not fail because the machine is slow.
pub const LONG: Duration = Duration::from_secs(20);

pub fn note(text: &str) -> Note {
    Note { text: text.to_owned(), count: 1 }
}

pub fn layered<C: Credential>(channel: Channel, session: &Session<C>) -> Layered<C> {
    layered_with(channel, session, TrailersLayer::new())
}

pub fn layered_with<C: Credential>(
    channel: Channel,
    session: &Session<C>,
    trailers: TrailersLayer,
) -> Layered<C> {
    ServiceBuilder::new()
        .layer(grpc::refresh_layer(session.clone(), Origin::from_static("http://localhost")))
        .layer(trailers)
        .layer(MapRequestBodyLayer::new(Body::new as _))
        .service(channel)
}

/// Makes one call of the given kind, and returns the texts of its answers.
pub async fn call<T>(
    client: &mut EchoClient<T>,
    kind: &str,
    reject: &str,
) -> Result<Vec<String>, Status>
where
    T: GrpcService<Body>,
    T::Error: Into<BoxError>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError> + Send,
{
    fn with<T>(message: T, reject: &str) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("x-reject", reject.parse().unwrap());
        request
    }
    let two = || tokio_stream::iter([note("a"), note("b")]);
    let mut stream = match kind {
        "unary" => return Ok(vec![client.unary(with(note("a"), reject)).await?.into_inner().text]),
        "client streaming" => {
            return Ok(vec![client.join(with(two(), reject)).await?.into_inner().text]);
        }
        "server streaming" => {
            let three = Note { text: "a".into(), count: 3 };
            client.repeat(with(three, reject)).await?.into_inner()
        }
        _ => client.talk(with(two(), reject)).await?.into_inner(),
    };
    let mut texts = Vec::new();
    while let Some(note) = stream.next().await {
        texts.push(note?.text);
    }
    Ok(texts)
}

pub fn expected(kind: &str) -> &'static [&'static str] {
    match kind {
        "unary" => &["a"],
        "server streaming" => &["a", "a", "a"],
        "client streaming" => &["a b"],
        _ => &["a", "b"],
    }
}

// === impl EchoClient ===

impl<T> EchoClient<T>
where
    T: GrpcService<Body>,
    T::Error: Into<BoxError>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError> + Send,
{
    pub fn new(inner: T) -> Self {
        Self { inner: tonic::client::Grpc::new(inner) }
    }

    pub async fn unary(&mut self, request: Request<Note>) -> Result<Response<Note>, Status> {
        self.ready().await?;
        self.inner.unary(request, path("/test.Echo/Unary"), ProstCodec::default()).await
    }

    pub async fn repeat(
        &mut self,
        request: Request<Note>,
    ) -> Result<Response<Streaming<Note>>, Status> {
        self.ready().await?;
        self.inner.server_streaming(request, path("/test.Echo/Repeat"), ProstCodec::default()).await
    }

    pub async fn join(
        &mut self,
        request: Request<impl tokio_stream::Stream<Item = Note> + Send + 'static>,
    ) -> Result<Response<Note>, Status> {
        self.ready().await?;
        self.inner.client_streaming(request, path("/test.Echo/Join"), ProstCodec::default()).await
    }

    pub async fn talk(
        &mut self,
        request: Request<impl tokio_stream::Stream<Item = Note> + Send + 'static>,
    ) -> Result<Response<Streaming<Note>>, Status> {
        self.ready().await?;
        self.inner.streaming(request, path("/test.Echo/Talk"), ProstCodec::default()).await
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.inner.ready().await.map_err(|error| Status::unknown(error.into().to_string()))
    }
}

fn path(path: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(path)
}
