//! Guarantees 5 and 6: every flight settles, also without its callers, its handles or its runtime.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, its helpers too")]

mod support;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use http::StatusCode;
use support::*;
use tokio::runtime::{Builder, Runtime};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Service, ServiceExt};
use tower_refresh::{
    Credential, ErrorKind, Origins, RefreshContext, RefreshError, RefreshErrorKind, RefreshLayer,
    Session, refresher_fn,
    session::{Closed, Phase, Watcher, WeakSession},
};

const TIME_OUT: Duration = Duration::from_secs(7);

// === 5: every flight settles ===

#[tokio::test(start_paused = true)]
async fn g05_a_time_out_drops_the_refreshers_future_and_then_settles_as_ambiguous() {
    let journal = Journal::default();
    let cell: Arc<OnceLock<WeakSession>> = Arc::default();
    let (noted, in_flight) = (journal.clone(), cell.clone());
    let refresher = refresher_fn(move |_: RefreshContext| {
        let dropped = SettledWhenDropped(noted.clone(), in_flight.clone());
        async move {
            let _dropped = dropped;
            std::future::pending().await
        }
    });
    let session =
        Session::builder(refresher).credential(token("at-1")).refresh_timeout(TIME_OUT).build();
    cell.set(session.downgrade()).unwrap();
    let (client, mut upstream) = over_mock(&session);
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    settle_tasks().await;
    tokio::time::advance(TIME_OUT - Duration::from_millis(1)).await;
    settle_tasks().await;
    assert!(!request.is_finished() && journal.read().is_empty());

    tokio::time::advance(Duration::from_millis(1)).await;
    let error = request.await.unwrap().unwrap_err();
    assert_eq!(session_error(&error).kind(), ErrorKind::RefreshFailed);
    assert_eq!(refresh_kind(session_error(&error)), RefreshErrorKind::Ambiguous);
    assert_eq!(journal.read(), ["dropped with 0 settled"]);
    assert!(matches!(session.state().phase(), Phase::Failed(_)));
    assert_eq!(session.credential().unwrap().access_token(), "at-1");
    assert_eq!(session.state().flights_settled(), 1);
}

#[tokio::test(start_paused = true)]
async fn g05_after_a_time_out_the_next_rejection_starts_another_flight() {
    let (refresher, mut flights) = manual_refresher();
    let session =
        Session::builder(refresher).credential(token("at-1")).refresh_timeout(TIME_OUT).build();
    let (client, mut upstream) = over_mock(&session);
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    let late = flights.next().await;
    tokio::time::advance(TIME_OUT).await;
    assert_eq!(kind(request.await.unwrap()), ErrorKind::RefreshFailed);
    assert!(late.is_dropped());
    assert_eq!(session.credential().unwrap().access_token(), "at-1");

    after_back_off().await;
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    let flight = flights.next().await;
    assert_eq!(flight.context.previous_error().unwrap().kind(), RefreshErrorKind::Ambiguous);
    flight.succeed("at-2");
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn g05_time_outs_of_zero_and_of_duration_max_are_clamped() {
    for (set, clamped) in [
        (Duration::ZERO, Duration::from_millis(1)),
        (Duration::MAX, Duration::from_secs(24 * 60 * 60)),
    ] {
        let (refresher, mut flights) = manual_refresher();
        let session =
            Session::builder(refresher).credential(token("at-1")).refresh_timeout(set).build();
        let mut refreshed = task::spawn(session.refresh());
        let flight = flights.next().await;
        tokio::time::advance(clamped - Duration::from_micros(500)).await;
        settle_tasks().await;
        assert_pending!(refreshed.poll());
        tokio::time::advance(Duration::from_millis(2)).await;
        settle_tasks().await;
        assert!(assert_ready!(refreshed.poll()).is_err());
        drop(flight);
    }
}

#[tokio::test(start_paused = true)]
async fn g05_a_panic_of_the_refresher_fails_the_flight_and_the_next_flight_succeeds() {
    for in_its_future in [false, true] {
        let calls = AtomicUsize::new(0);
        let refresher = refresher_fn(move |_: RefreshContext| {
            let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
            assert!(!first || in_its_future, "the refresher panics at once");
            async move {
                tokio::task::yield_now().await;
                assert!(!first, "the refresher panics later");
                Ok(token("at-2"))
            }
        });
        let session = Session::new(token("at-1"), refresher);
        let (client, mut upstream) = over_mock(&session);
        let requests = ask_many(&client, 3, |_| get("/"));
        for sent in upstream.take(3).await {
            sent.reject();
        }
        for request in requests {
            let error = request.await.unwrap().unwrap_err();
            assert_eq!(session_error(&error).kind(), ErrorKind::RefreshFailed);
            assert_eq!(refresh_kind(session_error(&error)), RefreshErrorKind::Ambiguous);
        }
        assert_eq!(session.state().flights_settled(), 1);

        after_back_off().await;
        let request = ask(&client, get("/"));
        upstream.next().await.reject();
        upstream.next().await.accept();
        assert_eq!(status(request).await, StatusCode::OK);
        assert_eq!(session.credential().unwrap().access_token(), "at-2");
        assert_eq!(session.waiters(), 0);
    }
}

/// The flight calls methods of the new credential before it stores it.
#[tokio::test(start_paused = true)]
async fn g05_a_panic_of_the_new_credential_fails_the_flight() {
    let session = Session::new(
        Harmless,
        refresher_fn(|_: RefreshContext<PanickingCredential>| async { Ok(Panicking) }),
    );
    let error = session.refresh().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RefreshFailed);
    assert_eq!(refresh_kind(&error), RefreshErrorKind::Ambiguous);
    assert!(matches!(session.state().phase(), Phase::Failed(_)));
    assert!(session.credential().is_some());
}

