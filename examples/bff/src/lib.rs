//! A back-end for a browser front-end (BFF), with a session of tower-refresh for each browser.
//!
//! ```text
//!              session cookie            access token
//!   browser ─────────────────► back-end ──────────────► upstream API
//!      │                          │
//!      │ password                 │ code, refresh token
//!      └───────► auth server ◄────┘
//! ```
//!
//! The browser holds an opaque session key. The [`backend`] keeps the tokens that belong to it,
//! puts the access token on each call that it forwards, and refreshes it. The [`auth_server`] and
//! the [`upstream`] stand for services that a real back-end is given.

pub mod auth_server;
pub mod backend;
mod demo;
mod headers;
mod hosts;
mod secret;
pub mod upstream;

pub use demo::{Demo, DemoOptions};
