//! What each event says.

use std::{future::pending, panic::resume_unwind, sync::Arc};

use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::runtime::Builder;
use tokio_test::{assert_pending, task};
use tower::{Layer, Service, ServiceExt};
use tower_refresh::{
    ErrorKind, FailureMode, Origin, Origins, RefreshError, RefreshLayer, Session,
    detect::{Verdict, detect_fn},
    extension::{Anonymous, NoRefresh, NoReplay, Stamp},
    observe::{Event, observer_fn},
};

use crate::{
    SECOND,
    support::{
        audit::{Durations, Lines},
        stack::{BoxedBody, answer_with, channel_body, data, frame, frames, manual_service},
        *,
    },
    watched,
};

#[tokio::test(start_paused = true)]
async fn a_rejected_request_comes_before_the_flight_that_it_starts() {
    let (_session, mut flights, client, mut upstream, lines) = watched();
    let first = ask(&client, get("/"));
    upstream.next().await.reject();
    let flight = flights.next().await;
    let second = ask(&client, get("/"));
    settle_tasks().await;
    assert_eq!(
        lines.take(),
        [
            "request with Generation(1) rejected",
            "flight 1 started: rejected, awaited, 0 failures",
            "request waits for 1, 1 wait",
            "request waits for 1, 2 wait",
        ]
    );
    flight.succeed("at-2");
    for arrived in upstream.take(2).await {
        arrived.accept();
    }
    assert_eq!((status(first).await, status(second).await), (StatusCode::OK, StatusCode::OK));
    let told = lines.take();
    assert_eq!(told[0], "flight 1 settled: renewed to Generation(2), 2 waiters");
    // The second request was not sent before, so that it is no replay.
    assert_eq!(told.iter().filter(|line| line.contains("replayed")).count(), 1, "{told:?}");
    assert_eq!(told.len(), 4, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_fresh_request_and_an_untouched_one_cause_no_event() {
    let (_session, _flights, client, mut upstream, lines) = watched();
    for untouched in [false, true] {
        let mut request = get("/");
        if untouched {
            request.extensions_mut().insert(Anonymous);
        }
        let request = ask(&client, request);
        let arrived = upstream.next().await;
        if untouched {
            arrived.reject()
        } else {
            arrived.accept()
        }
        drop(request.await.unwrap());
    }
    assert_eq!(lines.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_late_rejection_says_so_and_starts_no_flight() {
    let (session, _flights, client, mut upstream, lines) = watched();
    let request = ask(&client, get("/"));
    let late = upstream.next().await;
    session.replace(session.state().login(), token("at-2")).unwrap();
    late.reject();
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    assert_eq!(
        lines.take(),
        [
            "Login(1) got Generation(2)",
            "request with Generation(1) rejected late",
            "request replayed with Generation(2)",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_rejected_replay_says_so_and_the_next_rejection_is_held_off() {
    let (_session, mut flights, client, mut upstream, lines) = watched();
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    flights.next().await.succeed("at-2");
    upstream.next().await.reject();
    assert_eq!(status(request).await, StatusCode::UNAUTHORIZED);
    assert_eq!(
        lines.take()[5..],
        ["request replayed with Generation(2)", "request with Generation(2) rejected again",]
    );
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    assert_eq!(status(request).await, StatusCode::UNAUTHORIZED);
    assert_eq!(lines.take(), ["request with Generation(2) rejected", "held off for 0ns: rejected"]);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_beyond_the_refresh_limit_is_held_off_for_the_rest_of_the_window() {
    let (refresher, mut flights) = manual_refresher();
    let lines = Lines::default();
    let session = Session::builder(refresher)
        .credential(token("at-1"))
        .refresh_limit(1, 10 * SECOND)
        .observer(lines.clone())
        .build();
    let (client, mut upstream) = over_mock(&session);
    let refreshed = session.refresh();
    flights.next().await.succeed("at-2");
    refreshed.await.unwrap();
    let request = ask(&client, get("/"));
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    tokio::time::advance(4 * SECOND).await;
    lines.take();
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    assert_eq!(status(request).await, StatusCode::UNAUTHORIZED);
    assert_eq!(lines.take(), ["request with Generation(2) rejected", "held off for 6s: rejected"]);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_due_during_a_back_off_is_held_off() {
    let clock = Clock::new();
    let (refresher, mut flights) = manual_refresher();
    let lines = Lines::default();
    let session = Session::builder(refresher)
        .credential(token("at-1").with_expires_at(clock.after(100)))
        .refresh_ahead(50 * SECOND)
        .refresh_ahead_jitter(0.0)
        .clock(clock.reader())
        .observer(lines.clone())
        .build();
    tokio::spawn(session.keep_fresh());
    settle_tasks().await;
    assert_eq!(lines.take().len(), 2, "not due yet");
    clock.advance(60);
    tokio::time::advance(60 * SECOND).await;
    let failure = RefreshError::transient("503").with_retry_after(20 * SECOND);
    flights.next().await.answer(Err(failure));
    settle_tasks().await;
    assert_eq!(
        lines.take(),
        [
            "flight 1 started: expiring, not awaited, 0 failures",
            "flight 1 settled: failed: transient, 1 in a row, 0 waiters",
            "held off for 20s: expiring",
        ]
    );
    // Time passes for the session as well.
    clock.advance(20);
    tokio::time::advance(20 * SECOND).await;
    flights.next().await.succeed("at-2");
}

#[tokio::test(start_paused = true)]
async fn a_usable_credential_is_handed_out_without_an_event_while_its_renewal_is_held_off() {
    let clock = Clock::new();
    let (refresher, mut flights) = manual_refresher();
    let lines = Lines::default();
    let session = Session::builder(refresher)
        .credential(token("at-1").with_expires_at(clock.after(100)))
        .refresh_ahead(50 * SECOND)
        .refresh_ahead_jitter(0.0)
        .clock(clock.reader())
        .observer(lines.clone())
        .build();
    let (client, mut upstream) = over_mock(&session);
    clock.advance(60);
    session.fresh().await.unwrap();
    flights.next().await.answer(Err(RefreshError::transient("503").with_retry_after(20 * SECOND)));
    settle_tasks().await;
    assert_eq!(lines.take()[2..].len(), 2, "the renewal failed");
    session.fresh().await.unwrap();
    let request = ask(&client, get("/"));
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    assert_eq!(lines.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_waiter_has_a_wait_that_ended() {
    let (session, mut flights, client, mut upstream, lines) = watched();
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    let flight = flights.next().await;
    lines.take();
    request.abort();
    settle_tasks().await;
    assert_eq!(lines.take(), ["request waited for 1, 0 wait: dropped"]);
    assert_eq!(session.waiters(), 0);
    flight.succeed("at-2");
    settle_tasks().await;
    assert_eq!(lines.take(), ["flight 1 settled: renewed to Generation(2), 0 waiters"]);
}

#[tokio::test(start_paused = true)]
async fn flights_waits_and_hooks_have_durations() {
    let (refresher, mut flights) = manual_refresher();
    let durations = Durations::default();
    let session = Session::builder(refresher)
        .credential(token("at-1"))
        .on_login_end(|_| tokio::time::sleep(4 * SECOND))
        .observer(durations.clone())
        .build();
    let (client, mut upstream) = over_mock(&session);
    drop(session.refresh());
    let flight = flights.next().await;
    tokio::time::advance(SECOND).await;
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    settle_tasks().await;
    tokio::time::advance(2 * SECOND).await;
    flight.succeed("at-2");
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    session.logout().await;
    assert_eq!(durations.read(), [3 * SECOND, 2 * SECOND, 4 * SECOND]);
}

#[tokio::test(start_paused = true)]
async fn a_hook_reports_how_it_ended() {
    for (panics, outcome) in [(false, "completed"), (true, "panicked")] {
        for is_late in [false, true] {
            let (refresher, _flights) = manual_refresher();
            let lines = Lines::default();
            let session = Session::builder(refresher)
                .credential(token("at-1"))
                .on_login_end(move |_| async move {
                    if is_late {
                        tokio::task::yield_now().await;
                    }
                    if panics {
                        resume_unwind(Box::new("a panic without a message"));
                    }
                })
                .observer(lines.clone())
                .build();
            session.logout().await;
            assert_eq!(
                lines.take()[2..],
                [
                    "Login(1) with Generation(1) ended: logout".to_owned(),
                    format!("hook of Login(1) {outcome}"),
                ]
            );
        }
    }
}

#[test]
fn a_hook_that_its_runtime_cuts_short_is_cancelled() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let lines = Lines::default();
    let observed = lines.clone();
    runtime.block_on(async move {
        let (refresher, _flights) = manual_refresher();
        let session = Session::builder(refresher)
            .credential(token("at-1"))
            .on_login_end(|_| pending())
            .observer(observed)
            .build();
        drop(session.logout());
        settle_tasks().await;
    });
    drop(runtime);
    assert_eq!(lines.take().last().unwrap(), "hook of Login(1) cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_session_is_dropped_after_its_last_flight() {
    let (session, mut flights, client, upstream, lines) = watched();
    drop(session.refresh());
    let flight = flights.next().await;
    drop((session, client, upstream));
    settle_tasks().await;
    assert_eq!(lines.take(), ["flight 1 started: forced, not awaited, 0 failures"]);
    flight.succeed("at-2");
    settle_tasks().await;
    assert_eq!(
        lines.take(),
        ["flight 1 settled: renewed to Generation(2), 0 waiters", "session dropped"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_that_acquires_begins_logins_without_a_credential() {
    let (refresher, mut flights) = manual_refresher();
    let lines = Lines::default();
    let session =
        Session::builder(refresher).acquire_on_demand(true).observer(lines.clone()).build();
    drop(session.acquire());
    flights.next().await.answer(Err(RefreshError::terminal("no such client")));
    settle_tasks().await;
    drop(session.acquire());
    flights.next().await.succeed("at-1");
    settle_tasks().await;
    assert_eq!(
        lines.take(),
        [
            "session created",
            "Login(1) began with None",
            "flight 1 started: missing, awaited, 0 failures",
            "flight 1 settled: refused, 0 waiters",
            "Login(1) with Generation(0) ended: refused",
            "Login(2) began with None",
            "flight 2 started: missing, awaited, 0 failures",
            "flight 2 settled: renewed to Generation(1), 0 waiters",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn each_error_of_the_session_refuses_its_request_with_its_kind() {
    // Logged out, before it is sent.
    let (session, _flights, client, mut upstream, lines) = watched();
    drop(session.logout());
    lines.take();
    assert_eq!(kind(ask(&client, get("/")).await.unwrap()), ErrorKind::LoggedOut);
    assert_eq!(lines.take(), ["request refused: logged_out"]);

    // Another login, while the request is at the upstream.
    session.login(token("at-1"));
    let request = ask(&client, get("/"));
    let arrived = upstream.next().await;
    session.login(token("at-2"));
    lines.take();
    arrived.reject();
    assert_eq!(kind(request.await.unwrap()), ErrorKind::LoginChanged);
    assert_eq!(
        lines.take(),
        ["request with Generation(2) rejected", "request refused: login_changed"]
    );

    // A refresh that fails, and the back-off after it.
    let (_session, mut flights, client, mut upstream, lines) = watched();
    for is_waiting in [true, false] {
        let request = ask(&client, get("/"));
        upstream.next().await.reject();
        if is_waiting {
            flights.next().await.answer(Err(RefreshError::transient("503")));
        }
        assert_eq!(kind(request.await.unwrap()), ErrorKind::RefreshFailed);
        assert_eq!(lines.take().last().unwrap(), "request refused: refresh_failed");
    }

    // Too many waiters.
    let (refresher, mut flights) = manual_refresher();
    let session = Session::builder(refresher)
        .credential(token("at-1"))
        .max_waiters(0)
        .observer(lines.clone())
        .build();
    let (client, mut upstream) = over_mock(&session);
    lines.take();
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    assert_eq!(kind(request.await.unwrap()), ErrorKind::Overloaded);
    flights.next().await.succeed("at-2");
    settle_tasks().await;
    assert_eq!(
        lines.take(),
        [
            "request with Generation(1) rejected",
            "flight 1 started: rejected, awaited, 0 failures",
            "request refused: overloaded",
            "flight 1 settled: renewed to Generation(2), 0 waiters",
        ]
    );

    // Cleartext.
    let (client, _upstream) = over_mock(&session);
    let request = get("http://api.example.com/");
    assert_eq!(kind(ask(&client, request).await.unwrap()), ErrorKind::Cleartext);
    assert_eq!(lines.take(), ["request refused: cleartext"]);
}

#[test]
fn a_request_without_a_runtime_is_rejected_and_refused_and_starts_no_flight() {
    let (refresher, _flights) = manual_refresher();
    let lines = Lines::default();
    let session =
        Session::builder(refresher).credential(token("at-1")).observer(lines.clone()).build();
    let mut client = RefreshLayer::new(session, Origins::any()).layer(tower::service_fn(
        |_: Request<tower_refresh::ReplayBody<Full<bytes::Bytes>>>| async {
            Ok::<_, tower::BoxError>(response(StatusCode::UNAUTHORIZED))
        },
    ));
    lines.take();
    assert!(task::spawn(async { client.ready().await.is_ok() }).poll().is_ready());
    let answer = poll_without_runtime(client.call(get("/")));
    assert_eq!(kind(answer), ErrorKind::NoRuntime);
    assert_eq!(
        lines.take(),
        ["request with Generation(1) rejected", "request refused: no_runtime"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_gets_its_rejection_back_is_refused_as_well() {
    let (refresher, mut flights) = manual_refresher();
    let lines = Lines::default();
    let session =
        Session::builder(refresher).credential(token("at-1")).observer(lines.clone()).build();
    let layer = RefreshLayer::new(session, Origins::any()).failure_mode(FailureMode::Response);
    let (client, mut upstream) = layer_over_mock(&layer);
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    flights.next().await.answer(Err(RefreshError::terminal("revoked")));
    assert_eq!(status(request).await, StatusCode::UNAUTHORIZED);
    assert_eq!(
        lines.take()[5..],
        [
            "flight 1 settled: refused, 1 waiters",
            "Login(1) with Generation(1) ended: refused",
            "request waited for 1, 0 wait: logged_out",
            "request refused: logged_out",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_repeated_says_why() {
    for (obstacle, limit) in [("marked", 1024), ("unrecorded", 3)] {
        let (refresher, mut flights) = manual_refresher();
        let lines = Lines::default();
        let session =
            Session::builder(refresher).credential(token("at-1")).observer(lines.clone()).build();
        let layer = RefreshLayer::new(session, Origins::any())
            .replay_limit(limit)
            .detect(detect_fn(|_| Verdict::Retry));
        let (client, mut upstream) = layer_over_mock(&layer);
        let mut request = post("/", "a body");
        if obstacle == "marked" {
            request.extensions_mut().insert(NoReplay);
        }
        let request = ask(&client, request);
        upstream.next().await.accept();
        assert_eq!(status(request).await, StatusCode::OK);
        assert_eq!(lines.take()[2..], [format!("request not replayed: {obstacle}")]);
        flights.none_started().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_repeated_once_has_no_obstacle() {
    let (refresher, mut flights) = manual_refresher();
    let lines = Lines::default();
    let session =
        Session::builder(refresher).credential(token("at-1")).observer(lines.clone()).build();
    let layer = RefreshLayer::new(session, Origins::any()).detect(detect_fn(|_| Verdict::Retry));
    let (client, mut upstream) = layer_over_mock(&layer);
    let request = ask(&client, post("/", "a body"));
    upstream.next().await.accept();
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    assert_eq!(lines.take()[2..], [""; 0]);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_the_session_has_replaced_is_reported_as_rejected_late() {
    let (refresher, mut flights) = manual_refresher();
    let lines = Lines::default();
    let session =
        Session::builder(refresher).credential(token("at-1")).observer(lines.clone()).build();
    let first = session.fresh().await.unwrap();
    lines.take();
    session.reject(&first);
    flights.next().await.succeed("at-2");
    settle_tasks().await;
    assert_eq!(lines.take()[0], "request with Generation(1) rejected");
    session.reject(&first);
    session.reject(&first);
    let late = "request with Generation(0) rejected late";
    assert_eq!(lines.take(), [late, late]);
    // After the end of the login there is no newer credential.
    session.logout().await;
    lines.take();
    session.reject(&first);
    assert_eq!(lines.take(), ["request with Generation(0) rejected"]);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_replayed_says_why() {
    // Marked, or longer than the limit.
    for (obstacle, limit, mode) in [
        ("marked", 1024, FailureMode::Error),
        ("unrecorded", 3, FailureMode::Error),
        ("marked", 1024, FailureMode::Response),
        ("unrecorded", 3, FailureMode::Response),
    ] {
        let (refresher, mut flights) = manual_refresher();
        let lines = Lines::default();
        let session =
            Session::builder(refresher).credential(token("at-1")).observer(lines.clone()).build();
        let layer =
            RefreshLayer::new(session, Origins::any()).replay_limit(limit).failure_mode(mode);
        let (client, mut upstream) = layer_over_mock(&layer);
        let mut request = post("/", "a body");
        if obstacle == "marked" {
            request.extensions_mut().insert(NoReplay);
        }
        let request = ask(&client, request);
        upstream.next().await.reject();
        assert_eq!(status(request).await, StatusCode::UNAUTHORIZED);
        flights.next().await.succeed("at-2");
        assert_eq!(
            lines.take()[2..],
            [
                "request with Generation(1) rejected".to_owned(),
                "flight 1 started: rejected, awaited, 0 failures".to_owned(),
                format!("request not replayed: {obstacle}"),
            ]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_may_not_be_interrupted_says_so() {
    let (refresher, mut flights) = manual_refresher();
    let lines = Lines::default();
    let session =
        Session::builder(refresher).credential(token("at-1")).observer(lines.clone()).build();
    let layer = RefreshLayer::new(session, Origins::any()).failure_mode(FailureMode::Response);
    let (upstream, mut calls) = manual_service();
    let client = layer.layer(upstream);
    let (_sender, body) = channel_body();
    let request = tokio::spawn(client.oneshot(Request::post("/").body(body).unwrap()));
    let call = calls.next().await;
    let _still_uploading = call.request;
    let rejection = answer_with(StatusCode::UNAUTHORIZED, Full::<bytes::Bytes>::default());
    assert!(call.answer.send(Ok::<http::Response<BoxedBody>, _>(rejection)).is_ok());
    assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::UNAUTHORIZED);
    flights.next().await.succeed("at-2");
    assert_eq!(lines.take()[4..], ["request not replayed: uploading"]);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_exceeds_the_limit_says_so_in_either_failure_mode() {
    for mode in [FailureMode::Error, FailureMode::Response] {
        let (refresher, mut flights) = manual_refresher();
        let lines = Lines::default();
        let session =
            Session::builder(refresher).credential(token("at-1")).observer(lines.clone()).build();
        let layer = RefreshLayer::new(session, Origins::any()).replay_limit(3).failure_mode(mode);
        let (upstream, mut calls) = manual_service();
        let (sender, body) = channel_body();
        let request = Request::post("/").body(body).unwrap();
        let request = tokio::spawn(layer.layer(upstream).oneshot(request));
        let call = calls.next().await;
        sender.send(frame("more than the limit")).unwrap();
        drop(sender);
        assert_eq!(frames(call.request.into_body()).await, [data("more than the limit")]);
        let rejection = answer_with(StatusCode::UNAUTHORIZED, Full::<bytes::Bytes>::default());
        assert!(call.answer.send(Ok::<http::Response<BoxedBody>, _>(rejection)).is_ok());
        assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::UNAUTHORIZED);
        flights.next().await.succeed("at-2");
        assert_eq!(lines.take()[4..], ["request not replayed: unrecorded"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_marked_no_refresh_is_not_reported_as_rejected() {
    let (_session, _flights, client, mut upstream, lines) = watched();
    let mut request = get("/password");
    request.extensions_mut().insert(NoRefresh);
    let request = ask(&client, request);
    upstream.next().await.reject();
    assert_eq!(status(request).await, StatusCode::UNAUTHORIZED);
    assert_eq!(lines.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_that_a_stamp_reports_is_reported_to_observers() {
    let (refresher, mut flights) = manual_refresher();
    let lines = Lines::default();
    let session =
        Session::builder(refresher).credential(token("at-1")).observer(lines.clone()).build();
    let layer = RefreshLayer::new(session, Origins::any()).expose_stamp(true);
    let (client, mut upstream) = layer_over_mock(&layer);
    let request = ask(&client, get("/"));
    upstream.next().await.accept();
    let answer = request.await.unwrap().unwrap();
    lines.take();
    answer.extensions().get::<Stamp>().unwrap().reject();
    flights.next().await.succeed("at-2");
    assert_eq!(
        lines.take(),
        ["request with Generation(1) rejected", "flight 1 started: rejected, awaited, 0 failures",]
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_names_its_session_and_tells_unnamed_ones_apart() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let build = |name: Option<&str>| {
        let (refresher, _flights) = manual_refresher();
        let seen = seen.clone();
        let builder =
            Session::builder(refresher).observer(observer_fn(move |event: &Event<'_>| {
                let name = event.session_name().map(ToOwned::to_owned);
                seen.lock().unwrap().push((event.session_id().unwrap(), name));
            }));
        match name {
            Some(name) => builder.name(name).build(),
            None => builder.build(),
        }
    };
    let _sessions = (build(Some("billing")), build(None), build(None));
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].1.as_deref(), Some("billing"));
    assert!(seen[1].1.is_none() && seen[0].0 < seen[1].0 && seen[1].0 < seen[2].0);
}

#[tokio::test(start_paused = true)]
async fn a_request_to_a_foreign_origin_causes_no_event() {
    let (refresher, _flights) = manual_refresher();
    let lines = Lines::default();
    let session =
        Session::builder(refresher).credential(token("at-1")).observer(lines.clone()).build();
    let layer = RefreshLayer::new(session, Origin::from_static("https://api.example.com"));
    let (client, mut upstream) = layer_over_mock(&layer);
    lines.take();
    let request = ask(&client, get("https://other.example.com/"));
    upstream.next().await.reject();
    assert_eq!(status(request).await, StatusCode::UNAUTHORIZED);
    assert_eq!(lines.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_never_polled_again_still_waits_until_it_is_dropped() {
    let (session, mut flights, client, mut upstream, lines) = watched();
    let mut request = task::spawn(client.clone().oneshot(get("/")));
    assert_pending!(request.poll());
    upstream.next().await.reject();
    assert_pending!(request.poll());
    flights.next().await.succeed("at-2");
    settle_tasks().await;
    lines.take();
    assert_eq!(session.waiters(), 1);
    drop(request);
    assert_eq!(lines.take(), ["request waited for 1, 0 wait: dropped"]);
}
