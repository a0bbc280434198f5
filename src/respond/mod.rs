//! Responses in place of a session's errors, for proxies and other stacks whose callers expect a
//! response.
//!
//! A [`RespondLayer`] belongs above the [`RefreshLayer`](crate::RefreshLayer). It turns each
//! [`Error`](crate::Error) of a session into a response, which an [`Answer`] makes: [`HttpAnswer`]
//! for plain HTTP, `grpc::GrpcAnswer` for gRPC, [`answer_fn()`] for a closure. All other errors and
//! all responses pass unchanged. The extensions of the response have the error itself, for layers
//! above that log or count.
//!
//! # Examples
//!
//! A proxy that answers 401 when its session is logged out, and 503 when a refresh has failed for
//! now:
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
//! A time-out per request, which includes the wait for a refresh. Its error is not the session's,
//! so it passes unchanged:
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
mod answer_fn;
mod body;
mod class;
mod future;
mod http;
mod layer;
mod service;
mod text;

pub use answer::Answer;
pub use answer_fn::{AnswerFn, answer_fn};
pub use body::AnswerBody;
pub use future::ResponseFuture;
pub use http::HttpAnswer;
pub use layer::RespondLayer;
pub use service::Respond;
#[cfg(feature = "grpc")]
pub(crate) use {class::ErrorClass, text::describe};
