//! The OAuth 2 refreshers, over a service that is driven by hand and over real connections.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod answers;
mod dialects;
mod hand;
mod hyper;
mod refusals;
mod requests;
mod revocation;
mod secrets;
mod types;
mod wire;
