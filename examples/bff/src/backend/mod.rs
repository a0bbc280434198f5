//! The back-end of the dashboard: its pages, the login, the forwarded API and the status page.
//!
//! # The browser and the back-end
//!
//! - The browser gets an opaque key in a cookie, and never a token. The cookie is `HttpOnly`
//!   and `SameSite=Lax`. With TLS it is also `Secure` and has the prefix `__Host-`, which browsers
//!   refuse without TLS. See `cookies.rs`.
//! - Each login makes a new key, so that a key that an attacker has planted is worth nothing.
//! - A state-changing request must come from a page of the back-end: tower-http's `CsrfLayer`
//!   compares `Sec-Fetch-Site` and `Origin`. A call of `/api/*` and `/logout` must also have a
//!   header that a page of another origin cannot send. See `guard.rs`.
//! - A login is bound to its browser by a short-lived cookie with `state` and the PKCE verifier.
//!
//! # The back-end and the upstream
//!
//! - A [`Sessions`](tower_refresh::sessions::Sessions) has a session for each key. A key that no
//!   login has made gets none, so invented cookies take no memory.
//! - Calls of `/api/*` go through a `SessionsLayer` and a `RefreshLayer::per_request`. A list of
//!   headers goes along; cookies, `host` and hop-by-hop headers do not. See `api.rs`.
//! - Logout ends the login, whose hook revokes the grant at the auth server.

mod api;
mod app;
mod browser;
mod cookies;
mod guard;
mod login;
mod pages;
mod problem;
mod provider;
mod session_key;
mod sessions;
mod status;

pub(crate) use app::{BackendSettings, router};
pub(crate) use provider::ProviderSettings;
