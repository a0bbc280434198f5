//! Renewal ahead of expiry, back-off and limits, with a controlled clock and paused time.

mod support;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use http::StatusCode;
use support::*;
use tokio::{sync::Semaphore, time::advance};
use tokio_test::{assert_pending, task};
use tower::{BoxError, Layer, Service, ServiceExt, limit::ConcurrencyLimit};
use tower_refresh::{
    ErrorKind, FailureMode, Origins, Refresh, RefreshError, RefreshLayer, Session, Token,
    refresher::Cause,
    session::{AmbiguousOutcome, EndReason, Phase, SessionBuilder},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A wall clock that the test sets.
#[derive(Clone)]
struct Wall(Arc<Mutex<SystemTime>>);

impl Wall {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(SystemTime::UNIX_EPOCH + 1_000_000 * MINUTE)))
    }

    fn now(&self) -> SystemTime {
        *self.0.lock().expect("no thread panics with the lock")
    }

    fn set(&self, to: SystemTime) {
        *self.0.lock().expect("no thread panics with the lock") = to;
    }

    /// Advances this clock and tokio's.
    async fn pass(&self, time: Duration) {
        self.set(self.now() + time);
        advance(time).await;
    }

    fn expiring_in(&self, name: &str, life: Duration) -> Token {
        token(name).with_expires_at(self.now() + life)
    }
}

type Client = Refresh<Upstream>;

fn build(
    upstream: &Upstream,
    wall: &Wall,
    configure: impl FnOnce(SessionBuilder) -> SessionBuilder,
) -> (Client, Session, Flights) {
    let (refresher, flights) = manual_refresher();
    let clock = wall.clone();
    let session = configure(Session::builder(refresher).clock(move || clock.now())).build();
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(upstream.clone());
    (client, session, flights)
}

async fn send(client: &Client) -> Result<StatusCode, BoxError> {
    Ok(client.clone().oneshot(get("/api")).await?.status())
}

fn phase(session: &Session) -> Phase {
    session.state().phase().clone()
}

fn assert_failed(session: &Session, in_a_row: u32) {
    let Phase::Failed(failure) = phase(session) else { panic!("{:?}", phase(session)) };
    assert_eq!(failure.in_a_row(), in_a_row);
}

