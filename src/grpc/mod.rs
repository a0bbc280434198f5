//! gRPC clients: one layer for a client, and its parts for a proxy.
//!
//! A tonic interceptor can't wait for a refresh, and a tonic request can't be cloned for a retry. A
//! [`GrpcRefreshLayer`] does both. It is a stack of three parts, which a proxy uses one by one:
//!
//! - A [`RefreshLayer`](crate::RefreshLayer) made by [`refresh_layer`] detects rejections in heads.
//! - A [`TrailersLayer`] below it detects rejections that are not in the head of a response.
//! - A [`RespondLayer`](crate::respond::RespondLayer) with a [`GrpcAnswer`] above it turns the
//!   session's errors into gRPC statuses. Errors of the channel pass unchanged: an unreachable
//!   server is still `Unavailable`.
//!
//! This module does not depend on tonic, so it serves every version of it.
//!
//! # Examples
//!
//! A tonic client. Clients that `tonic-build` generates take the layered channel in place of a
//! `Channel`:
//!
//! ```no_run
//! use tonic::{body::Body, client::GrpcService, transport::Channel};
//! use tower::Layer;
//! use tower_refresh::{Origin, Session, grpc::GrpcRefreshLayer};
//!
//! # struct GreeterClient<T>(T);
//! # impl<T: GrpcService<Body>> GreeterClient<T> { fn new(channel: T) -> Self { Self(channel) } }
//! # fn build(session: Session) {
//! let channel = Channel::from_static("https://api.example.com").connect_lazy();
//! let api = Origin::from_static("https://api.example.com");
//! let client = GreeterClient::new(GrpcRefreshLayer::new(session, api, Body::new).layer(channel));
//! # drop(client) }
//! ```
//!
//! [`GrpcRefresh`] shows the types by which a struct keeps such a client, without and with a box.
//!
//! A gRPC proxy that puts its own credential on the calls that it forwards. Its callers are not
//! trusted, so their answers name no causes. Uploads of any length pass, and those of up to a
//! megabyte are replayed:
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
//! # Where a rejection arrives
//!
//! | UNAUTHENTICATED arrives | detected by | the call |
//! |---|---|---|
//! | in the head, or as a plain HTTP 401 | [`GrpcUnauthenticated`](crate::detect::GrpcUnauthenticated) | is replayed |
//! | in trailers before any message | [`TrailersLayer`] | is replayed |
//! | in trailers after a message | [`TrailersLayer`] | fails with its status; the next call waits for the refresh |
//!
//! In the second case the layer merges headers and trailers into one head, which is gRPC's
//! `Trailers-Only` form of the same response. The caller gets that form if the call can't be
//! replayed. In the third case the frames pass unchanged, and the rejection is [reported to the
//! session](crate::extension::Stamp::reject).
//!
//! All other frames pass unchanged and in order. The layer looks only at calls and responses of
//! type `application/grpc` that carry the session's credential. A server that uses
//! another status for an expired token needs its own [detector](TrailersLayer::detect).
//!
//! # gRPC-Web
//!
//! The trailers of gRPC-Web are data on the wire. `tonic_web::GrpcWebClientLayer` turns them into
//! trailers, so it belongs *below* the layer that detects them:
//!
//! ```text
//! generated client ─► GrpcRefreshLayer ─► GrpcWebClientLayer ─► HTTP client
//! ```
//!
//! # Held headers
//!
//! A handler that fails after it has sent its headers rejects the call in two frames, and the
//! second one may arrive a moment later. So the headers are held until the frame after them:
//!
//! - **A call that is still sending** is never held: its client may wait for the headers before it
//!   sends more, and the server may wait for the client. A frame that has arrived together with
//!   the headers is seen.
//! - **A call that has sent everything**, unary or server streaming, is held until its first frame,
//!   for at most [20 milliseconds](TrailersLayer::grace). A unary call loses nothing, since it ends
//!   with its trailers anyway. A server stream whose first message takes longer gets its headers 20
//!   milliseconds later, and its messages without delay.
//!
//! Trailers that arrive later are treated like trailers after a message.
//!
//! # Streaming
//!
//! A replay takes over an upload that is rejected while it is in progress: the second attempt sends
//! the messages so far and then continues. An upload beyond the
//! [`replay_limit`](crate::RefreshLayer::replay_limit) is not replayed. The call then fails with
//! its own status, and the refresh runs for the next call.
//!
//! # Deadlines
//!
//! `grpc-timeout` and all other metadata are the same on both attempts. A tonic channel applies the
//! time-out to each attempt, and not to the wait for a refresh. A time-out above the layer bounds
//! all of the call:
//!
//! ```
//! use std::time::Duration;
//! use tonic::Status;
//! use tower::{BoxError, ServiceBuilder, timeout::{TimeoutLayer, error::Elapsed}};
//! # use tonic::{body::Body, transport::Channel};
//! # use tower_refresh::{Origin, Session, grpc::GrpcRefreshLayer};
//!
//! # fn build(session: Session, api: Origin, channel: Channel) {
//! let channel = ServiceBuilder::new()
//!     .map_err(|error: BoxError| match error.downcast::<Elapsed>() {
//!         Ok(elapsed) => Status::deadline_exceeded(elapsed.to_string()).into(),
//!         Err(error) => error,
//!     })
//!     .layer(TimeoutLayer::new(Duration::from_secs(10)))
//!     .layer(GrpcRefreshLayer::new(session, api, Body::new))
//!     .service(channel);
//! # drop(channel) }
//! ```
//!
//! # Metadata
//!
//! A [`Token`](crate::Token) is sent as the ASCII metadata `authorization`. Your own
//! [`Credential`](crate::Credential) may set any key, also a binary one. On the wire, the value of
//! a key that ends in `-bin` is base64:
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
mod client;
mod compose;
mod future;
mod layer;
mod request;
mod response;
mod service;
mod timer;
mod tracking;

pub use answer::GrpcAnswer;
pub use client::{GrpcRefresh, GrpcRefreshLayer, GrpcResponseFuture};
pub use compose::refresh_layer;
pub use future::ResponseFuture;
pub use layer::TrailersLayer;
pub use request::RequestBody;
pub use response::ResponseBody;
pub use service::Trailers;
