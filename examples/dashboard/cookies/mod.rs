//! The example with cookies (feature `cookies`): only the jar and the servers see a token.

mod client;
mod server;

pub(crate) use self::{client::CookieClient, server::Cookies};

/// The cookie of the access token.
const ACCESS: &str = "access";

/// The cookie of the refresh token.
const REFRESH: &str = "refresh";
