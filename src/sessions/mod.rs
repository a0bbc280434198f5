//! A session for each user: what a proxy, a gateway or a back-end for front-ends needs.
//!
//! [`Sessions`] is a registry: it makes a session for each key, and hands the same one to all
//! callers. A [`SessionsLayer`] finds the user of a request and puts the user's session into the
//! request's extensions. A [`RefreshLayer::per_request`](crate::RefreshLayer::per_request) takes it
//! from there and sends the request with its credential. A proxy is a stack of three answers: who
//! is it, which session, where does it go.
//!
//! # Example
//!
//! A gateway whose users are known by a session cookie. It overwrites an `authorization` that a
//! browser sends itself, and keeps the cookies of the browser from the upstream:
//!
//! ```
//! use std::time::Duration;
//!
//! use http::{Uri, Version, header::CONTENT_TYPE};
//! use tower::{ServiceBuilder, Service, BoxError};
//! use tower_refresh::{
//!     Origin, RefreshLayer, Refresher, ReplayBody, Session,
//!     respond::{HttpAnswer, RespondLayer},
//!     session::EndedLogin,
//!     sessions::{CookieKey, Sessions, SessionsLayer},
//! };
//!
//! # async fn revoke(_: EndedLogin) {}
//! fn sessions(refresher: impl Refresher) -> Sessions<String> {
//!     let template = Session::builder(refresher).max_waiters(100).on_login_end(revoke).template();
//!     Sessions::builder(template)
//!         .idle_timeout(Duration::from_secs(30 * 60))
//!         .lifetime(Duration::from_secs(12 * 60 * 60))
//!         .build()
//! }
//!
//! # type Request = http::Request<http_body_util::Full<bytes::Bytes>>;
//! # type Response = http::Response<http_body_util::Full<bytes::Bytes>>;
//! fn gateway<S>(sessions: Sessions<String>, client: S) -> impl Service<Request, Error = BoxError>
//! where
//!     S: Service<http::Request<ReplayBody<http_body_util::Full<bytes::Bytes>>>, Response = Response>
//!         + Clone,
//!     S::Error: Into<BoxError>,
//! {
//!     ServiceBuilder::new()
//!         .layer(RespondLayer::new(HttpAnswer::new()))
//!         .layer(SessionsLayer::new(sessions, CookieKey::new("__Host-session")))
//!         .map_request(to_upstream)
//!         .layer(
//!             RefreshLayer::per_request(Origin::from_static("https://api.example.com"))
//!                 .overwrite(true),
//!         )
//!         .service(client)
//! }
//!
//! /// The request for the upstream. Its extensions have the session.
//! fn to_upstream(request: Request) -> Request {
//!     let (mut head, body) = request.into_parts();
//!     let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
//!     let uri = Uri::builder().scheme("https").authority("api.example.com").path_and_query(path);
//!     head.uri = uri.build().unwrap_or_default();
//!     head.version = Version::HTTP_11;
//!     let content_type = head.headers.remove(CONTENT_TYPE);
//!     head.headers = content_type.map(|value| (CONTENT_TYPE, value)).into_iter().collect();
//!     Request::from_parts(head, body)
//! }
//! # let request = http::Request::get("/user?a=b").header("cookie", "__Host-session=f3b1");
//! # let forwarded = to_upstream(request.body(http_body_util::Full::default()).unwrap());
//! # assert_eq!(forwarded.uri(), "https://api.example.com/user?a=b");
//! # assert!(forwarded.headers().is_empty());
//! ```
//!
//! A request of a browser names the path alone, or an address of the browser's choice. Without
//! `to_upstream`, the layer would send it without a credential, like any request for a foreign
//! origin.
//!
//! Users log in and out by the registry. In a task of its own, [`Sessions::maintain`] ends what is
//! idle:
//!
//! ```
//! use tower_refresh::{Error, Token, sessions::Sessions};
//!
//! # async fn f(sessions: Sessions<String>, token: Token) -> Result<(), Error> {
//! tokio::spawn(sessions.maintain());
//!
//! let cookie = "4f1c…".to_owned(); // a new, unguessable value for each login
//! sessions.login(&cookie, token).await?;
//! sessions.logout(&cookie).await?;
//! # Ok(()) }
//! ```
//!
//! The package `examples/bff` of the repository is a back-end for browsers around this stack, with
//! a login page, logout and a status page.
//!
//! With the feature `store`, `SessionsBuilder::stored` keeps the logins in a store: a user who is
//! not in memory is found there, and replicas share the logins. Without it, a login lasts as long
//! as the process, or is found by a function of the application ([`SessionsBuilder::load`]).
//!
//! # Guarantees
//!
//! They go on from those of [sessions](crate::session#guarantees) and
//! [stores](../store/index.html#guarantees).
//!
//! 20. **One live session for a key.** All callers get the same session, until nothing holds it and
//!     no flight runs for it. Only then may the registry forget it, and only if its login is over
//!     or can be loaded again. To forget a session ends no login.
//! 21. **No crossing.** A request without a session is never sent with the session of another
//!     request. A slow refresh, a full queue of waiters or a failing load of one user holds up no
//!     other user.
//!
//! # Memory
//!
//! A signed-in user takes less than 1 KiB beside the credential and the key. The number of sessions
//! is bounded by [`SessionsBuilder::capacity`]. A caller who invents keys gets sessions without a
//! login, which are forgotten first. They never displace a login that cannot be loaded again.
//!
//! The [observers](crate::observe) of the template are told of each session that is evicted, and of
//! each one that a full registry refuses.
//!
//! The registry holds no lock while it runs code of the user, except `Eq` of a key. `Hash` and `Eq`
//! must not call the registry.

mod builder;
pub mod future;
mod handle;
mod layer;
mod loading;
mod opening;
mod registry;
mod select;
mod service;
mod settings;
mod shard;
mod source;
#[cfg(feature = "store")]
mod stored;
mod table;
mod tenant;

pub use builder::SessionsBuilder;
pub use handle::Sessions;
pub use layer::SessionsLayer;
pub use select::{CookieKey, KeyFn, SelectKey, key_fn};
pub use service::WithSession;
