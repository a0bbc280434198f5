//! Attempts within one flight: which failures are tried again while requests wait.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, its helpers too")]

mod support;

use std::time::Duration;

use http::StatusCode;
use support::*;
use tokio::time::Instant;
use tower_refresh::{
    ErrorKind, RefreshError, RefreshErrorKind, Session,
    refresher::Cause,
    session::{Phase, SessionBuilder},
};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn start(
    configure: impl FnOnce(SessionBuilder) -> SessionBuilder,
) -> (Session, Flights, Client, Arrivals) {
    let (refresher, flights) = manual_refresher();
    let session = configure(Session::builder(refresher).credential(token("at-1"))).build();
    let (client, upstream) = over_mock(&session);
    (session, flights, client, upstream)
}

fn status_error(code: u16) -> RefreshError {
    RefreshError::from_status(StatusCode::from_u16(code).unwrap())
}

/// Failures after which the same flight tries again.
fn repeated() -> Vec<RefreshError> {
    vec![
        RefreshError::unprocessed("connection refused"),
        RefreshError::unprocessed("connection refused").with_retry_after(Duration::ZERO),
        RefreshError::unprocessed("busy").with_retry_after(SECOND),
        status_error(503),
        status_error(503).with_retry_after(SECOND),
        status_error(429).with_retry_after(SECOND),
    ]
}

/// Failures that end their flight.
fn final_failures() -> Vec<RefreshError> {
    vec![
        RefreshError::transient("unknown"),
        RefreshError::transient("unknown").with_retry_after(MILLISECOND),
        RefreshError::ambiguous("cut off"),
        RefreshError::ambiguous("cut off").with_retry_after(MILLISECOND),
        RefreshError::terminal("revoked"),
        RefreshError::unprocessed("busy").with_retry_after(30 * SECOND),
        status_error(503).with_retry_after(30 * SECOND),
        status_error(429),
        status_error(429).with_retry_after(30 * SECOND),
        status_error(500),
        status_error(502),
        status_error(504),
        status_error(200),
        status_error(401),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_changed_nothing_is_tried_again_while_a_request_waits() {
    for failure in repeated() {
        let text = format!("{failure:?}");
        let least = failure.retry_after().unwrap_or_default().max(100 * MILLISECOND);
        let (session, mut flights, client, mut upstream) = start(|b| b);
        let request = ask(&client, get("/"));
        upstream.next().await.reject();
        let first = flights.next().await;
        assert_eq!(first.context.attempt(), 1);
        let failed_at = Instant::now();
        first.answer(Err(failure));

        let second = flights.next().await;
        let pause = failed_at.elapsed();
        assert!((least..=least.max(300 * MILLISECOND)).contains(&pause), "{text}: {pause:?}");
        assert_eq!(second.context.attempt(), 2);
        assert_eq!(second.context.cause(), Cause::Rejected);
        assert!(second.context.rejection().is_some() && second.context.previous_error().is_some());
        second.succeed("at-2");
        upstream.next().await.accept();
        assert_eq!(status(request).await, StatusCode::OK, "{text}");
        let state = session.state();
        assert_eq!((state.flights_started(), state.flights_settled()), (1, 1), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn any_other_failure_ends_the_flight_at_once() {
    for failure in final_failures() {
        let text = format!("{failure:?}");
        let kind = failure.kind();
        let (session, mut flights, client, mut upstream) = start(|b| b);
        let request = ask(&client, get("/"));
        upstream.next().await.reject();
        flights.next().await.answer(Err(failure));
        let error = request.await.unwrap().unwrap_err();
        assert_eq!(refresh_kind(session_error(&error)), kind, "{text}");
        flights.none_started().await;
        assert_eq!(session.state().flights_settled(), 1, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_number_of_attempts_is_bounded() {
    for (configured, expected) in
        [(None, 3), (Some(0), 1), (Some(1), 1), (Some(2), 2), (Some(5), 5)]
    {
        let (session, mut flights, client, mut upstream) = start(|b| match configured {
            Some(attempts) => b.refresh_attempts(attempts),
            None => b,
        });
        let request = ask(&client, get("/"));
        upstream.next().await.reject();
        for attempt in 1..=expected {
            let flight = flights.next().await;
            assert_eq!(flight.context.attempt(), attempt);
            flight.answer(Err(RefreshError::unprocessed("connection refused")));
        }
        let error = request.await.unwrap().unwrap_err();
        assert_eq!(session_error(&error).kind(), ErrorKind::RefreshFailed);
        flights.none_started().await;
        let Phase::Failed(failure) = session.state().phase().clone() else { panic!("it failed") };
        assert_eq!(failure.in_a_row(), 1, "one flight has failed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flight_without_waiters_is_tried_once() {
    let (session, mut flights, ..) = start(|b| b);
    let refreshed = session.refresh();
    flights.next().await.answer(Err(RefreshError::unprocessed("connection refused")));
    assert_eq!(refreshed.await.unwrap_err().kind(), ErrorKind::RefreshFailed);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn a_fenced_flight_is_not_tried_again() {
    for fence in ["login", "replace", "logout"] {
        let (session, mut flights, client, mut upstream) = start(|b| b);
        let request = ask(&client, get("/"));
        upstream.next().await.reject();
        flights.next().await.answer(Err(RefreshError::unprocessed("connection refused")));
        settle_tasks().await;
        match fence {
            "login" => drop(session.login(token("at-other"))),
            "replace" => drop(session.replace(session.state().login(), token("at-2")).unwrap()),
            _ => drop(session.logout()),
        }
        tokio::time::sleep(SECOND).await;
        flights.none_started().await;
        request.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_logout_during_a_pause_waits_for_the_flight_and_no_longer() {
    let (session, mut flights, client, mut upstream) = start(|b| b);
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    flights.next().await.answer(Err(RefreshError::unprocessed("connection refused")));
    settle_tasks().await;
    session.logout().await;
    assert_eq!(error_kind_of(request).await, ErrorKind::LoggedOut);
}

#[tokio::test(start_paused = true)]
async fn all_attempts_share_the_time_out() {
    // No time is left for another attempt: the flight ends with its failure, which is transient.
    let refused = || RefreshError::unprocessed("connection refused");
    for (refresh_timeout, failure) in
        [(90 * MILLISECOND, refused()), (SECOND, refused().with_retry_after(SECOND))]
    {
        let (_session, mut flights, client, mut upstream) =
            start(|b| b.refresh_timeout(refresh_timeout));
        let request = ask(&client, get("/"));
        upstream.next().await.reject();
        flights.next().await.answer(Err(failure));
        let error = request.await.unwrap().unwrap_err();
        assert_eq!(refresh_kind(session_error(&error)), RefreshErrorKind::Transient);
        flights.none_started().await;
    }

    // The second attempt hangs: the flight ends at its time-out, which is ambiguous.
    let (_session, mut flights, client, mut upstream) = start(|b| b.refresh_timeout(SECOND));
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    let first = flights.next().await;
    let started = Instant::now();
    first.answer(Err(RefreshError::unprocessed("connection refused")));
    let second = flights.next().await;
    let error = request.await.unwrap().unwrap_err();
    assert_eq!(refresh_kind(session_error(&error)), RefreshErrorKind::Ambiguous);
    assert!(started.elapsed() <= SECOND && second.is_dropped());
}

async fn error_kind_of(request: tokio::task::JoinHandle<ClientResult>) -> ErrorKind {
    kind(request.await.unwrap())
}
