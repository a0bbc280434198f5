//! A registry of sessions: one for each user.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, its helpers too")]

#[path = "../support/mod.rs"]
mod support;

mod events;
mod eviction;
mod interleavings;
mod layer;
mod limits;
mod loads;
mod logins;
#[cfg(feature = "store")]
mod memory;
#[cfg(feature = "store")]
mod stored;
mod users;
