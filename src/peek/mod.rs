//! Detection of rejections in the body of a response.
//!
//! GraphQL servers, ArcGIS and others answer 200 and say in the body that the token has expired. A
//! [`PeekLayer`] below the [`RefreshLayer`](crate::RefreshLayer) reads the beginning of such
//! responses. It has two predicates:
//!
//! - The first one sees the head of a response, and tells whether to read the body. All other
//!   responses pass at once.
//! - The second one sees the [beginning of the body](BodyStart), up to a
//!   [limit](PeekLayer::limit), and tells whether it rejects the credential.
//!
//! A response that rejects the credential gets the marker [`Rejected`](crate::extension::Rejected),
//! and the `RefreshLayer` treats it like a 401. Its body is handed on whole, like that of every
//! other response: the same frames in the same order, trailers included.
//!
//! The layer reads only responses to requests that carry the session's credential, and recognises
//! them by their [`Stamp`](crate::extension::Stamp): the `RefreshLayer` has to
//! [expose it](crate::RefreshLayer::expose_stamp).
//!
//! # Latency
//!
//! A response whose body is read has its head delayed until the limit or the end of the body. The
//! first predicate should therefore exclude streams, such as `text/event-stream`.
//!
//! A compressed body has to be decompressed below the layer.
//!
//! # Examples
//!
//! GraphQL over HTTP, with the error code of Apollo Server:
//!
//! ```
//! use http::header::CONTENT_TYPE;
//! use tower::ServiceBuilder;
//! use tower_refresh::{
//!     Origin, RefreshLayer, Session,
//!     peek::{BodyStart, PeekLayer},
//!     head::ResponseHead,
//! };
//!
//! fn is_graphql(response: &ResponseHead<'_>) -> bool {
//!     let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
//!     response.request().uri().path() == "/graphql"
//!         && content_type.is_some_and(|value| {
//!             value.starts_with("application/json")
//!                 || value.starts_with("application/graphql-response+json")
//!         })
//! }
//!
//! fn is_unauthenticated(start: &BodyStart<'_>) -> bool {
//!     start.contains(r#""errors""#) && start.contains(r#""code":"UNAUTHENTICATED""#)
//! }
//!
//! # fn build<S: Clone>(session: Session, client: S) {
//! let origin = Origin::from_static("https://api.example.com");
//! let client = ServiceBuilder::new()
//!     .layer(RefreshLayer::new(session, origin).expose_stamp(true))
//!     .layer(PeekLayer::new(is_graphql, is_unauthenticated).limit(4096))
//!     .service(client);
//! # drop(client) }
//! ```
//!
//! ArcGIS answers 200 with the code 498 (invalid token) or 499 (token required) in the body:
//!
//! ```
//! use http::StatusCode;
//! use tower_refresh::peek::PeekLayer;
//!
//! let layer = PeekLayer::new(
//!     |response| response.status() == StatusCode::OK,
//!     |start| {
//!         let text = start.to_str_lossy();
//!         let code = text.strip_prefix(r#"{"error":{"code":"#);
//!         code.is_some_and(|code| code.starts_with("498,") || code.starts_with("499,"))
//!     },
//! )
//! .limit(64);
//! # drop(layer);
//! ```

mod body;
mod future;
mod layer;
mod predicates;
mod service;
mod start;

pub use body::PeekBody;
pub use future::ResponseFuture;
pub use layer::PeekLayer;
pub use service::Peek;
pub use start::BodyStart;
