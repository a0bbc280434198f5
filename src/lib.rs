#![cfg_attr(docsrs, feature(doc_cfg))]
//! A [Tower] layer that keeps the credential of an HTTP or gRPC client fresh.
//!
//! An access token expires while requests are in flight, and all of them return with a 401. The
//! first rejection starts one refresh. All other rejected requests, and all new ones, wait for it
//! and are sent with the new credential. When the refresh is refused, all of them fail, the
//! application's logout hook runs once, and later requests fail without being sent until the next
//! login.
//!
#![cfg_attr(doc, doc = include_str!("../docs/herd.svg"))]
//!
//! # Example
//!
//! A client of hyper-util whose tokens are renewed by the application's own code:
//!
//! ```no_run
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::Layer;
//! use tower_refresh::{
//!     BoxError, Origin, RefreshContext, RefreshError, RefreshLayer, Session, Token, refresher_fn,
//! };
//!
//! # async fn post_refresh_token(_: &str) -> Result<(String, String), std::io::Error> { unimplemented!() }
//! #[tokio::main]
//! async fn main() -> Result<(), BoxError> {
//!     // The refresher obtains the next token. Its error says whether the login has ended.
//!     let refresher = refresher_fn(|context: RefreshContext| async move {
//!         let token = context.current().ok_or_else(|| RefreshError::terminal("not logged in"))?;
//!         let refresh_token = token.refresh_token().unwrap_or_default();
//!         match post_refresh_token(refresh_token).await {
//!             Ok((access, refresh)) => Ok(Token::bearer(access)?.with_refresh_token(refresh)),
//!             Err(error) => Err(RefreshError::ambiguous(error)),
//!         }
//!     });
//!     // The session is shared by all clones of the client.
//!     let login = Token::bearer("at-1")?.with_refresh_token("rt-1");
//!     let session = Session::new(login, refresher);
//!     // The layer sends the token to this origin only. Any HTTP client that is a Tower service
//!     // can take the place of hyper-util's.
//!     let api = Origin::from_static("http://localhost:8080");
//!     let client = Client::builder(TokioExecutor::new()).build_http();
//!     let client = RefreshLayer::new(session.clone(), api).layer(client);
//!
//!     let request = Request::get("http://localhost:8080/user").body(Full::<Bytes>::default())?;
//!     println!("{}", client.request(request).await?.status());
//!
//!     session.logout().await;
//!     Ok(())
//! }
//! ```
//!
//! The feature `oauth2` has refreshers for OAuth 2 token endpoints, and `cookies` has one for
//! cookie sessions.
//!
//! # The parts
//!
//! - A [`Session`] holds the current credential and runs the refresh. Several clients and layers
//!   may share one session. The [module docs](session) have its state machine.
//! - A [`RefreshLayer`] puts a [`Refresh`] service around an HTTP service: hyper-util's client, a
//!   tonic channel, or a stack of layers.
//! - Three traits are the seams. A [`Credential`] is put on a request ([`Token`] is the one for
//!   bearer tokens), a [`Refresher`] obtains the next credential, and a
//!   [`Detect`](detect::Detect) recognises the response that rejects one.
//! - The [recipes] show how to use the layer in reqwest, tonic, octocrab, kube and other clients.
//! - A [`RespondLayer`](respond::RespondLayer) turns errors of a session into responses, for
//!   proxies.
//! - An [`Observer`](observe::Observer) is told of each refresh, rejection, wait and login.
//! - [`testing`] makes errors, ended logins, states and events, for the tests of an application.
//!
//! # Guarantees
//!
//! - Any number of rejected requests cause one refresh, whether it succeeds or fails. A rejection
//!   that arrives after the refresh causes no second one.
//! - Each rejected request is replayed at most once, with the same method, headers, extensions,
//!   body and trailers.
//! - A refresh ends by its deadline. It survives every caller that is dropped, and each request
//!   that waits for it gets its result.
//! - After a refusal or a logout no request is sent with the ended login's credential, and the
//!   logout hook runs once. A refresh that fails otherwise ends no login, and backs off.
//! - No request of one login is sent with the credential of another.
//! - A credential is sent to the layer's [`Origins`] only, in cleartext only where they permit it,
//!   and is shown in no error and no `Debug` output.
//!
//! The [session docs](session#guarantees) state them exactly, with numbers that code and tests use.
//!
//! # Errors
//!
//! A [`Refresh`] service fails with a [`BoxError`]. Errors of the inner service pass through as
//! they are. An error of the session is an [`Error`], found by a downcast, and its
//! [`kind`](Error::kind) says what the caller can do.
//!
//! # Cancel safety
//!
//! Every future of this crate may be dropped at any time. A refresh runs in a task of its own, so
//! dropping the request that started it does not cancel it.
//!
//! # Order in a stack
//!
//! ```text
//!  caller
//!    ▼
//!  RespondLayer      for proxies: an error of the session becomes a 401 or a 503
//!  Timeout           one deadline per request, which includes the wait for a refresh
//!  FollowRedirect    each hop passes through the layer, whose origins decide which hops get the token
//!  RefreshLayer ───► Session ───► Refresher ───► token endpoint
//!  Retry             transport errors of one attempt
//!  Trace, limits     each attempt is seen; a request that waits for a refresh holds no permit
//!    ▼
//!  HTTP client       hyper-util, a tonic channel, or any other Service<Request<B>>
//! ```
//!
//! # Features
//!
//! No feature is on by default. A feature adds API and changes no behaviour, except that `zeroize`
//! wipes memory before it is freed.
//!
//! | feature | adds |
//! |---|---|
//! | `client` | module `client`: an HTTPS client, hyper-util over rustls |
//! | `cookies` | module `cookies`: a cookie jar as a credential, its refresher and its logout hook |
//! | `exchange` | module `exchange`: one request to an auth server, and whether it was sent; `cookies`, `oauth2` and `reqwest` enable it |
//! | `grpc` | module `grpc`: one layer for a gRPC client, and its parts |
//! | `metrics` | module `observe::metrics`: an observer that records counters, gauges and histograms |
//! | `oauth2` | module `oauth2`: refreshers for a token endpoint, and revocation; enables `zeroize` |
//! | `platform-roots` | `client::Https::with_platform_roots`: the root certificates of the platform; enables `client` |
//! | `redis` | `store::Redis`: a store in Redis, Valkey or a cluster of them; enables `store` |
//! | `reqwest` | module `reqwest`: reqwest's client as an inner service, and requests of its builder; enables `exchange` |
//! | `reqwest-middleware` | `reqwest::RefreshMiddleware`: the layer as a middleware; enables `reqwest` |
//! | `sealed` | `store::Sealed`: encryption of the records of any store; enables `store` and `zeroize` |
//! | `sessions` | module `sessions`: a registry with a session for each user, and its layer, for proxies and gateways |
//! | `store` | module `store`: sessions that outlive their process, and one refresh for all replicas |
//! | `token-file` | module `token_file`: a refresher that reads a file which another program rotates; `oauth2` enables it |
//! | `tracing` | module `observe::tracing`: an observer that makes a span of each refresh, and events |
//! | `zeroize` | a [`Secret`](credential::Secret), and so the refresh token of a [`Token`], wipes its memory |
//!
//! # The runtime
//!
//! Refreshes are Tokio tasks and need a runtime with time enabled. See
//! [`session`](session#the-runtime).
//!
//! # Minimum supported Rust version
//!
//! Rust 1.89. A minor release may raise it.
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
pub mod head;
#[cfg(feature = "oauth2")]
#[cfg_attr(docsrs, doc(cfg(feature = "oauth2")))]
pub mod oauth2;
pub mod observe;
pub mod peek;
#[cfg(doc)]
pub mod recipes;
pub mod refresher;
#[cfg(feature = "reqwest")]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
pub mod reqwest;
pub mod respond;
pub mod session;
#[cfg(feature = "sessions")]
#[cfg_attr(docsrs, doc(cfg(feature = "sessions")))]
pub mod sessions;
#[cfg(feature = "store")]
#[cfg_attr(docsrs, doc(cfg(feature = "store")))]
pub mod store;
pub mod testing;
#[cfg(feature = "token-file")]
#[cfg_attr(docsrs, doc(cfg(feature = "token-file")))]
pub mod token_file;

mod cause;
mod error;
mod identity;
#[cfg(feature = "token-file")]
#[cfg_attr(
    not(feature = "oauth2"),
    allow(dead_code, reason = "a token file is read for one number")
)]
mod json;
mod middleware;
mod replay;

pub use credential::{contract::Credential, origin::Origin, origins::Origins, token::Token};
pub use error::{BoxError, Error, ErrorKind, RefreshError, RefreshErrorKind};
pub use middleware::{
    extension, future, layer::RefreshLayer, per_request::RefreshPerRequest, policy::FailureMode,
    service::Refresh, source::PerRequest,
};
pub use refresher::{context::RefreshContext, contract::Refresher, refresher_fn::refresher_fn};
pub use replay::ReplayBody;
pub use session::handle::Session;

#[cfg(all(doctest, feature = "client", feature = "oauth2", feature = "sessions"))]
#[doc = include_str!("../README.md")]
struct ReadMe;
