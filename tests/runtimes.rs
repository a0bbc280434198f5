//! Sessions and the runtimes that they outlive.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, its helpers too")]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use support::*;
use tokio::runtime::{Builder, Runtime};
use tower_refresh::{
    ErrorKind, RefreshErrorKind, Session,
    session::{AmbiguousOutcome, EndedLogin, Phase, SessionBuilder},
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

// === A session that outlives its first runtime ===

/// A runtime whose thread drives it until it is dropped.
fn background_runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
}

/// Lets a runtime see the session in a way that each entry of the list names.
fn visit(session: &Session, client: &Client, upstream: &mut Arrivals, by: &str) {
    let visitor = background_runtime();
    visitor.block_on(visit_here(session, client, upstream, by));
}

async fn visit_here(session: &Session, client: &Client, upstream: &mut Arrivals, by: &str) {
    match by {
        "request" => {
            let request = ask(client, get("/"));
            upstream.next().await.accept();
            assert_eq!(status(request).await, http::StatusCode::OK);
        }
        "replace" => drop(session.replace(session.state().login(), token("at-1"))),
        "refresh" => drop(session.refresh().await),
        other => panic!("{other}"),
    }
}

fn session_with_hook() -> (Session, Arc<AtomicUsize>) {
    let upstream = Upstream::accepting(&[]);
    let hooks = Arc::new(AtomicUsize::new(0));
    let session = Session::builder(CountingRefresher::for_upstream(&upstream))
        .credential(token("at-1"))
        .on_login_end({
            let hooks = hooks.clone();
            move |_: EndedLogin| {
                let hooks = hooks.clone();
                async move {
                    tokio::task::yield_now().await;
                    hooks.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
        .build();
    (session, hooks)
}

#[test]
fn g09_the_hook_runs_in_the_logout_if_every_known_runtime_is_gone() {
    for visits in [&["replace"][..], &["refresh"], &["request"], &["replace", "refresh", "request"]]
    {
        let (session, hooks) = session_with_hook();
        let (client, mut upstream) = over_mock(&session);
        for by in visits {
            visit(&session, &client, &mut upstream, by);
        }
        let logout = session.logout();
        poll_without_runtime(logout);
        assert_eq!(hooks.load(Ordering::SeqCst), 1, "{visits:?}");
    }
}

#[test]
fn g09_the_hook_runs_in_the_logout_if_its_runtime_ends_before_the_hook_starts() {
    let (session, hooks) = session_with_hook();
    let ends = runtime();
    let logout = {
        let _entered = ends.enter();
        session.logout()
    };
    drop(ends);
    poll_without_runtime(logout);
    assert_eq!(hooks.load(Ordering::SeqCst), 1);
}

#[test]
fn g09_a_hook_that_its_runtime_has_cut_short_does_not_run_again() {
    let started = Arc::new(AtomicUsize::new(0));
    let (refresher, _flights) = manual_refresher();
    let session = Session::builder(refresher)
        .credential(token("at-1"))
        .on_login_end({
            let started = started.clone();
            move |_: EndedLogin| {
                started.fetch_add(1, Ordering::SeqCst);
                std::future::pending()
            }
        })
        .build();
    let ends = runtime();
    let logout = {
        let _entered = ends.enter();
        session.logout()
    };
    ends.block_on(settle_tasks());
    drop(ends);
    poll_without_runtime(logout);
    assert_eq!(started.load(Ordering::SeqCst), 1);
}

#[test]
fn g05_a_flight_runs_on_a_runtime_that_is_alive_after_the_first_one_is_gone() {
    for first in ["replace", "refresh", "request"] {
        for second in ["replace", "refresh", "request"] {
            let (session, hooks) = session_with_hook();
            let (client, mut upstream) = over_mock(&session);
            visit(&session, &client, &mut upstream, first);
            // Each visitor has a clone of its own, as tasks do.
            let client = client.clone();
            let alive = background_runtime();
            alive.block_on(visit_here(&session, &client, &mut upstream, second));

            // From here on this thread has no runtime.
            let token = block_on(session.refresh()).unwrap();
            assert_ne!(token.access_token(), "at-1", "{first}, {second}");
            block_on(session.logout());
            assert_eq!(hooks.load(Ordering::SeqCst), 1, "{first}, {second}");
        }
    }
}

#[test]
fn g05_a_short_lived_runtime_does_not_displace_one_that_is_alive() {
    let (session, hooks) = session_with_hook();
    let (client, mut upstream) = over_mock(&session);
    let alive = background_runtime();
    alive.block_on(visit_here(&session, &client, &mut upstream, "replace"));
    for _ in 0..10 {
        visit(&session, &client, &mut upstream, "refresh");
    }
    assert!(block_on(session.refresh()).is_ok());
    block_on(session.logout());
    assert_eq!(hooks.load(Ordering::SeqCst), 1);
}

/// Blocks this thread on a future, without a runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = Box::pin(future);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park_timeout(std::time::Duration::from_secs(5));
    }
}
