//! gRPC through the layers: single frames, a server that the test drives, and tonic.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test may unwrap, and its modules are its own"
)]

mod by_hand;
mod client;
mod echo;
mod frames;
mod issuer;
mod one_layer;
mod proxy;
mod real;
mod types;
mod upstream;
mod volume;

use std::time::Duration;

/// Fails a test that hangs.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it hangs")
}
