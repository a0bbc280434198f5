//! Every flight has one start and one settle, however it ends.

use std::{panic::resume_unwind, time::Duration};

use http::StatusCode;
use tokio::runtime::Builder;
use tower::Layer;
use tower_refresh::{
    ErrorKind, Origins, RefreshContext, RefreshError, RefreshLayer, Session, Token, refresher_fn,
};

use crate::{
    SECOND,
    support::{
        audit::{Audit, Durations, Lines},
        *,
    },
    watched,
};

#[tokio::test(start_paused = true)]
async fn a_herd_of_1000_has_one_start_one_settle_and_an_event_of_each_request() {
    let upstream = Upstream::accepting(&[]);
    let audit = Audit::default();
    let session = Session::builder(CountingRefresher::for_upstream(&upstream))
        .credential(token("at-1"))
        .observer(audit.clone())
        .build();
    let client = RefreshLayer::new(session, Origins::any()).layer(upstream);
    for request in ask_many(&client, 1000, |_| get("/")) {
        assert_eq!(status(request).await, StatusCode::OK);
    }
    audit.assert_balanced();
    let books = audit.books();
    assert_eq!((books.flights_started, books.flights_settled), (1, 1));
    assert_eq!((books.rejected, books.replayed, books.refused), (1000, 1000, 0));
    assert_eq!(books.waits_started + books.late, 1000, "each waits, or is late");
}

#[tokio::test(start_paused = true)]
async fn a_failed_herd_of_1000_has_one_start_one_settle_and_1000_refused_requests() {
    for failure in [RefreshError::transient("503"), RefreshError::terminal("revoked")] {
        let (refresher, mut flights) = manual_refresher();
        let audit = Audit::default();
        let session =
            Session::builder(refresher).credential(token("at-1")).observer(audit.clone()).build();
        let client =
            RefreshLayer::new(session.clone(), Origins::any()).layer(Upstream::accepting(&[]));
        let requests = ask_many(&client, 1000, |_| get("/"));
        let flight = flights.next().await;
        settle_tasks().await;
        assert_eq!(session.waiters(), 1000);
        flight.answer(Err(failure.clone()));
        for request in requests {
            assert!(request.await.unwrap().is_err());
        }
        audit.assert_balanced();
        let books = audit.books();
        assert_eq!((books.flights_started, books.flights_settled), (1, 1));
        assert_eq!((books.rejected, books.replayed, books.refused), (1000, 0, 1000));
        assert_eq!(books.logins_ended, usize::from(failure.is_terminal()));
    }
}

