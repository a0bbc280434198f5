//! `store::Redis` over real servers. `tests/interop/redis.sh` installs them and runs these tests.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a test may unwrap, and uses a part of its tools"
)]

#[path = "../store/fleet.rs"]
mod fleet;
#[path = "../store/support.rs"]
mod support;

mod conformance;
mod connections;
mod faults;
mod hints;
mod proxy;
mod replicas;
mod server;
