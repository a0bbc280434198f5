//! Sessions and the runtimes that they outlive.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, its helpers too")]

mod support;

use support::*;
use tokio::runtime::{Builder, Runtime};
use tower_refresh::{
    ErrorKind, RefreshErrorKind, Session,
    session::{AmbiguousOutcome, Phase, SessionBuilder},
};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// Builds a session within a runtime.
fn build_on(runtime: &Runtime, builder: SessionBuilder) -> Session {
    let _entered = runtime.enter();
    builder.credential(token("at-1")).build()
}

// === A flight whose refresher was never polled ===

#[test]
fn g05_a_flight_is_transient_if_its_runtime_ends_before_the_refresher_is_polled() {
    for outcome in [AmbiguousOutcome::Retry, AmbiguousOutcome::EndLogin] {
        for enter_again in [false, true] {
            let (refresher, mut flights) = manual_refresher();
            let ends = runtime();
            let builder = Session::builder(refresher).acquire_on_demand(true).on_ambiguous(outcome);
            let session = build_on(&ends, builder);
            let refreshed = if enter_again {
                // Started on the runtime, which then ends without running it.
                let entered = ends.enter();
                let refreshed = session.refresh();
                drop(entered);
                drop(ends);
                refreshed
            } else {
                drop(ends);
                session.refresh()
            };
            let error = poll_without_runtime(refreshed).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::RefreshFailed);
            assert_eq!(refresh_kind(&error), RefreshErrorKind::Transient);
            assert!(matches!(session.state().phase(), Phase::Failed(_)));
            assert!(session.credential().is_some());
            runtime().block_on(flights.none_started());
        }
    }
}

#[test]
fn g05_a_flight_is_ambiguous_if_its_runtime_ends_after_the_refresher_was_polled() {
    let (refresher, mut flights) = manual_refresher();
    let ends = runtime();
    let session = build_on(&ends, Session::builder(refresher));
    let refreshed = {
        let _entered = ends.enter();
        session.refresh()
    };
    let flight = ends.block_on(flights.next());
    drop(ends);
    assert_eq!(
        refresh_kind(&poll_without_runtime(refreshed).unwrap_err()),
        RefreshErrorKind::Ambiguous
    );
    assert!(flight.is_dropped());
}

#[test]
fn g05_a_flight_on_a_runtime_without_a_timer_is_transient() {
    let (refresher, mut flights) = manual_refresher();
    let timeless = Builder::new_current_thread().build().unwrap();
    let session = build_on(&timeless, Session::builder(refresher));
    let error = timeless.block_on(session.refresh()).unwrap_err();
    assert_eq!(refresh_kind(&error), RefreshErrorKind::Transient);
    runtime().block_on(flights.none_started());
}
