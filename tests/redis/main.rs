//! `store::Redis` over real servers. `tests/interop/redis.sh` installs them and runs these tests.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

#[path = "../store/fleet.rs"]
#[allow(dead_code, reason = "these tests use a part of the tools")]
mod fleet;
#[path = "../store/support.rs"]
#[allow(dead_code, reason = "these tests use a part of the tools")]
mod support;

mod conformance;
mod connections;
mod faults;
mod hints;
mod proxy;
mod replicas;
mod server;