#[tokio::test(start_paused = true)]
async fn g05_a_panic_of_the_clock_at_the_settlement_fails_the_flight() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let (refresher, mut flights) = manual_refresher();
    let session = Session::builder(refresher)
        .clock(move || {
            assert!(counted.fetch_add(1, Ordering::SeqCst) < 2, "the clock is broken");
            SystemTime::UNIX_EPOCH
        })
        .credential(token("at-1"))
        .build();
    let refreshed = session.refresh();
    flights.next().await.succeed("at-2");
    assert_eq!(refreshed.await.unwrap_err().kind(), ErrorKind::RefreshFailed);
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[test]
fn g05_shutting_down_its_runtime_settles_a_flight_for_waiters_on_another_runtime() {
    let (refresher, mut flights) = manual_refresher();
    let of_flight = runtime();
    let of_waiter = runtime();
    let session = Session::new(token("at-1"), refresher);
    let refreshed = {
        let _entered = of_flight.enter();
        session.refresh()
    };
    let flight = of_flight.block_on(flights.next());

    let (client, mut upstream) = over_mock(&session);
    let request = {
        let _entered = of_waiter.enter();
        ask(&client, get("/"))
    };
    of_waiter.block_on(async {
        upstream.next().await.reject();
        upstream.none().await;
    });
    assert_eq!(session.waiters(), 1);
    assert_eq!(session.state().flights_started(), 1);
    drop(of_flight);
    assert!(flight.is_dropped());
    of_waiter.block_on(async {
        let error = request.await.unwrap().unwrap_err();
        assert_eq!(session_error(&error).kind(), ErrorKind::RefreshFailed);
        assert_eq!(refresh_kind(session_error(&error)), RefreshErrorKind::Ambiguous);
        assert_eq!(refreshed.await.unwrap_err().kind(), ErrorKind::RefreshFailed);

        session.replace(session.state().login(), token("at-2")).unwrap();
        let request = ask(&client, get("/"));
        upstream.next().await.accept();
        assert_eq!(status(request).await, StatusCode::OK);
    });
}

#[test]
fn g05_shutting_down_the_runtime_of_a_flight_wakes_a_sleeping_waiter() {
    let (refresher, mut flights) = manual_refresher();
    let of_flight = runtime();
    let of_waiter = runtime();
    let session = Session::new(token("at-1"), refresher);
    let refreshed = {
        let _entered = of_flight.enter();
        session.refresh()
    };
    let flight = of_flight.block_on(flights.next());
    let waiter = thread::spawn(move || of_waiter.block_on(refreshed));
    drop(of_flight);
    assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::RefreshFailed);
    drop(flight);
}

#[test]
fn g05_a_flight_on_a_runtime_that_is_shut_down_fails_at_once() {
    let (refresher, _flights) = manual_refresher();
    let session = {
        let gone = runtime();
        let _entered = gone.enter();
        Session::new(token("at-1"), refresher)
    };
    let error = poll_without_runtime(session.refresh()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RefreshFailed);
    assert_eq!(refresh_kind(&error), RefreshErrorKind::Transient);
    assert!(session.credential().is_some());
}

