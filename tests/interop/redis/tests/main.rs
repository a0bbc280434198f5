//! `store::Redis` over a cluster, over TLS and over a connection manager. `tests/interop/redis.sh`
//! installs the servers and runs these tests.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

#[path = "../../../redis/server.rs"]
#[allow(dead_code, reason = "these tests use a part of the tools")]
mod server;
#[path = "../../../store/support.rs"]
#[allow(dead_code, reason = "these tests use a part of the tools")]
mod support;

mod cluster;
mod manager;
mod tls;
