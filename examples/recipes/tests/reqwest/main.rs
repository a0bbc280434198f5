//! Nothing is lost: each test sends through the bare client, the adapter and the middleware, with
//! a fresh and with an expired token, and expects the same of all of them.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod bodies;
mod chain;
mod credentials;
mod locations;
mod outcome;
mod policies;
mod redirects;
mod responses;
mod server;
mod settings;
mod times;
mod urls;
mod way;
mod whole;

use std::time::Duration;

/// Fails a test that hangs.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs")
}
