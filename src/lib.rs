#![cfg_attr(docsrs, feature(doc_cfg))]
//! A [Tower] layer that keeps the credential of an HTTP or gRPC client fresh: however many requests
//! an expired token fails, it is refreshed once, and each of them is sent again.
//!
//! The first request that is rejected starts the one refresh. Everything else that is rejected, or
//! that comes meanwhile, waits for it and is sent with the new credential. When the refresh is
//! refused, all of them are told, the application's hook runs once, and later requests fail at once
//! until somebody logs in.
//!
//! ```no_run
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::{Layer, ServiceExt};
//! use tower_refresh::{refresher_fn, RefreshContext, RefreshError, RefreshLayer, Session, Token};
//!
//! # async fn ask_token_endpoint(_: &str) -> Result<(String, String), std::io::Error> { unimplemented!() }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower::BoxError> {
//! let refresher = refresher_fn(|context: RefreshContext| async move {
//!     let refresh_token = context.current().and_then(|token| token.refresh_token());
//!     let refresh_token = refresh_token.ok_or_else(|| RefreshError::terminal("no refresh token"))?;
//!     let (access, refresh) = ask_token_endpoint(refresh_token).await.map_err(RefreshError::ambiguous)?;
//!     Ok(Token::bearer(access)?.with_refresh_token(refresh))
//! });
//! let session = Session::new(Token::bearer("at-1")?.with_refresh_token("rt-1"), refresher);
//!
//! let client = Client::builder(TokioExecutor::new()).build_http();
//! let client = RefreshLayer::new(session.clone()).layer(client);
//!
//! let request = Request::get("http://localhost:8080/api/user").body(Full::<Bytes>::default())?;
//! let response = client.oneshot(request).await?;
//! # drop(response);
//! # Ok(()) }
//! ```
//!
//! # The parts
//!
//! - A [`Session`] is what all clones of a client share: the current credential, and where it
//!   stands. Several layers may wear one session. Its [module docs](session) have the state machine
//!   and the guarantees.
//! - A [`RefreshLayer`] puts a [`Refresh`] around any HTTP service: hyper-util's client, a tonic
//!   channel, a stack.
//! - Three seams say what differs from one use to the next: a [`Credential`] is put on a request
//!   ([`Token`] is the ready-made one), a [`Refresher`] obtains the next one, and a
//!   [`Detect`](detect::Detect) recognises a response that rejects it.
//!
//! # Errors
//!
//! A [`Refresh`] answers with a [`BoxError`]: the inner service's own errors as
//! they are, and an [`Error`] where the session is the reason. [`Error::kind`] says what it means.
//!
//! # Cancel safety
//!
//! Any request, and every future of this crate, may be dropped at any time. The refresh is a task
//! of its own: it is never lost with whoever started it.
//!
//! # Order in a stack
//!
//! From the outside in: what shapes failures into responses, `Timeout` per request,
//! `FollowRedirect`, **`RefreshLayer`**, `Retry` for transport errors, tracing per attempt,
//! concurrency limits, the client. The wait for a refresh counts towards the time-out of the
//! request. Inside `FollowRedirect` each hop would carry the credential: set
//! [`RefreshLayer::origins`].
//!
//! # Features
//!
//! A feature adds modules and changes nothing else, but for `zeroize`, which adds a last step to
//! freeing memory. None is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `client` | module `client`: an HTTPS client for those who have none |
//! | `cookies` | module `cookies`: a credential that is a cookie jar, its refresher and its logout hook |
//! | `exchange` | module `exchange`: one request to an auth server, and whether it was sent; `cookies` and `oauth2` enable it |
//! | `grpc` | module `grpc` and `detect::GrpcUnauthenticated`: status 16 wherever it hides |
//! | `oauth2` | module `oauth2`: refreshers for a token endpoint, and revocation; enables `zeroize` |
//! | `zeroize` | a [`Secret`](credential::Secret), and so the refresh token of a [`Token`], wipes its memory |
//!
//! # The runtime
//!
//! Refreshes run as Tokio tasks, with time enabled. See [`session`](session#the-runtime).
//!
//! # Minimum supported Rust version
//!
//! 1.88. Raising it is a minor change.
//!
//! [Tower]: https://docs.rs/tower

#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub mod client;
#[cfg(feature = "cookies")]
#[cfg_attr(docsrs, doc(cfg(feature = "cookies")))]
pub mod cookies;
pub mod credential;
pub mod detect;
#[cfg(feature = "exchange")]
#[cfg_attr(docsrs, doc(cfg(feature = "exchange")))]
pub mod exchange;
#[cfg(feature = "grpc")]
#[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
pub mod grpc;
#[cfg(feature = "oauth2")]
#[cfg_attr(docsrs, doc(cfg(feature = "oauth2")))]
pub mod oauth2;
pub mod refresher;
pub mod respond;
pub mod session;

mod error;
mod identity;
mod middleware;
mod replay;

pub use credential::{contract::Credential, origin::Origin, token::Token};
pub use error::{BoxError, Error, ErrorKind, RefreshError, RefreshErrorKind};
pub use middleware::{
    extension, future, layer::RefreshLayer, policy::FailureMode, service::Refresh,
};
pub use refresher::{RefreshContext, Refresher, refresher_fn};
pub use replay::ReplayBody;
pub use session::handle::Session;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
