//! One request to an auth server, through any HTTP client.
//!
//! A refresher that fails has to say whether its request was sent: a refresh token that may have
//! been used must not be used again, and one that was never sent can be. An [`Exchange`] sends a
//! request through the application's HTTP client, whatever its type, and answers that question. The
//! features `oauth2` and `cookies` send their requests through it, and so can a refresher for an
//! endpoint of another kind:
//!
//! ```
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use http::{Request, header};
//! use tower_refresh::exchange::{EndpointUrl, Exchange, RequestBody};
//! use tower_refresh::{RefreshContext, RefreshError, Session, Token, refresher_fn};
//!
//! # fn read_token(_: &[u8]) -> Option<Token> { None }
//! # fn main() -> Result<(), tower::BoxError> {
//! // `build_http` stands for a connector with TLS
//! let exchange = Exchange::new(Client::builder(TokioExecutor::new()).build_http());
//! let url = EndpointUrl::new("https://login.example.com/session/renew")?;
//!
//! let refresher = refresher_fn(move |context: RefreshContext| {
//!     let (exchange, uri) = (exchange.clone(), url.uri().clone());
//!     async move {
//!         let refresh_token = context.current().and_then(|token| token.refresh_token());
//!         let refresh_token = refresh_token.ok_or_else(|| RefreshError::terminal("no refresh token"))?;
//!         let request = Request::post(uri)
//!             .header(header::CONTENT_TYPE, "text/plain")
//!             .body(RequestBody::from(refresh_token.to_owned()))
//!             .map_err(RefreshError::transient)?;
//!
//!         // transient if the request was not sent, ambiguous if it was not answered
//!         let mut answer = exchange.send(request).await?;
//!         if !answer.status().is_success() {
//!             return Err(RefreshError::from_status(answer.status()));
//!         }
//!         let mut body = Vec::new();
//!         answer.read(&mut body, 64 * 1024).await.map_err(RefreshError::ambiguous)?;
//!         read_token(&body).ok_or_else(|| RefreshError::ambiguous("no token in the answer"))
//!     }
//! });
//! # drop(Session::<Token>::builder(refresher).build());
//! # Ok(()) }
//! ```
//!
//! # Was it sent?
//!
//! A request that failed was not sent if one of these holds:
//!
//! - the HTTP client never became ready;
//! - the HTTP client never asked the [`RequestBody`] for its content: the name was not resolved, no
//!   connection was made, the TLS handshake failed. The body then gives its content to no later
//!   caller;
//! - an [`io::Error`](std::io::Error) among the causes says that no connection was made;
//! - [`Exchange::unsent_if`] says so.
//!
//! Every other failure may have happened after the server acted on the request.
//!
//! # Connections
//!
//! A request over a kept-alive connection fails when the server closes the connection at that
//! moment. A refresh must not fail because of that, so each HTTP/1 request sends
//! `Connection: close`, and a client that is used for nothing else never keeps a connection.
//! [`Exchange::keep_alive`] changes that.

mod answer;
mod body;
mod client;
pub(crate) mod date;
mod error;
mod page;
mod retry_after;
mod transport;
pub(crate) mod url;

pub use answer::{Answer, ReadError};
pub use body::{GivenUp, RequestBody};
pub use client::Exchange;
pub use error::ExchangeError;
pub use page::is_page;
pub use retry_after::retry_after;
pub use url::{EndpointUrl, InvalidUrl};