#[test]
fn g05_without_a_runtime_a_rejection_fails_the_request_and_keeps_the_state() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let (client, mut upstream) = over_mock(&session);
    let mut request = task::spawn(client.clone().oneshot(get("/")));
    assert_pending!(request.poll());
    poll_without_runtime(upstream.next()).accept();
    assert_eq!(assert_ready!(request.poll()).unwrap().status(), StatusCode::OK);

    let mut request = task::spawn(client.clone().oneshot(get("/")));
    assert_pending!(request.poll());
    poll_without_runtime(upstream.next()).reject();
    assert_eq!(kind(assert_ready!(request.poll())), ErrorKind::NoRuntime);
    assert_eq!(poll_without_runtime(session.refresh()).unwrap_err().kind(), ErrorKind::NoRuntime);
    let state = session.state();
    assert!(matches!(state.phase(), Phase::Active));
    assert_eq!(state.flights_started(), 0);
    assert_eq!(poll_without_runtime(session.acquire()).unwrap().access_token(), "at-1");

    let login = state.login();
    session.replace(login, token("at-2")).unwrap();
    drop(session.logout());
    let over = session.state();
    assert_eq!(poll_without_runtime(session.acquire()).unwrap_err().kind(), ErrorKind::NoRuntime);
    assert_eq!(session.state().login(), over.login());
    assert!(matches!(session.state().phase(), Phase::LoggedOut(_)));
    session.login(token("at-3"));
    let mut request = task::spawn(client.clone().oneshot(get("/")));
    assert_pending!(request.poll());
    poll_without_runtime(upstream.next()).accept();
    assert_eq!(assert_ready!(request.poll()).unwrap().status(), StatusCode::OK);

    // With a runtime, the refresh succeeds.
    let runtime = runtime();
    runtime.block_on(async {
        let refreshed = session.refresh();
        flights.next().await.succeed("at-4");
        assert_eq!(refreshed.await.unwrap().access_token(), "at-4");
    });
}

#[test]
fn g05_without_a_runtime_a_missing_or_expired_credential_fails_the_request() {
    let clock = Clock::new();
    let (refresher, _flights) = manual_refresher();
    let missing = Session::builder(refresher).acquire_on_demand(true).build();
    let (refresher, _flights) = manual_refresher();
    let expired = Session::builder(refresher)
        .credential(token("at-1").with_expires_at(clock.after(5)))
        .clock(clock.reader())
        .build();
    clock.advance(5);
    for session in [missing, expired] {
        let (client, _upstream) = over_mock(&session);
        assert_eq!(kind(poll_without_runtime(client.oneshot(get("/")))), ErrorKind::NoRuntime);
        assert_eq!(session.waiters(), 0);
        assert_eq!(session.state().flights_started(), 0);
    }
}

#[test]
fn g05_outside_a_runtime_a_flight_runs_on_the_runtime_seen_first() {
    let runtime = runtime();
    let (refresher, mut flights) = manual_refresher();
    let session = {
        let _entered = runtime.enter();
        Session::new(token("at-1"), refresher)
    };
    let (client, mut upstream) = over_mock(&session);
    let mut request = task::spawn(client.oneshot(get("/")));
    assert_pending!(request.poll());
    poll_without_runtime(upstream.next()).reject();
    assert_pending!(request.poll());
    runtime.block_on(async { flights.next().await.succeed("at-2") });
    runtime.block_on(settle_tasks());
    assert!(request.is_woken());
    assert_pending!(request.poll());
    poll_without_runtime(upstream.next()).accept();
    assert_eq!(assert_ready!(request.poll()).unwrap().status(), StatusCode::OK);
}