#[tokio::test(start_paused = true)]
async fn within_the_margin_one_flight_starts_and_no_request_waits() {
    let (upstream, wall) = (Upstream::accepting(&["at-1", "at-2"]), Wall::new());
    let first = wall.expiring_in("at-1", 60 * MINUTE);
    let (client, session, mut flights) =
        build(&upstream, &wall, |b| b.credential(first).refresh_ahead(10 * MINUTE));

    wall.pass(49 * MINUTE).await;
    assert_eq!(send(&client).await.unwrap(), StatusCode::OK);
    flights.none_started().await;

    wall.pass(9 * MINUTE).await;
    for _ in 0..50 {
        assert_eq!(send(&client).await.unwrap(), StatusCode::OK);
    }
    let flight = flights.next().await;
    assert_eq!(flight.context.cause(), Cause::Expiring);
    assert!(
        matches!(phase(&session), Phase::Refreshing(flight) if !flight.is_awaited() && flight.attempt() == 1)
    );
    assert_eq!(session.waiters(), 0);
    assert_eq!(upstream.count("at-1"), 51);

    flight.answer(Ok(wall.expiring_in("at-2", 60 * MINUTE)));
    settle_tasks().await;
    assert_eq!(send(&client).await.unwrap(), StatusCode::OK);
    assert_eq!(upstream.count("at-2"), 1);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn a_delayed_request_starts_one_renewal_and_waits_for_at_most_one_flight() {
    let (upstream, wall) = (Upstream::accepting(&[]), Wall::new());
    let first = wall.expiring_in("at-1", 10 * MINUTE);
    let (_, session, mut flights) = build(&upstream, &wall, |b| {
        b.credential(first).refresh_ahead(5 * MINUTE).refresh_ahead_jitter(0.0)
    });
    let never_ready = ConcurrencyLimit::with_semaphore(upstream, Arc::new(Semaphore::new(0)));
    let mut service = RefreshLayer::new(session.clone(), Origins::any()).layer(never_ready);
    // Without `poll_ready`, the response future acquires readiness.
    wall.pass(6 * MINUTE).await;
    let mut request = task::spawn(service.call(get("/")));
    flights.next().await.answer(Ok(wall.expiring_in("at-2", 10 * MINUTE)));
    settle_tasks().await;
    for _ in 0..3 {
        wall.pass(3 * MINUTE).await;
        assert_pending!(request.poll());
    }
    flights.none_started().await;

    wall.pass(MINUTE).await;
    assert_pending!(request.poll());
    assert_eq!(session.waiters(), 1);
    flights.next().await.answer(Ok(wall.expiring_in("at-3", 10 * MINUTE)));
    settle_tasks().await;
    for _ in 0..3 {
        wall.pass(6 * MINUTE).await;
        assert_pending!(request.poll());
    }
    flights.none_started().await;
}

#[test]
fn a_renewal_without_a_runtime_fails_no_request() {
    let wall = Wall::new();
    let first = wall.expiring_in("at-1", 10 * MINUTE);
    let upstream = Upstream::accepting(&["at-1"]);
    let (mut client, ..) =
        build(&upstream, &wall, |b| b.credential(first).refresh_ahead(5 * MINUTE));
    wall.set(wall.now() + 9 * MINUTE);
    let fresh = poll_without_runtime(client.clone().oneshot(get("/")));
    assert_eq!(fresh.unwrap().status(), StatusCode::OK);
    let not_polled_ready = poll_without_runtime(client.call(get("/")));
    assert_eq!(not_polled_ready.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn past_the_expiry_requests_wait_for_a_flight_started_ahead() {
    let (upstream, wall) = (Upstream::accepting(&["at-1", "at-2"]), Wall::new());
    let first = wall.expiring_in("at-1", 10 * MINUTE);
    let (client, session, mut flights) =
        build(&upstream, &wall, |b| b.credential(first).refresh_ahead(MINUTE));
    wall.pass(10 * MINUTE - SECOND).await;
    send(&client).await.unwrap();
    let flight = flights.next().await;

    wall.pass(SECOND).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { send(&client).await }
    });
    settle_tasks().await;
    assert_eq!(session.waiters(), 1);
    flight.succeed("at-2");
    assert_eq!(waiting.await.unwrap().unwrap(), StatusCode::OK);
    assert_eq!((upstream.count("at-1"), upstream.count("at-2")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_rejection_makes_a_flight_started_ahead_awaited() {
    let (upstream, wall) = (Upstream::accepting(&["at-2"]), Wall::new());
    let first = wall.expiring_in("at-1", 10 * MINUTE);
    let (client, session, mut flights) =
        build(&upstream, &wall, |b| b.credential(first).refresh_ahead(MINUTE));
    wall.pass(10 * MINUTE - SECOND).await;
    let rejected = tokio::spawn(async move { send(&client).await });
    let flight = flights.next().await;
    settle_tasks().await;
    assert!(matches!(phase(&session), Phase::Refreshing(flight) if flight.is_awaited()));
    flight.succeed("at-2");
    assert_eq!(rejected.await.unwrap().unwrap(), StatusCode::OK);
    assert_eq!(session.state().flights_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_shorter_than_the_margin_does_not_renew_at_once() {
    let (upstream, wall) = (Upstream::accepting(&["at-1"]), Wall::new());
    let first = wall.expiring_in("at-1", 10 * SECOND);
    let (client, _session, mut flights) =
        build(&upstream, &wall, |b| b.credential(first).refresh_ahead(Duration::MAX));
    wall.pass(4 * SECOND).await;
    send(&client).await.unwrap();
    flights.none_started().await;
    wall.pass(4 * SECOND).await;
    send(&client).await.unwrap();
    drop(flights.next().await);
}

#[tokio::test(start_paused = true)]
async fn a_credential_without_an_expiry_is_never_renewed_ahead() {
    let (upstream, wall) = (Upstream::accepting(&["at-1"]), Wall::new());
    let (client, _session, mut flights) =
        build(&upstream, &wall, |b| b.credential(token("at-1")).refresh_ahead(MINUTE));
    wall.pass(100_000 * MINUTE).await;
    send(&client).await.unwrap();
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_keeps_a_usable_credential_and_is_retried() {
    for failure in [
        RefreshError::transient("503"),
        RefreshError::ambiguous("reset"),
        RefreshError::terminal("invalid_grant"),
    ] {
        let (upstream, wall) = (Upstream::accepting(&["at-1"]), Wall::new());
        let first = wall.expiring_in("at-1", 60 * MINUTE);
        let (client, session, mut flights) =
            build(&upstream, &wall, |b| b.credential(first).refresh_ahead(20 * MINUTE));
        wall.pass(59 * MINUTE).await;
        send(&client).await.unwrap();
        flights.next().await.answer(Err(failure.clone()));
        settle_tasks().await;
        assert_failed(&session, 1);
        for _ in 0..20 {
            assert_eq!(send(&client).await.unwrap(), StatusCode::OK);
        }
        flights.none_started().await;

        wall.pass(3 * SECOND).await;
        assert_eq!(send(&client).await.unwrap(), StatusCode::OK);
        let again = flights.next().await;
        assert_eq!(again.context.previous_error().unwrap().kind(), failure.kind());
        assert!(matches!(phase(&session), Phase::Refreshing(flight) if flight.attempt() == 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_renewal_ends_the_login_once_the_credential_is_rejected() {
    let (upstream, wall) = (Upstream::accepting(&["at-1"]), Wall::new());
    let first = wall.expiring_in("at-1", 60 * MINUTE);
    let (client, session, mut flights) =
        build(&upstream, &wall, |b| b.credential(first).refresh_ahead(20 * MINUTE));
    wall.pass(59 * MINUTE).await;
    send(&client).await.unwrap();
    flights.next().await.answer(Err(RefreshError::terminal("invalid_grant")));
    settle_tasks().await;

    upstream.accept_only(&[]);
    // During the back-off, a rejection gets the stored failure and ends no login.
    let error = send(&client).await.unwrap_err();
    assert_eq!(session_error(&error).kind(), ErrorKind::RefreshFailed);
    wall.pass(3 * SECOND).await;
    let rejected = tokio::spawn(async move { send(&client).await });
    flights.next().await.answer(Err(RefreshError::terminal("invalid_grant")));
    assert_eq!(kind(rejected.await.unwrap()), ErrorKind::LoggedOut);
    assert!(matches!(phase(&session), Phase::LoggedOut(EndReason::Refused(_))));
}

#[tokio::test(start_paused = true)]
async fn fifty_rejections_during_the_back_off_cost_one_refresh() {
    let (upstream, wall) = (Upstream::accepting(&[]), Wall::new());
    let (client, session, mut flights) = build(&upstream, &wall, |b| b.credential(token("at-1")));
    let first = tokio::spawn({
        let client = client.clone();
        async move { send(&client).await }
    });
    flights.next().await.answer(Err(RefreshError::transient("503")));
    let error = first.await.unwrap().unwrap_err();
    let wait = session_error(&error).retry_after().unwrap();
    assert!((SECOND..=2 * SECOND).contains(&wait), "{wait:?}");

    for _ in 0..50 {
        let error = send(&client).await.unwrap_err();
        assert_eq!(session_error(&error).kind(), ErrorKind::RefreshFailed);
        assert_eq!(session_error(&error).retry_after(), Some(wait));
    }
    assert_eq!(
        upstream.count("at-1"),
        51,
        "the credential is still sent, because another origin may accept it"
    );
    flights.none_started().await;
    assert_eq!(session.state().flights_started(), 1);

    wall.pass(wait).await;
    let again = tokio::spawn(async move { send(&client).await });
    upstream.accept_only(&["at-2"]);
    flights.next().await.succeed("at-2");
    assert_eq!(again.await.unwrap().unwrap(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn an_expired_credential_during_the_back_off_fails_unsent() {
    let (upstream, wall) = (Upstream::accepting(&["at-1"]), Wall::new());
    let first = wall.expiring_in("at-1", MINUTE);
    let (client, session, mut flights) = build(&upstream, &wall, |b| b.credential(first));
    wall.pass(MINUTE).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { send(&client).await }
    });
    let asked = RefreshError::transient("429").with_retry_after(30 * SECOND);
    flights.next().await.answer(Err(asked));
    assert_eq!(
        session_error(&waiting.await.unwrap().unwrap_err()).retry_after(),
        Some(30 * SECOND)
    );

    wall.pass(20 * SECOND).await;
    let error = send(&client).await.unwrap_err();
    assert_eq!(session_error(&error).retry_after(), Some(10 * SECOND));
    for joined in [session.refresh().await, session.acquire().await] {
        assert_eq!(joined.unwrap_err().kind(), ErrorKind::RefreshFailed);
    }
    flights.none_started().await;
    assert!(upstream.log().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_back_off_doubles_up_to_its_cap_and_ends_with_a_success() {
    let (upstream, wall) = (Upstream::accepting(&[]), Wall::new());
    let (client, session, mut flights) =
        build(&upstream, &wall, |b| b.credential(token("at-1")).backoff(SECOND, 8 * SECOND));
    let mut least = SECOND;
    for attempt in 1..=8 {
        let sent = tokio::spawn({
            let client = client.clone();
            async move { send(&client).await }
        });
        flights.next().await.answer(Err(RefreshError::transient("503")));
        let wait = session_error(&sent.await.unwrap().unwrap_err()).retry_after().unwrap();
        assert_failed(&session, attempt);
        assert!(
            wait >= least && wait <= (2 * least).min(8 * SECOND),
            "attempt {attempt}: {wait:?}"
        );
        least = (2 * least).min(8 * SECOND);
        wall.pass(wait).await;
    }
    let renewed = session.refresh();
    flights.next().await.succeed("at-2");
    renewed.await.unwrap();
    let failed = session.refresh();
    flights.next().await.answer(Err(RefreshError::transient("503")));
    assert!(failed.await.unwrap_err().retry_after().unwrap() <= 2 * SECOND);
    assert_failed(&session, 1);
}

#[tokio::test(start_paused = true)]
async fn a_login_during_the_back_off_ends_it() {
    let (upstream, wall) = (Upstream::accepting(&["at-9", "at-10"]), Wall::new());
    let (client, session, mut flights) = build(&upstream, &wall, |b| b.credential(token("at-1")));
    let failed = session.refresh();
    flights.next().await.answer(Err(RefreshError::transient("503").with_retry_after(60 * MINUTE)));
    failed.await.unwrap_err();

    session.login(token("at-9"));
    assert_eq!(send(&client).await.unwrap(), StatusCode::OK);
    let renewed = session.refresh();
    let flight = flights.next().await;
    assert!(flight.context.previous_error().is_none());
    flight.succeed("at-10");
    renewed.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_rejects_every_new_credential_costs_one_refresh_per_window() {
    let (upstream, wall) = (Upstream::accepting(&[]), Wall::new());
    let refresher = CountingRefresher::for_upstream(&Upstream::accepting(&[]));
    let clock = wall.clone();
    let session = Session::builder(refresher.clone())
        .credential(token("at-1"))
        .clock(move || clock.now())
        .refresh_limit(5, 30 * SECOND)
        .build();
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(upstream.clone());
    for request in 0..290 {
        assert_eq!(
            send(&client).await.unwrap(),
            StatusCode::UNAUTHORIZED,
            "request {request} gets its own rejection"
        );
        wall.pass(SECOND).await;
    }
    assert_eq!(
        refresher.calls(),
        10,
        "one refresh at the first request, and one per thirty seconds"
    );
}

/// Sends a request with a session that answers each flight with this token.
async fn send_and_answer(client: &Client, flights: &mut Flights, answer: Token) -> StatusCode {
    let sent = tokio::spawn({
        let client = client.clone();
        async move { send(&client).await }
    });
    flights.next().await.answer(Ok(answer));
    sent.await.expect("no panic").expect("a response")
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_returns_an_accepted_credential_keeps_its_acceptance() {
    for acquired in [false, true] {
        let (upstream, wall) = (Upstream::accepting(&["at-1", "at-2"]), Wall::new());
        let first = wall.expiring_in("at-1", MINUTE);
        let (client, _, mut flights) = build(&upstream, &wall, |b| {
            if acquired { b.acquire_on_demand(true) } else { b.credential(first.clone()) }
        });
        let sent = match acquired {
            false => send(&client).await.unwrap(),
            true => send_and_answer(&client, &mut flights, first).await,
        };
        assert_eq!(sent, StatusCode::OK);
        // The refresher reads the same token again, for any number of times.
        for _ in 0..3 {
            wall.pass(MINUTE).await;
            let again = wall.expiring_in("at-1", MINUTE);
            assert_eq!(send_and_answer(&client, &mut flights, again).await, StatusCode::OK);
        }
        wall.pass(MINUTE).await;
        upstream.accept_only(&["at-2"]);
        let again = wall.expiring_in("at-1", MINUTE);
        let rejected = send_and_answer(&client, &mut flights, again).await;
        assert_eq!(rejected, StatusCode::UNAUTHORIZED, "this request had a flight already");
        let replayed = send_and_answer(&client, &mut flights, token("at-2")).await;
        assert_eq!(replayed, StatusCode::OK, "a rejection starts a refresh at once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_returns_an_unaccepted_credential_does_not_prolong_the_window() {
    let (upstream, wall) = (Upstream::accepting(&[]), Wall::new());
    let (client, _, mut flights) = build(&upstream, &wall, |b| b.acquire_on_demand(true));
    for _ in 0..3 {
        let brought = wall.expiring_in("at-1", 10 * SECOND);
        let rejected = send_and_answer(&client, &mut flights, brought).await;
        assert_eq!(rejected, StatusCode::UNAUTHORIZED);
        assert_eq!(send(&client).await.unwrap(), StatusCode::UNAUTHORIZED);
        flights.none_started().await;
        wall.pass(10 * SECOND).await;
    }
    // Thirty seconds after its arrival, the credential is old enough for another refresh.
    let brought = wall.expiring_in("at-1", 10 * SECOND);
    let rejected = send_and_answer(&client, &mut flights, brought).await;
    assert_eq!(rejected, StatusCode::UNAUTHORIZED);
    upstream.accept_only(&["at-2"]);
    assert_eq!(send_and_answer(&client, &mut flights, token("at-2")).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn successful_refreshes_are_limited_per_window() {
    let (upstream, wall) = (Upstream::accepting(&[]), Wall::new());
    let (client, session, mut flights) =
        build(&upstream, &wall, |b| b.credential(token("at-0")).refresh_limit(3, 30 * SECOND));
    for number in 1..=3 {
        // Each new credential is accepted once.
        let name = format!("at-{number}");
        upstream.accept_only(&[&name]);
        let sent = tokio::spawn({
            let client = client.clone();
            async move { send(&client).await }
        });
        flights.next().await.succeed(&name);
        assert_eq!(sent.await.unwrap().unwrap(), StatusCode::OK);
        upstream.accept_only(&[]);
    }
    for _ in 0..50 {
        assert_eq!(send(&client).await.unwrap(), StatusCode::UNAUTHORIZED);
    }
    flights.none_started().await;
    wall.pass(30 * SECOND).await;
    let sent = tokio::spawn(async move { send(&client).await });
    drop(flights.next().await);
    settle_tasks().await;
    drop(sent);
    assert_eq!(session.state().flights_started(), 4);
}

#[tokio::test(start_paused = true)]
async fn expiries_that_exceed_the_refresh_limit_are_ignored() {
    // The clock of the auth service is almost a token's lifetime behind the clock of the session.
    let (upstream, wall) = (Upstream::accepting(&["at-1", "at-2"]), Wall::new());
    let first = wall.expiring_in("at-1", 2 * SECOND);
    let (client, session, mut flights) = build(&upstream, &wall, |b| b.credential(first));
    let endpoint = tokio::spawn({
        let wall = wall.clone();
        async move {
            loop {
                flights.next().await.answer(Ok(wall.expiring_in("at-2", 2 * SECOND)));
            }
        }
    });
    for _ in 0..600 {
        assert_eq!(send(&client).await.unwrap(), StatusCode::OK);
        wall.pass(SECOND).await;
    }
    assert_eq!(session.state().flights_started(), 5);
    assert_eq!(session.state().expires_at(), None);
    endpoint.abort();
}

#[tokio::test(start_paused = true)]
async fn an_expiry_beyond_the_window_is_used_with_the_lowest_limit() {
    let (upstream, wall) = (Upstream::accepting(&["at-1", "at-2"]), Wall::new());
    let first = wall.expiring_in("at-1", 10 * MINUTE);
    let (client, session, mut flights) =
        build(&upstream, &wall, |b| b.credential(first).refresh_limit(1, 30 * SECOND));
    wall.pass(10 * MINUTE).await;
    let sent = tokio::spawn(async move { send(&client).await });
    flights.next().await.answer(Ok(wall.expiring_in("at-2", 10 * MINUTE)));
    assert_eq!(sent.await.unwrap().unwrap(), StatusCode::OK);
    assert_eq!(session.state().expires_at(), Some(wall.now() + 10 * MINUTE));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_refresh_limit_an_expired_credential_is_sent() {
    let (upstream, wall) = (Upstream::accepting(&["at-1"]), Wall::new());
    let (client, session, mut flights) =
        build(&upstream, &wall, |b| b.credential(token("at-0")).refresh_limit(1, 30 * SECOND));
    let renewed = session.refresh();
    flights.next().await.answer(Ok(wall.expiring_in("at-1", SECOND)));
    renewed.await.unwrap();
    wall.pass(2 * SECOND).await;
    assert_eq!(send(&client).await.unwrap(), StatusCode::OK);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn an_ambiguous_outcome_retries_or_ends_the_login_as_configured() {
    for (outcome, ends) in [(AmbiguousOutcome::Retry, false), (AmbiguousOutcome::EndLogin, true)] {
        let (upstream, wall) = (Upstream::accepting(&[]), Wall::new());
        let (client, session, mut flights) = build(&upstream, &wall, |b| {
            b.credential(token("at-1")).on_ambiguous(outcome).refresh_timeout(5 * SECOND)
        });
        let sent = tokio::spawn(async move { send(&client).await });
        let flight = flights.next().await;
        wall.pass(5 * SECOND).await;
        let error = sent.await.unwrap().unwrap_err();
        assert!(flight.is_dropped());
        let expected = if ends { ErrorKind::LoggedOut } else { ErrorKind::RefreshFailed };
        assert_eq!(session_error(&error).kind(), expected);
        assert_eq!(session.credential().is_none(), ends);
    }
}

#[tokio::test(start_paused = true)]
async fn the_login_ends_after_the_configured_number_of_refusals() {
    let (upstream, wall) = (Upstream::accepting(&[]), Wall::new());
    let (client, session, mut flights) =
        build(&upstream, &wall, |b| b.credential(token("at-1")).terminal_after(2));
    let answers = [
        (RefreshError::terminal("403"), ErrorKind::RefreshFailed),
        (RefreshError::transient("503"), ErrorKind::RefreshFailed),
        (RefreshError::terminal("403"), ErrorKind::RefreshFailed),
        (RefreshError::terminal("403"), ErrorKind::LoggedOut),
    ];
    for (answer, expected) in answers {
        let sent = tokio::spawn({
            let client = client.clone();
            async move { send(&client).await }
        });
        flights.next().await.answer(Err(answer));
        assert_eq!(kind(sent.await.unwrap()), expected);
        wall.pass(MINUTE).await;
    }
    assert!(matches!(phase(&session), Phase::LoggedOut(_)));
}

#[tokio::test(start_paused = true)]
async fn clock_jumps_cost_at_most_one_refresh() {
    let year = 365 * 24 * 60 * MINUTE;
    for jump_back in [false, true] {
        let (upstream, wall) = (Upstream::accepting(&["at-1", "at-2"]), Wall::new());
        let start = wall.now();
        let first = wall.expiring_in("at-1", 60 * MINUTE);
        let (client, session, mut flights) =
            build(&upstream, &wall, |b| b.credential(first).refresh_ahead(MINUTE));
        wall.set(if jump_back { start - year } else { start + year });
        let sent = tokio::spawn({
            let client = client.clone();
            async move { send(&client).await }
        });
        settle_tasks().await;
        if !jump_back {
            // The clock jumps back during the flight.
            let flight = flights.next().await;
            wall.set(start);
            flight.answer(Ok(token("at-2").with_expires_at(start + 60 * MINUTE)));
        }
        assert_eq!(sent.await.unwrap().unwrap(), StatusCode::OK);
        for _ in 0..20 {
            assert_eq!(send(&client).await.unwrap(), StatusCode::OK);
        }
        flights.none_started().await;
        assert_eq!(session.state().flights_started(), u64::from(!jump_back));
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_goes_back_does_not_prolong_a_back_off() {
    let (upstream, wall) = (Upstream::accepting(&[]), Wall::new());
    let (_client, session, mut flights) = build(&upstream, &wall, |b| b.credential(token("at-1")));
    let failed = session.refresh();
    flights.next().await.answer(Err(RefreshError::transient("503")));
    let wait = failed.await.unwrap_err().retry_after().unwrap();
    wall.set(SystemTime::UNIX_EPOCH);
    advance(wait).await;
    let again = session.refresh();
    flights.next().await.succeed("at-2");
    again.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn extreme_expiries_do_not_overflow() {
    let (upstream, wall) = (Upstream::accepting(&["at-1"]), Wall::new());
    for expires_at in [
        SystemTime::UNIX_EPOCH,
        wall.now(),
        wall.now() + Duration::from_nanos(1),
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::MAX / 2)).unwrap(),
    ] {
        let first = token("at-1").with_expires_at(expires_at);
        let (client, session, _flights) = build(&upstream, &wall, |b| {
            b.credential(first).refresh_ahead(Duration::MAX).refresh_ahead_jitter(f64::NAN)
        });
        assert_eq!(send(&client).await.unwrap(), StatusCode::OK);
        assert_eq!(session.state().flights_started(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn max_waiters_bounds_the_waiting_requests_and_the_count_is_exact() {
    let (upstream, wall) = (Upstream::accepting(&[]), Wall::new());
    let (client, session, mut flights) =
        build(&upstream, &wall, |b| b.credential(token("at-1")).max_waiters(3));
    let spawn = || {
        let client = client.clone();
        tokio::spawn(async move { send(&client).await })
    };
    let waiting: Vec<_> = (0..3).map(|_| spawn()).collect();
    let flight = flights.next().await;
    settle_tasks().await;
    assert_eq!(session.waiters(), 3);
    assert_eq!(kind(send(&client).await), ErrorKind::Overloaded);

    for waiter in &waiting {
        waiter.abort();
    }
    settle_tasks().await;
    assert_eq!(session.waiters(), 0, "every waiting request was aborted");
    let late = spawn();
    settle_tasks().await;
    assert_eq!(session.waiters(), 1);
    upstream.accept_only(&["at-2"]);
    flight.succeed("at-2");
    assert_eq!(late.await.unwrap().unwrap(), StatusCode::OK);
    assert_eq!(session.waiters(), 0);
    assert_eq!(session.state().flights_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn with_max_waiters_of_zero_a_rejection_still_starts_a_refresh() {
    let upstream = Upstream::accepting(&[]);
    let (refresher, mut flights) = manual_refresher();
    let session = Session::builder(refresher).credential(token("at-1")).max_waiters(0).build();
    let client = RefreshLayer::new(session, Origins::any())
        .failure_mode(FailureMode::Response)
        .layer(upstream.clone());
    assert_eq!(
        send(&client).await.unwrap(),
        StatusCode::UNAUTHORIZED,
        "the request gets its own rejection"
    );
    upstream.accept_only(&["at-2"]);
    flights.next().await.succeed("at-2");
    settle_tasks().await;
    assert_eq!(send(&client).await.unwrap(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn keep_fresh_renews_an_idle_session_and_ends_with_it() {
    let (upstream, wall) = (Upstream::accepting(&[]), Wall::new());
    let first = wall.expiring_in("at-1", 10 * MINUTE);
    let (client, session, mut flights) =
        build(&upstream, &wall, |b| b.credential(first).refresh_ahead(MINUTE));
    let keeper = tokio::spawn(session.keep_fresh());
    for number in 2..6 {
        for _ in 0..17 {
            wall.pass(MINUTE / 2).await;
        }
        flights.none_started().await;
        wall.pass(MINUTE).await;
        let flight = flights.next().await;
        assert_eq!(flight.context.cause(), Cause::Expiring);
        flight.answer(Ok(wall.expiring_in(&format!("at-{number}"), 10 * MINUTE)));
        settle_tasks().await;
    }
    assert!(upstream.log().is_empty());
    assert!(!keeper.is_finished());
    drop((client, session));
    settle_tasks().await;
    assert!(keeper.is_finished());
}

#[tokio::test(start_paused = true)]
async fn keep_fresh_continues_after_a_failure_a_logout_and_a_login() {
    let (upstream, wall) = (Upstream::accepting(&[]), Wall::new());
    let first = wall.expiring_in("at-1", 10 * MINUTE);
    let (_client, session, mut flights) =
        build(&upstream, &wall, |b| b.credential(first).refresh_ahead(MINUTE));
    let keeper = tokio::spawn(session.keep_fresh());
    settle_tasks().await;
    wall.pass(10 * MINUTE).await;
    flights.next().await.answer(Err(RefreshError::transient("503")));
    settle_tasks().await;
    assert_failed(&session, 1);
    wall.pass(2 * SECOND).await;
    flights.next().await.answer(Err(RefreshError::transient("503")));
    settle_tasks().await;

    session.logout().await;
    wall.pass(60 * MINUTE).await;
    flights.none_started().await;
    session.login(wall.expiring_in("at-2", 10 * MINUTE));
    settle_tasks().await;
    wall.pass(10 * MINUTE).await;
    drop(flights.next().await);
    assert!(!keeper.is_finished());
}

/// Sends a request every `step` for `span`, while a refresher brings tokens of this lifetime. All
/// tokens are good until they expire. Returns the number of requests that got a 401, and how many
/// states had no expiry.
async fn rejections(
    lifetime: Duration,
    step: Duration,
    span: Duration,
    configure: impl FnOnce(SessionBuilder) -> SessionBuilder,
) -> (usize, usize) {
    let (upstream, wall) = (Upstream::accepting(&["at-1"]), Wall::new());
    let first = wall.expiring_in("at-1", lifetime);
    let (client, session, mut flights) =
        build(&upstream, &wall, |b| configure(b.credential(first).refresh_ahead_jitter(0.0)));
    let endpoint = tokio::spawn({
        let (upstream, wall) = (upstream.clone(), wall.clone());
        async move {
            for number in 2.. {
                let name = format!("at-{number}");
                let flight = flights.next().await;
                let current = flight.context.current().expect("the session has a token");
                upstream.accept_only(&[&name, current.access_token()]);
                flight.answer(Ok(wall.expiring_in(&name, lifetime)));
            }
        }
    });
    let (mut rejected, mut of_unknown_expiry) = (0, 0);
    let mut expiry = wall.now() + lifetime;
    let mut elapsed = Duration::ZERO;
    while elapsed < span {
        if let Some(at) = session.state().expires_at() {
            expiry = at;
        } else {
            of_unknown_expiry += 1;
        }
        if expiry <= wall.now() {
            upstream.accept_only(&[]);
        }
        rejected +=
            usize::from(send(&client).await.expect("no session error") == StatusCode::UNAUTHORIZED);
        settle_tasks().await;
        wall.pass(step).await;
        elapsed += step;
    }
    endpoint.abort();
    (rejected, of_unknown_expiry)
}

#[tokio::test(start_paused = true)]
async fn a_sound_expiry_is_kept_when_the_limit_is_reached_within_a_longer_window() {
    for (refreshes, window, lifetime, margin) in [
        (3, 60 * MINUTE, 30 * MINUTE, 5 * MINUTE),
        (3, 60 * MINUTE, 30 * MINUTE, Duration::ZERO),
        (3, 60 * MINUTE, 15 * MINUTE, MINUTE),
        (1, 60 * MINUTE, 30 * MINUTE, MINUTE),
        (5, 24 * 60 * MINUTE, 60 * MINUTE, 2 * MINUTE),
        (1000, 30 * SECOND, 2 * MINUTE, MINUTE),
    ] {
        let (_, of_unknown_expiry) = rejections(lifetime, MINUTE / 2, 6 * 60 * MINUTE, |b| {
            b.refresh_limit(refreshes, window).refresh_ahead(margin)
        })
        .await;
        assert_eq!(of_unknown_expiry, 0, "{refreshes} in {window:?}, {lifetime:?}, {margin:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_request_is_rejected_while_the_limit_allows_each_renewal() {
    for (refreshes, window, lifetime, margin) in
        [(3, 60 * MINUTE, 30 * MINUTE, 5 * MINUTE), (3, 60 * MINUTE, 30 * MINUTE, Duration::ZERO)]
    {
        let (rejected, _) = rejections(lifetime, MINUTE / 2, 12 * 60 * MINUTE, |b| {
            b.refresh_limit(refreshes, window).refresh_ahead(margin)
        })
        .await;
        assert_eq!(rejected, 0, "{lifetime:?}, {margin:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn renewals_ahead_stay_within_the_limit_so_that_no_request_is_rejected() {
    for (refreshes, window, lifetime) in [
        (5, 30 * SECOND, 7 * SECOND),
        (5, 30 * SECOND, 8 * SECOND),
        (5, 30 * SECOND, 11 * SECOND),
        (5, 30 * SECOND, 20 * SECOND),
        (1, 30 * SECOND, 45 * SECOND),
        (2, 60 * SECOND, 40 * SECOND),
        (3, 60 * MINUTE, 25 * MINUTE),
    ] {
        for margin in [Duration::ZERO, SECOND, 4 * SECOND, MINUTE, Duration::MAX] {
            let (rejected, _) =
                rejections(lifetime, SECOND.max(lifetime / 10), 20 * lifetime, |b| {
                    b.refresh_limit(refreshes, window).refresh_ahead(margin)
                })
                .await;
            assert_eq!(rejected, 0, "{refreshes} in {window:?}, {lifetime:?}, {margin:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn retry_now_lets_the_next_request_refresh() {
    let (upstream, wall) = (Upstream::accepting(&["at-2"]), Wall::new());
    let (client, session, mut flights) =
        build(&upstream, &wall, |b| b.acquire_on_demand(true).backoff(MINUTE, MINUTE));
    session.retry_now();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { send(&client).await }
    });
    flights.next().await.answer(Err(RefreshError::transient("no network")));
    assert_eq!(kind(waiting.await.unwrap()), ErrorKind::RefreshFailed);
    assert_eq!(kind(send(&client).await), ErrorKind::RefreshFailed);
    flights.none_started().await;

    session.retry_now();
    let waiting = tokio::spawn(async move { send(&client).await });
    let flight = flights.next().await;
    assert!(flight.context.previous_error().is_some());
    flight.succeed("at-2");
    assert_eq!(waiting.await.unwrap().unwrap(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn retry_now_wakes_keep_fresh() {
    let (upstream, wall) = (Upstream::accepting(&[]), Wall::new());
    let first = wall.expiring_in("at-1", 10 * MINUTE);
    let (_client, session, mut flights) = build(&upstream, &wall, |b| {
        b.credential(first).refresh_ahead(MINUTE).backoff(MINUTE, MINUTE)
    });
    let keeper = tokio::spawn(session.keep_fresh());
    settle_tasks().await;
    wall.pass(9 * MINUTE + 30 * SECOND).await;
    flights.next().await.answer(Err(RefreshError::transient("no network")));
    flights.none_started().await;
    assert_eq!(session.acquire().await.unwrap().access_token(), "at-1");

    session.retry_now();
    flights.next().await.answer(Ok(wall.expiring_in("at-2", 10 * MINUTE)));
    settle_tasks().await;
    assert_eq!(session.credential().unwrap().access_token(), "at-2");
    keeper.abort();
}
