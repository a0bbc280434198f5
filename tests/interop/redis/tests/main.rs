//! `store::Redis` over a cluster, over TLS and over a connection manager. `tests/interop/redis.sh`
//! installs the servers and runs these tests.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a test may unwrap, and uses a part of its tools"
)]

#[path = "../../../redis/server.rs"]
mod server;
#[path = "../../../store/support.rs"]
mod support;

mod cluster;
mod manager;
mod tls;
