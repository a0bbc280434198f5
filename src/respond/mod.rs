//! Responses in place of a session's errors, for stacks whose callers expect an answer: proxies
//! above all.
//!
//! A [`RespondLayer`] belongs above the [`RefreshLayer`](crate::RefreshLayer). An
//! [`Error`](crate::Error) of a session becomes a response, made by an [`Answer`]: [`HttpAnswer`]
//! for plain HTTP, `grpc::GrpcAnswer` for gRPC. Every other error passes as it is, and so does
//! every response. The error itself is in the extensions of the response, for what logs and counts
//! further up.
//!
//! # Examples
//!
//! A proxy tells its callers that they are logged out with a 401, and to come again with a 503:
//!
//! ```
//! use http::{Request, Response, StatusCode, header};
//! use http_body_util::Full;
//! use bytes::Bytes;
//! use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
//! use tower_refresh::{
//!     refresher_fn, respond::RespondLayer, Error, ErrorKind, Origins, RefreshContext, RefreshError,
//!     RefreshLayer, ReplayBody, Session, Token,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
//! let session = Session::new(Token::bearer("at-1")?, refresher);
//! let upstream = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
//!     let mut rejection = Response::new(Full::<Bytes>::default());
//!     *rejection.status_mut() = StatusCode::UNAUTHORIZED;
//!     Ok::<_, BoxError>(rejection)
//! });
//!
//! let proxy = ServiceBuilder::new()
//!     .layer(RespondLayer::default())
//!     .layer(RefreshLayer::new(session, Origins::relative_only()))
//!     .service(upstream);
//!
//! let response = proxy.oneshot(Request::new(Full::<Bytes>::default())).await?;
//! assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
//! let error = response.extensions().get::<Error>().expect("the answer has its error");
//! assert_eq!(error.kind(), ErrorKind::LoggedOut);
//! # Ok(()) }
//! ```
//!
//! The same with a time-out per request. It counts the wait for a refresh too, and its error is not
//! the session's:
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, timeout::TimeoutLayer};
//! use tower_refresh::{respond::{HttpAnswer, RespondLayer}, Origins, RefreshLayer, Session};
//!
//! # fn build<S>(session: Session, client: S) {
//! let proxy = ServiceBuilder::new()
//!     .layer(RespondLayer::new(HttpAnswer::new().retry_after(Duration::from_secs(5))))
//!     .layer(TimeoutLayer::new(Duration::from_secs(10)))
//!     .layer(RefreshLayer::new(session, Origins::relative_only()))
//!     .service(client);
//! # drop(proxy) }
//! ```

mod answer;
mod body;
mod future;
mod http;
mod layer;
mod reason;
mod service;
mod text;

pub use answer::Answer;
pub use body::AnswerBody;
pub use future::ResponseFuture;
pub use http::HttpAnswer;
pub use layer::RespondLayer;
pub use service::Respond;
#[cfg(feature = "grpc")]
pub(crate) use {reason::Reason, text::describe};
