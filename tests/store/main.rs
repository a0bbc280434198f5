//! Stores and the driver over them, by the public API.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod conformance;
mod driver;
mod events;
mod files;
mod fleet;
mod processes;
mod reentrant;
#[cfg(feature = "sealed")]
mod sealed;
mod support;
