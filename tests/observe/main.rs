//! What an observer is told, and that it changes nothing.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, its helpers too")]

#[path = "../support/mod.rs"]
mod support;

mod events;
mod hostile;
mod secrets;
mod settling;

use std::time::Duration;

use support::{audit::Lines, *};
use tower_refresh::Session;

/// A session with the token `at-1`, a client over an upstream that the test answers, and the lines
/// of all events after its login.
fn watched() -> (Session, Flights, Client, Arrivals, Lines) {
    let (refresher, flights) = manual_refresher();
    let lines = Lines::default();
    let session =
        Session::builder(refresher).credential(token("at-1")).observer(lines.clone()).build();
    assert_eq!(lines.take(), ["session created", "Login(1) began with Some(Generation(1))"]);
    let (client, upstream) = over_mock(&session);
    (session, flights, client, upstream, lines)
}

const SECOND: Duration = Duration::from_secs(1);
