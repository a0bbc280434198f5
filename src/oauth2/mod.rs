//! OAuth 2: credentials from a token endpoint.
//!
//! [`RefreshTokenGrant`] renews a token by its refresh token ([RFC 6749 §6]).
//! [`ClientCredentialsGrant`] obtains one for the client itself ([§4.4]). Both send through any
//! HTTP client that is a Tower service, so the application's connector, proxy and TLS apply:
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::Layer;
//! use tower_refresh::oauth2::{self, ClientCredentialsGrant, EndpointUrl, TokenEndpoint};
//! use tower_refresh::{Origin, RefreshLayer, ReplayBody, Session, Token};
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
//! let api = RefreshLayer::new(session, Origin::from_static("https://api.example.com")).layer(api);
//! # drop(api);
//! # Ok(()) }
//! ```
//!
//! A user's session with the tokens of a login and a classifier for one server. A [`Revocation`]
//! tells the server about the end of the login:
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
//! - A refresh token in the answer replaces the old one, which is kept otherwise.
//! - `expires_in` is a number, or a string of one. A value that is missing, negative, zero or
//!   beyond every clock leaves the expiry unknown, and the upstream decides.
//! - An `error` makes an answer a refusal, whatever its status. The values `null`, `false`, `0`,
//!   `""`, `{}` and `[]` are no error.
//! - A token without a type is a bearer token. Other types than `Bearer` are refused, unless
//!   [`TokenEndpoint::accept_token_type`] names them.
//! - The body decides, not its `Content-Type`, except that a form is read only where the
//!   `Content-Type` names it.
//! - JSON is read leniently. A byte-order mark, padding, text around the object, a member that is
//!   there twice, a missing quote or comma, and a value of the wrong type in another member cost
//!   neither a token nor a refusal. An answer that is cut off has no token.
//! - [`TokenEndpoint::read_answer`] reads answers of another form: nested, in camel case.
//! - At most 64 KiB are read ([`TokenEndpoint::answer_limit`]).
//! - Redirects are not followed. The HTTP client must not follow them either, because the body
//!   holds the refresh token.
//!
//! # Failures
//!
//! | failure | kind |
//! |---|---|
//! | the request was [certainly not sent](crate::exchange#was-it-sent): no name, no connection, no TLS, no time left for it | transient |
//! | the request was not answered | [ambiguous](crate::RefreshErrorKind::Ambiguous) |
//! | a success without a usable token: cut off, too long, no JSON, a token that no header can carry | ambiguous |
//! | a refusal | by [`Classify`], which is [`DefaultClassify`] by default |
//!
//! A success without a usable token is ambiguous because the refresh token may be used up by it. A
//! `Retry-After` in the future replaces the session's back-off. [`TokenEndpoint::connect_timeout`]
//! limits the wait for a connection, and
//! [`SessionBuilder::refresh_timeout`](crate::session::SessionBuilder::refresh_timeout) the whole
//! refresh. A request whose time is over is not sent later.
//!
//! No failure ends a session of [`ClientCredentialsGrant`].
//!
//! # Secrets
//!
//! Client secrets are kept in a [`Secret`], and so is the refresh token of a [`Token`]. The body of
//! a request is a [`RequestBody`](crate::exchange::RequestBody). All of them wipe their memory when
//! they are dropped. Access tokens, the values of [`TokenEndpoint::param`] and the copies of the
//! HTTP client and of TLS are not wiped.
//!
//! No secret is in a URL, in an error or in a `Debug` output. An error shows the code of a refusal,
//! and not its description, where some servers repeat the token.
//!
//! [RFC 6749 §6]: https://www.rfc-editor.org/rfc/rfc6749#section-6
//! [§4.4]: https://www.rfc-editor.org/rfc/rfc6749#section-4.4
//! [`Token`]: crate::Token

mod answer;
mod classify;
mod client_auth;
mod client_credentials_grant;
mod encode;
mod endpoint;
mod error;
mod refresh_token_grant;
mod revocation;

pub use answer::{RawAnswer, TokenAnswer};
pub use classify::{Classify, ClassifyFn, DefaultClassify, Refusal, classify_fn};
pub use client_auth::ClientAuth;
pub use client_credentials_grant::ClientCredentialsGrant;
pub use endpoint::TokenEndpoint;
pub use refresh_token_grant::RefreshTokenGrant;
pub use revocation::{Revocation, RevocationError};

pub use crate::{credential::Secret, exchange::EndpointUrl};
