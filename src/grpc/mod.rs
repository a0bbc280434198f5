//! gRPC: a rejection wherever its status hides, and answers that gRPC clients understand.
//!
//! An interceptor can't wait for a refresh, and a tonic request can't be cloned for a retry. A
//! [`RefreshLayer`](crate::RefreshLayer) does both for any gRPC client that is an HTTP service,
//! with two layers about it:
//!
//! - [`TrailersLayer`] below it finds the rejections that are not in the head of a response.
//! - [`RespondLayer`](crate::respond::RespondLayer) with a [`GrpcAnswer`] above it turns the
//!   session's errors into gRPC statuses. What the channel fails with stays as it is: an
//!   unreachable server is still `Unavailable`.
//!
//! Nothing here depends on tonic.
//!
//! # Examples
//!
//! A tonic client. What `tonic-build` generates takes the layered channel in the place of a
//! `Channel`:
//!
//! ```no_run
//! use tonic::{body::Body, client::GrpcService, transport::Channel};
//! use tower::ServiceBuilder;
//! use tower_http::map_request_body::MapRequestBodyLayer;
//! use tower_refresh::{
//!     Origin, Session,
//!     grpc::{self, GrpcAnswer, TrailersLayer},
//!     respond::RespondLayer,
//! };
//!
//! # struct GreeterClient<T>(T);
//! # impl<T: GrpcService<Body>> GreeterClient<T> { fn new(channel: T) -> Self { Self(channel) } }
//! # fn build(session: Session) {
//! let channel = Channel::from_static("https://api.example.com").connect_lazy();
//! let channel = ServiceBuilder::new()
//!     .layer(RespondLayer::new(GrpcAnswer::new()))
//!     .layer(grpc::refresh_layer(session, Origin::from_static("https://api.example.com")))
//!     .layer(TrailersLayer::new())
//!     .layer(MapRequestBodyLayer::new(Body::new))
//!     .service(channel);
//! let client = GreeterClient::new(channel);
//! # drop(client) }
//! ```
//!
//! A gRPC proxy that puts its own credential on what it forwards. Its callers are strangers, so
//! they are told no causes; uploads of any length pass through, and those of up to a megabyte can
//! be sent again:
//!
//! ```no_run
//! use http::{Request, Uri, uri::PathAndQuery};
//! use hyper::{body::Incoming, server::conn::http2, service::service_fn};
//! use hyper_util::{
//!     client::legacy::Client,
//!     rt::{TokioExecutor, TokioIo},
//! };
//! use tokio::net::TcpListener;
//! use tower::{BoxError, ServiceBuilder, ServiceExt};
//! use tower_refresh::{
//!     grpc::{self, GrpcAnswer, TrailersLayer}, respond::RespondLayer, Origin, Session,
//! };
//!
//! fn to_upstream(mut request: Request<Incoming>) -> Request<Incoming> {
//!     let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
//!     let upstream = Uri::builder().scheme("http").authority("localhost:50051").path_and_query(path);
//!     *request.uri_mut() = upstream.build().expect("each part was valid");
//!     request
//! }
//!
//! # async fn run(session: Session, listener: TcpListener) -> Result<(), BoxError> {
//! let proxy = ServiceBuilder::new()
//!     .map_request(to_upstream)
//!     .layer(RespondLayer::new(GrpcAnswer::new().causes(false)))
//!     .layer(
//!         grpc::refresh_layer(session, Origin::from_static("http://localhost:50051"))
//!             .overwrite(true)
//!             .replay_limit(1024 * 1024),
//!     )
//!     .layer(TrailersLayer::new())
//!     .service(Client::builder(TokioExecutor::new()).http2_only(true).build_http());
//!
//! loop {
//!     let (socket, _) = listener.accept().await?;
//!     let proxy = proxy.clone();
//!     let connection = http2::Builder::new(TokioExecutor::new()).serve_connection(
//!         TokioIo::new(socket),
//!         service_fn(move |request| proxy.clone().oneshot(request)),
//!     );
//!     tokio::spawn(connection);
//! }
//! # }
//! ```
//!
//! # Where a rejection hides
//!
//! | UNAUTHENTICATED arrives | found by | the call |
//! |---|---|---|
//! | in the head, or as a plain HTTP 401 | [`GrpcUnauthenticated`](crate::detect::GrpcUnauthenticated) | is sent again |
//! | in trailers before any message | [`TrailersLayer`] | is sent again |
//! | in trailers after a message | [`TrailersLayer`] | gets its status; the next one refreshes first |
//!
//! In the second case headers and trailers become one head, which is gRPC's other way to say the
//! same ("Trailers-Only"). That is also what the caller gets if the call can't be sent again. In
//! the third the frames are what they were, and the session [learns of the
//! rejection](crate::extension::Stamp::reject).
//!
//! All other frames pass as they came, in their order. Only what is of type `application/grpc` is
//! looked at, and only if it carries the session's credential; gRPC-Web, whose trailers are data,
//! is not.
//!
//! # Trailers that are on their way
//!
//! A handler that fails after its headers were sent is rejected in two frames, and the second one
//! may be a moment behind. So the headers are held for the frame after them, by this rule:
//!
//! - A call that is **still sending** is never held. Its client may be waiting for the headers
//!   before it goes on, and its server for the client. What has arrived together with the headers
//!   is seen.
//! - A call that **has sent everything**, unary or server streaming, is held for up to [20
//!   milliseconds](TrailersLayer::grace), or until its first frame. Nobody waits for anything from
//!   its client any more. A unary call loses nothing, for it ends with its trailers anyway; a
//!   stream whose first message takes longer has its headers that much later, and its messages at
//!   once.
//!
//! Trailers that come later than that are treated as those after a message.
//!
//! # Streaming
//!
//! An upload that is rejected while it lasts is taken over: the second attempt has the messages
//! that were sent so far, and then goes on. What is longer than
//! [`replay_limit`](crate::RefreshLayer::replay_limit) is not sent again. The call then gets its
//! own status, and the refresh runs for the next one.
//!
//! # Deadlines
//!
//! `grpc-timeout` and all other metadata are the same on both attempts. A tonic channel times each
//! attempt by it, and knows nothing of the wait for a refresh. To bound all of it, put a time-out
//! above the layer:
//!
//! ```
//! use std::time::Duration;
//! use tonic::Status;
//! use tower::{BoxError, ServiceBuilder, timeout::{TimeoutLayer, error::Elapsed}};
//! # use tower_refresh::{Origin, Session, grpc};
//!
//! # fn build<S>(session: Session, channel: S) {
//! let channel = ServiceBuilder::new()
//!     .map_err(|error: BoxError| match error.downcast::<Elapsed>() {
//!         Ok(elapsed) => Status::deadline_exceeded(elapsed.to_string()).into(),
//!         Err(error) => error,
//!     })
//!     .layer(TimeoutLayer::new(Duration::from_secs(10)))
//!     .layer(grpc::refresh_layer(session, Origin::from_static("https://api.example.com")))
//!     // and so on
//! #   .service(channel);
//! # drop(channel) }
//! ```
//!
//! # Metadata
//!
//! A [`Token`](crate::Token) is the ASCII metadata `authorization`. A
//! [`Credential`](crate::Credential) of your own may set any key, a binary one too. On the wire the
//! value of a key that ends in `-bin` is base64:
//!
//! ```
//! use http::{HeaderValue, request::Parts};
//! use tonic::metadata::{BinaryMetadataValue, MetadataValue};
//! use tower_refresh::Credential;
//!
//! struct Macaroon(HeaderValue);
//!
//! impl Macaroon {
//!     fn new(bytes: &[u8]) -> Self {
//!         let value: BinaryMetadataValue = MetadataValue::from_bytes(bytes);
//!         let mut value = HeaderValue::from_bytes(value.as_encoded_bytes()).expect("base64 is ASCII");
//!         value.set_sensitive(true);
//!         Self(value)
//!     }
//! }
//!
//! impl Credential for Macaroon {
//!     fn apply(&self, request: &mut Parts) {
//!         request.headers.insert("macaroon-bin", self.0.clone());
//!     }
//!
//!     fn is_present(request: &Parts) -> bool {
//!         request.headers.contains_key("macaroon-bin")
//!     }
//! }
//! ```

mod answer;
mod compose;
mod future;
mod hold;
mod layer;
mod request;
mod response;
mod service;
mod watch;

pub use answer::GrpcAnswer;
pub use compose::refresh_layer;
pub use future::ResponseFuture;
pub use layer::TrailersLayer;
pub use request::RequestBody;
pub use response::ResponseBody;
pub use service::Trailers;
