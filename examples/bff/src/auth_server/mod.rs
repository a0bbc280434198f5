//! An OAuth 2 auth server in memory: a login form, a token endpoint, revocation, and a page for its
//! administrator.
//!
//! The server knows one client and two users. It checks PKCE (RFC 7636), takes each code once, and
//! gives a new refresh token at each refresh. A refresh token that is used twice has been copied,
//! so the server ends its grant (RFC 9700 §4.14.2).

mod admin;
mod app;
mod authorize;
mod client;
mod grants;
mod token;
mod user;

pub(crate) use app::router;
pub(crate) use client::Client;
pub(crate) use grants::Grants;
pub(crate) use user::User;
