//! The back-end over HTTP, with browsers that have no scripts. `tests/interop/bff.sh` tests the
//! page in Chromium.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod browser;
mod calls;
mod guard;
mod login;
mod status;