#[test]
fn g05_a_flight_on_a_runtime_without_a_timer_fails() {
    let without_timer = Builder::new_current_thread().build().unwrap();
    let (refresher, _flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let refused = without_timer.block_on(async { session.refresh().await.unwrap_err() });
    assert_eq!(refused.kind(), ErrorKind::RefreshFailed);
}

// === 6: dropped callers ===

#[tokio::test(start_paused = true)]
async fn g06_dropping_the_first_caller_leaves_the_others_served() {
    let (session, mut flights, client, mut upstream) = start();
    let first = ask(&client, get("/first"));
    upstream.next().await.reject();
    let flight = flights.next().await;
    let others = ask_many(&client, 5, |_| get("/other"));
    settle_tasks().await;
    assert_eq!(session.waiters(), 6);
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(session.waiters(), 5);
    settle_tasks().await;
    assert!(!flight.is_dropped());

    flight.succeed("at-2");
    for arrived in upstream.take(5).await {
        assert_eq!((arrived.token(), arrived.request.uri().path()), ("at-2", "/other"));
        arrived.accept();
    }
    for request in others {
        assert_eq!(status(request).await, StatusCode::OK);
    }
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g06_dropping_every_caller_does_not_lose_the_new_credential() {
    let (session, mut flights, client, mut upstream) = start();
    let requests = ask_many(&client, 10, |_| get("/"));
    for sent in upstream.take(10).await {
        sent.reject();
    }
    let flight = flights.next().await;
    settle_tasks().await;
    assert_eq!(session.waiters(), 10);
    for (left, request) in (0..10).rev().zip(requests) {
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        assert_eq!(session.waiters(), left);
    }
    settle_tasks().await;
    assert!(!flight.is_dropped());
    flight.answer(Ok(token("at-2").with_refresh_token("rt-2")));
    settle_tasks().await;
    assert_eq!(session.credential().unwrap().refresh_token(), Some("rt-2"));

    let request = ask(&client, get("/"));
    let arrived = upstream.next().await;
    assert_eq!(arrived.token(), "at-2");
    arrived.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g06_dropping_the_caller_before_the_refresher_is_called_does_not_stop_the_flight() {
    let (session, mut flights, client, mut upstream) = start();
    let mut request = task::spawn(client.oneshot(get("/")));
    assert_pending!(request.poll());
    upstream.next().await.reject();
    assert_pending!(request.poll());
    assert_eq!(session.waiters(), 1);
    drop(request);
    assert_eq!(session.waiters(), 0);
    flights.next().await.succeed("at-2");
    settle_tasks().await;
    assert_eq!(session.credential().unwrap().access_token(), "at-2");

    drop(session.refresh());
    flights.next().await.succeed("at-3");
    settle_tasks().await;
    assert_eq!(session.credential().unwrap().access_token(), "at-3");

    drop(session.logout());
    drop(session.acquire());
    flights.next().await.succeed("at-4");
    settle_tasks().await;
    assert_eq!(session.credential().unwrap().access_token(), "at-4");
}

#[tokio::test(start_paused = true)]
async fn g06_dropping_every_handle_does_not_stop_the_flight() {
    let (session, mut flights, client, mut upstream) = start();
    let mut watcher = session.subscribe();
    let weak = session.downgrade();
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    let flight = flights.next().await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    drop((session, client, upstream));
    settle_tasks().await;
    assert!(!flight.is_dropped());
    assert!(weak.upgrade().is_some(), "the flight keeps the session");

    flight.answer(Ok(token("at-2").with_refresh_token("rt-2")));
    let state = watcher.wait_for(|state| state.flights_settled() == 1).await.unwrap();
    assert_eq!(state.credential().unwrap().refresh_token(), Some("rt-2"));
    settle_tasks().await;
    assert!(weak.upgrade().is_none());
    assert!(watcher.changed().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn g06_a_hook_runs_after_the_last_handle_was_dropped_during_the_flight() {
    let journal = Journal::default();
    let (refresher, mut flights) = manual_refresher();
    let session =
        Session::builder(refresher).credential(token("at-1")).on_login_end(journal.hook()).build();
    let (client, mut upstream) = over_mock(&session);
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    let flight = flights.next().await;
    request.abort();
    drop((session, client, upstream));
    settle_tasks().await;
    flight.answer(Err(RefreshError::terminal("revoked")));
    settle_tasks().await;
    assert_eq!(journal.read(), ["refused at-1"]);
}

#[tokio::test(start_paused = true)]
async fn g06_a_time_out_ends_a_flight_without_waiters() {
    let (refresher, mut flights) = manual_refresher();
    let session =
        Session::builder(refresher).credential(token("at-1")).refresh_timeout(TIME_OUT).build();
    let weak = session.downgrade();
    drop(session.refresh());
    let flight = flights.next().await;
    drop(session);
    tokio::time::advance(TIME_OUT).await;
    settle_tasks().await;
    assert!(flight.is_dropped());
    assert!(weak.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn g06_dropping_a_request_during_its_replay_leaves_no_waiter() {
    let (session, mut flights, client, mut upstream) = start();
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    flights.next().await.succeed("at-2");
    let replay = upstream.next().await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    replay.reject();
    flights.none_started().await;
    assert_eq!(session.waiters(), 0);
    assert!(matches!(session.state().phase(), Phase::Active));
}

#[tokio::test(start_paused = true)]
async fn g06_waiters_are_counted_from_their_first_wait_to_the_outcome() {
    let (session, mut flights, client, mut upstream) = start();
    let mut service = client.clone();
    let mut never_polled = task::spawn(service.ready().await.unwrap().call(get("/")));
    let sent = upstream.next().await;
    assert_eq!(session.waiters(), 0);
    drop(session.refresh());
    let flight = flights.next().await;
    sent.reject();
    assert_eq!(session.waiters(), 0);
    assert_pending!(never_polled.poll());
    assert_eq!(session.waiters(), 1);
    // `Session::refresh` waits for the flight and is not counted.
    let mut refreshed = task::spawn(session.refresh());
    assert_pending!(refreshed.poll());
    assert_eq!(session.waiters(), 1);
    flight.succeed("at-2");
    settle_tasks().await;
    assert_pending!(never_polled.poll());
    assert_eq!(session.waiters(), 0);
}

#[tokio::test(start_paused = true)]
async fn g06_a_watcher_sees_the_latest_state_and_the_end_and_does_not_keep_the_session_alive() {
    let (session, mut flights, client, upstream) = start();
    let weak: WeakSession = session.downgrade();
    let mut watcher: Watcher = session.subscribe();
    let mut changed = task::spawn(async move {
        let state = watcher.changed().await;
        (watcher, state)
    });
    assert_pending!(changed.poll());
    drop(session.refresh());
    let (mut watcher, state) = assert_ready!(changed.poll());
    assert!(matches!(state.unwrap().phase(), Phase::Refreshing(_)));
    flights.next().await.succeed("at-2");
    settle_tasks().await;
    // `state` does not mark the state as seen.
    assert_eq!(watcher.state().flights_settled(), 1);
    let state = watcher.changed().await.unwrap();
    assert_eq!(state.credential().unwrap().access_token(), "at-2");
    drop(state);
    // `wait_for` checks the latest state first, even if it was seen.
    watcher.wait_for(|state| state.flights_settled() == 1).await.unwrap();

    let mut other = watcher.clone();
    let mut waiting = task::spawn(async move { other.wait_for(|_| false).await.map(drop) });
    assert_pending!(waiting.poll());
    session.login(token("at-3"));
    assert_pending!(waiting.poll());
    drop((session, client, upstream));
    assert!(weak.upgrade().is_none(), "a watcher keeps the session alive");
    assert!(waiting.is_woken());
    let closed: Closed = assert_ready!(waiting.poll()).unwrap_err();
    assert!(!closed.to_string().is_empty());
    // `changed` returns the last unseen state before the end.
    assert_eq!(watcher.changed().await.unwrap().credential().unwrap().access_token(), "at-3");
    assert_eq!(watcher.changed().await.unwrap_err(), closed);
    assert_eq!(watcher.state().credential().unwrap().access_token(), "at-3");
}

#[tokio::test(start_paused = true)]
async fn g06_a_weak_session_upgrades_while_the_session_is_in_use() {
    let (refresher, _flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let weak = session.downgrade();
    let clone = weak.clone();
    weak.upgrade().unwrap().login(token("at-2"));
    assert_eq!(session.credential().unwrap().access_token(), "at-2");
    // A layer, a service and a request in progress keep the session alive.
    let layer = RefreshLayer::new(session.clone(), Origins::any());
    drop(session);
    let (client, mut upstream) = layer_over_mock(&layer);
    drop(layer);
    assert!(clone.upgrade().is_some());
    let request = ask(&client, get("/"));
    let arrived = upstream.next().await;
    drop(client);
    settle_tasks().await;
    assert!(clone.upgrade().is_some());
    arrived.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    assert!(clone.upgrade().is_none());
}

/// Records the number of settled flights when it is dropped.
struct SettledWhenDropped(Journal, Arc<OnceLock<WeakSession>>);

impl Drop for SettledWhenDropped {
    fn drop(&mut self) {
        let session = self.1.get().unwrap().upgrade().unwrap();
        self.0.note(format!("dropped with {} settled", session.state().flights_settled()));
    }
}

/// A credential whose `expires_at` may panic.
#[derive(Debug)]
enum PanickingCredential {
    Harmless,
    Panicking,
}

use PanickingCredential::{Harmless, Panicking};

impl Credential for PanickingCredential {
    fn apply(&self, _: &mut http::request::Parts) {}

    fn expires_at(&self, _: SystemTime) -> Option<SystemTime> {
        match self {
            Harmless => None,
            Panicking => panic!("expires_at panics"),
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn start() -> (Session, Flights, Client, Arrivals) {
    let (refresher, flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let (client, upstream) = over_mock(&session);
    (session, flights, client, upstream)
}