/// Each way in which a flight ends by its refresher, and the line of its settle.
#[tokio::test(start_paused = true)]
async fn each_result_of_a_refresher_settles_the_flight_once() {
    let renewed = "flight 1 settled: renewed to Generation(2), 0 waiters";
    let transient = "flight 1 settled: failed: transient, 1 in a row, 0 waiters";
    let ambiguous = "flight 1 settled: failed: ambiguous, 1 in a row, 0 waiters";
    // The credential is still usable, so that the refusal ends no login.
    let terminal = "flight 1 settled: failed: terminal, 1 in a row, 0 waiters";
    type Act = fn() -> Result<Token, RefreshError>;
    let acts: [(&str, Act); 5] = [
        (renewed, || Ok(token("at-2"))),
        (transient, || Err(RefreshError::transient("503"))),
        (ambiguous, || Err(RefreshError::ambiguous("cut off"))),
        (terminal, || Err(RefreshError::terminal("revoked"))),
        (ambiguous, || resume_unwind(Box::new("a panic without a message"))),
    ];
    for (settled, act) in acts {
        for is_late in [false, true] {
            let refresher = refresher_fn(move |_: RefreshContext| async move {
                if is_late {
                    tokio::time::sleep(SECOND).await;
                }
                act()
            });
            let (lines, audit) = (Lines::default(), Audit::default());
            let session = Session::builder(refresher)
                .credential(token("at-1"))
                .observer(lines.clone())
                .observer(audit.clone())
                .build();
            drop(session.refresh().await);
            let lines = lines.take();
            assert_eq!(
                lines[2..],
                ["flight 1 started: forced, not awaited, 0 failures", settled],
                "{lines:?}"
            );
            audit.assert_balanced();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_out_settles_the_flight_after_exactly_its_limit() {
    let (refresher, mut flights) = manual_refresher();
    let (lines, durations) = (Lines::default(), Durations::default());
    let session = Session::builder(refresher)
        .credential(token("at-1"))
        .refresh_timeout(7 * SECOND)
        .observer(lines.clone())
        .observer(durations.clone())
        .build();
    let refreshed = session.refresh();
    let _unanswered = flights.next().await;
    assert_eq!(refreshed.await.unwrap_err().kind(), ErrorKind::RefreshFailed);
    assert_eq!(
        lines.take().last().unwrap(),
        "flight 1 settled: failed: ambiguous, 1 in a row, 0 waiters"
    );
    assert_eq!(durations.read(), [7 * SECOND]);
}

#[tokio::test(start_paused = true)]
async fn an_overtaken_flight_settles_as_fenced_when_its_refresher_is_done() {
    type Overtake = fn(&Session);
    let ways: [(Overtake, &[&str]); 3] = [
        (
            |session| {
                session.login(token("at-2"));
            },
            &[
                "Login(1) with Generation(1) ended: replaced",
                "Login(2) began with Some(Generation(2))",
            ],
        ),
        (|session| drop(session.logout()), &["Login(1) with Generation(1) ended: logout"]),
        (
            |session| {
                session.replace(session.state().login(), token("at-2")).unwrap();
            },
            &["Login(1) got Generation(2)"],
        ),
    ];
    for (overtake, then) in ways {
        for answer in [Ok(token("at-9")), Err(RefreshError::terminal("revoked"))] {
            let (session, mut flights, _client, _upstream, lines) = watched();
            drop(session.refresh());
            let flight = flights.next().await;
            assert_eq!(lines.take(), ["flight 1 started: forced, not awaited, 0 failures"]);
            overtake(&session);
            assert_eq!(lines.take(), then);
            flight.answer(answer);
            settle_tasks().await;
            assert_eq!(lines.take(), ["flight 1 settled: fenced, 0 waiters"]);
        }
    }
}

#[test]
fn the_end_of_a_runtime_settles_its_flight_once() {
    for is_polled in [false, true] {
        let (refresher, mut flights) = manual_refresher();
        let (lines, audit) = (Lines::default(), Audit::default());
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let entered = runtime.enter();
        let session = Session::builder(refresher)
            .credential(token("at-1"))
            .observer(lines.clone())
            .observer(audit.clone())
            .build();
        drop(session.refresh());
        drop(entered);
        let _flight = is_polled.then(|| runtime.block_on(flights.next()));
        drop(runtime);
        let kind = if is_polled { "ambiguous" } else { "transient" };
        assert_eq!(
            lines.take()[2..],
            [
                "flight 1 started: forced, not awaited, 0 failures".to_owned(),
                format!("flight 1 settled: failed: {kind}, 1 in a row, 0 waiters"),
            ]
        );
        audit.assert_balanced();
        drop(session);
        assert_eq!(lines.take(), ["session dropped"]);
    }
}

#[test]
fn a_runtime_that_is_gone_settles_the_flight_that_it_refuses() {
    let (refresher, _flights) = manual_refresher();
    let (lines, audit) = (Lines::default(), Audit::default());
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let entered = runtime.enter();
    let session = Session::builder(refresher)
        .credential(token("at-1"))
        .observer(lines.clone())
        .observer(audit.clone())
        .build();
    drop(entered);
    drop(runtime);
    drop(session.refresh());
    assert_eq!(
        lines.take()[2..],
        [
            "flight 1 started: forced, not awaited, 0 failures",
            "flight 1 settled: failed: transient, 1 in a row, 0 waiters",
        ]
    );
    audit.assert_balanced();
}

#[test]
fn a_flight_without_any_runtime_never_starts() {
    let (refresher, _flights) = manual_refresher();
    let lines = Lines::default();
    let session =
        Session::builder(refresher).credential(token("at-1")).observer(lines.clone()).build();
    let error = poll_without_runtime(session.refresh()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoRuntime);
    assert_eq!(lines.take().len(), 2, "the session and its login");
}

#[tokio::test(start_paused = true)]
async fn a_further_attempt_is_an_event_and_the_flight_still_settles_once() {
    let (_session, mut flights, client, mut upstream, lines) = watched();
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    flights.next().await.answer(Err(RefreshError::unprocessed("refused")));
    flights.next().await.succeed("at-2");
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    assert_eq!(
        lines.take(),
        [
            "request with Generation(1) rejected",
            "flight 1 started: rejected, awaited, 0 failures",
            "request waits for 1, 1 wait",
            "flight 1, attempt 1 failed: transient",
            "flight 1 settled: renewed to Generation(2), 1 waiters",
            "request waited for 1, 0 wait: released",
            "request replayed with Generation(2)",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_are_counted_and_a_flight_says_how_many_came_before() {
    let (session, mut flights, _client, _upstream, lines) = watched();
    for number in 1..=3_u32 {
        let refreshed = session.refresh();
        flights.next().await.answer(Err(RefreshError::transient("503")));
        drop(refreshed.await);
        let before = number - 1;
        assert_eq!(
            lines.take(),
            [
                format!("flight {number} started: forced, not awaited, {before} failures"),
                format!("flight {number} settled: failed: transient, {number} in a row, 0 waiters"),
            ]
        );
        tokio::time::advance(Duration::from_secs(120)).await;
    }
}
