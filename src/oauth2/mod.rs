//! OAuth 2: credentials from a token endpoint.
//!
//! [`RefreshTokenGrant`] renews a token by its refresh token ([RFC 6749 §6]), [`ClientCredentialsGrant`]
//! obtains one for the client itself ([§4.4]). Both send through any HTTP client that is a Tower
//! service, so that your connector, proxy and TLS apply:
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::Layer;
//! use tower_refresh::oauth2::{self, ClientCredentialsGrant, EndpointUrl, TokenEndpoint};
//! use tower_refresh::{RefreshLayer, ReplayBody, Session, Token};
//!
//! # fn main() -> Result<(), tower::BoxError> {
//! // `build_http` stands for a connector with TLS
//! let http = Client::builder(TokioExecutor::new()).build_http();
//! let url = EndpointUrl::new("https://login.example.com/oauth/token")?;
//! let tokens = TokenEndpoint::new(http, url, oauth2::ClientAuth::basic("my-service", "s3cr3t")).scope("read");
//!
//! // the first request gets the first token
//! let session = Session::<Token>::builder(ClientCredentialsGrant::new(tokens)).acquire_on_demand(true).build();
//!
//! let api: Client<_, ReplayBody<Full<Bytes>>> = Client::builder(TokioExecutor::new()).build_http();
//! let api = RefreshLayer::new(session).layer(api);
//! # drop(api);
//! # Ok(()) }
//! ```
//!
//! A user's session, of the tokens that a login brought, with what differs from server to server;
//! its end is told to the server by a [`Revocation`]:
//!
//! ```
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower_refresh::{
//!     oauth2::{self, EndpointUrl, RefreshTokenGrant, Revocation, DefaultClassify, TokenEndpoint},
//! };
//! use tower_refresh::oauth2::{classify_fn, Classify};
//! use tower_refresh::{session::AmbiguousOutcome, RefreshErrorKind, Session, Token};
//!
//! # fn session(access_token: &str, refresh_token: &str) -> Result<Session, tower::BoxError> {
//! let http = Client::builder(TokioExecutor::new()).build_http();
//! let me = oauth2::ClientAuth::public("my-app");
//! let url = EndpointUrl::new("https://login.example.com/oauth/token")?;
//! let tokens = TokenEndpoint::new(http.clone(), url, me.clone())
//!     .audience("https://api.example.com")
//!     .classify(classify_fn(|refusal| match refusal.error() {
//!         Some("interaction_required") => RefreshErrorKind::Terminal,
//!         _ => DefaultClassify.classify(refusal),
//!     }));
//! let revocation = Revocation::new(http, EndpointUrl::new("https://login.example.com/oauth/revoke")?, me);
//!
//! let session = Session::builder(RefreshTokenGrant::new(tokens))
//!     .credential(Token::bearer(access_token)?.with_refresh_token(refresh_token))
//!     .on_ambiguous(AmbiguousOutcome::Retry)
//!     .on_login_end(revocation.into_hook())
//!     .build();
//! # Ok(session) }
//! # fn main() { session("at-1", "rt-1").unwrap(); }
//! ```
//!
//! # Answers
//!
//! - A refresh token in the answer takes the place of the old one, which is kept otherwise. An
//!   empty one is none.
//! - `expires_in` is taken as a number or as a string of one. If it is missing, negative, zero,
//!   nonsense or beyond what a clock can say, the expiry is unknown: the upstream decides.
//! - Any success with an `error` in it is a failure. A `token_type` other than `Bearer`, in any
//!   case, is one as well; a missing one is `Bearer`. What the body is decides, not its
//!   `Content-Type`.
//! - At most 64 KiB are read ([`TokenEndpoint::answer_limit`]).
//! - Redirects are not followed. Give it no HTTP client that does: the body holds the refresh
//!   token.
//!
//! # Failures
//!
//! | what happened | kind |
//! |---|---|
//! | nobody asked the [`Form`] for its content: no name, no connection, or not in time, no TLS, a client that is never ready | transient |
//! | anything else without an answer | [ambiguous](crate::RefreshErrorKind::Ambiguous) |
//! | a success without a usable token: cut off, too long, no JSON, a token that no header can carry | ambiguous |
//! | a refusal | what [`Classify`] says; [`DefaultClassify`] by default |
//!
//! A success that can't be read is ambiguous because the refresh token may be used up by it.
//! `Retry-After` takes the place of the session's back-off, unless it is over already. A connection
//! that is never made is given up after a while ([`TokenEndpoint::connect_timeout`]), and a token
//! endpoint that never answers after
//! [`SessionBuilder::refresh_timeout`](crate::session::SessionBuilder::refresh_timeout). A form that was not
//! asked for by then is never sent.
//!
//! # Secrets
//!
//! Client secrets are kept in a [`Secret`], and so is the refresh token of a [`Token`]; what is
//! sent is in a [`Form`]. All of them wipe their memory when they are dropped. Not wiped are access
//! tokens, which are in every request anyway, the values of [`TokenEndpoint::param`], and the
//! copies that the HTTP client, TLS, `serde_json` and the `oauth2` crate make while a request is
//! under way, the body of the answer among them.
//!
//! No secret is in a URL, in an error or in a `Debug` output: of an error response the code alone
//! is shown, and not its description, where some servers repeat the token.
//!
//! [RFC 6749 §6]: https://www.rfc-editor.org/rfc/rfc6749#section-6
//! [§4.4]: https://www.rfc-editor.org/rfc/rfc6749#section-4.4
//! [`Token`]: crate::Token

mod answer;
mod classify;
mod client_auth;
mod client_credentials_grant;
mod endpoint;
mod error;
mod form;
mod lifetime;
mod refresh_token_grant;
mod revocation;
mod transport;
mod url;

pub use classify::{Classify, ClassifyFn, DefaultClassify, Refusal, classify_fn};
pub use client_auth::ClientAuth;
pub use client_credentials_grant::ClientCredentialsGrant;
pub use endpoint::TokenEndpoint;
pub use form::{Form, GivenUp};
pub use refresh_token_grant::RefreshTokenGrant;
pub use revocation::{Revocation, RevocationError};
pub use url::{EndpointUrl, InvalidUrl};

pub use crate::credential::Secret;
