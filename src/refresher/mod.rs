//! The [`Refresher`] seam: how a session obtains its next credential.
//!
//! Most refreshers are a closure:
//!
//! ```
//! use tower_refresh::{refresher_fn, RefreshError, Token};
//!
//! # struct Answer { access_token: String, refresh_token: String }
//! # async fn post_to_token_endpoint(_: &str) -> Result<Answer, std::io::Error> { unimplemented!() }
//! let refresher = refresher_fn(|context| async move {
//!     let refresh_token = context
//!         .refresh_token()
//!         .ok_or_else(|| RefreshError::terminal("there is no refresh token"))?;
//!     let answer = post_to_token_endpoint(refresh_token).await.map_err(RefreshError::ambiguous)?;
//!     Ok(Token::bearer(answer.access_token)?.with_refresh_token(answer.refresh_token))
//! });
//! # let _session = tower_refresh::Session::<Token>::builder(refresher).build();
//! ```
//!
//! A named type implements the trait. A decorator wraps another refresher and passes the context
//! on, with changes where it has better information:
//!
//! ```
//! use std::sync::Arc;
//! use tower_refresh::{refresher::BoxFuture, RefreshContext, RefreshError, Refresher, Token};
//!
//! struct Logged<R>(R);
//!
//! impl<R: Refresher> Refresher for Logged<R> {
//!     fn refresh(&self, context: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
//!         Box::pin(async move {
//!             println!("refreshing, because {:?}", context.cause());
//!             self.0.refresh(context).await
//!         })
//!     }
//! }
//! ```
//!
//! A refresher runs in its own task. Dropping a request never cancels it. Only its time-out
//! ([`SessionBuilder::refresh_timeout`](crate::session::SessionBuilder::refresh_timeout)) or the
//! end of its runtime does.
//!
//! # Requests of a refresher
//!
//! A refresher may send requests through a client of its own session. They pass through untouched:
//! the layer adds no credential, does not wait and starts no refresh, and a 401 comes back as a
//! response. The session recognises these requests by the task that calls the client. Mark them
//! [`Anonymous`](crate::extension::Anonymous) where another task does so: when the refresher spawns
//! one, or when a `tower::buffer::Buffer` is *around* the layer. A session method that would wait
//! for the flight fails in the refresher with
//! [`ErrorKind::Recursive`](crate::ErrorKind::Recursive).
//!
//! A refresher or a hook that owns such a client owns the session, and the session owns it. This
//! cycle keeps the session alive for the rest of the program, which is what most programs want. If
//! that is not wanted, keep a [`WeakSession`](crate::session::WeakSession) and build the client
//! from it when it is needed.
//!
//! These rules extend to everything that a refresher causes: when its request makes a second
//! session refresh, the flight of that session does not wait for the first one either.
//!
//! [`Refresher`]: crate::Refresher

mod chain;
pub(crate) mod context;
pub(crate) mod contract;
pub(crate) mod fence;
pub(crate) mod refresher_fn;
pub(crate) mod rejection;
pub(crate) mod shared;

pub use chain::Chain;
pub use contract::BoxFuture;
pub use refresher_fn::RefresherFn;
pub use rejection::Rejection;

pub use crate::cause::Cause;
