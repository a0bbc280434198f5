//! The quickstart for tonic, as the page of recipes shows it.
//!
//! ```sh
//! cargo add tower-refresh --features grpc,token-file
//! cargo add tonic tower
//! cargo add tokio --features macros,rt-multi-thread
//! ```
#![cfg_attr(rustfmt, rustfmt_skip)]

use tonic::{body::Body, transport::Channel};
use tower::Layer;
use tower_refresh::{BoxError, Origin, Session, grpc::GrpcRefreshLayer, token_file::TokenFile};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let session = Session::builder(TokenFile::new("/var/run/secrets/token")).acquire_on_demand(true).build();
    let channel = Channel::from_static("http://localhost:50051").connect_lazy();
    let api = Origin::from_static("http://localhost:50051");
    let channel = GrpcRefreshLayer::new(session, api, Body::new).layer(channel);
    let mut greeter = GreeterClient::new(channel);
    let reply = greeter.say_hello(HelloRequest { name: "ada".into() }).await?;
    println!("{}", reply.into_inner().message);
    Ok(())
}

// Like the code that `tonic-build` generates.
struct GreeterClient<T>(tonic::client::Grpc<T>);

#[derive(Clone, PartialEq, prost::Message)]
struct HelloRequest {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HelloReply {
    #[prost(string, tag = "1")]
    message: String,
}

impl<T> GreeterClient<T>
where
    T: tonic::client::GrpcService<Body>,
    T::Error: Into<BoxError>,
    T::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError> + Send,
{
    fn new(channel: T) -> Self {
        Self(tonic::client::Grpc::new(channel))
    }

    async fn say_hello(
        &mut self,
        request: HelloRequest,
    ) -> Result<tonic::Response<HelloReply>, tonic::Status> {
        let ready = self.0.ready().await;
        ready.map_err(|error| tonic::Status::unknown(error.into().to_string()))?;
        let path = http::uri::PathAndQuery::from_static("/hello.Greeter/SayHello");
        let codec = tonic_prost::ProstCodec::default();
        self.0.unary(tonic::Request::new(request), path, codec).await
    }
}
