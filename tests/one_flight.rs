//! Guarantees 1, 3, 7 and 8: one flight for any number of requests, and the outcome that each
//! request gets.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, its helpers too")]

mod support;

use std::{ptr, time::Duration};

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use support::*;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt};
use tower_refresh::{
    ErrorKind, FailureMode, Origins, RefreshContext, RefreshError, RefreshErrorKind, RefreshLayer,
    Session, Token,
    extension::{NoReplay, Stamp},
    refresher::Cause,
    refresher_fn,
    session::Phase,
};

// === 1: one flight ===

#[tokio::test(start_paused = true)]
async fn g01_a_hundred_requests_rejected_together_cost_one_refresh() {
    let upstream = Upstream::accepting(&[]);
    let refresher = CountingRefresher::for_upstream(&upstream);
    let session = Session::new(token("at-1"), refresher.clone());
    let client = RefreshLayer::new(session, Origins::any()).layer(upstream.clone());

    let requests = ask_many(&client, 100, |n| post("/api", format!("body {n}")));
    for (n, request) in requests.into_iter().enumerate() {
        let answer = request.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(text(answer).await, format!("body {n}"));
    }
    assert_eq!(refresher.calls(), 1);
    assert_eq!(upstream.count("at-1"), 100);
    assert_eq!(upstream.count("at-2"), 100);
}

#[tokio::test(start_paused = true)]
async fn g01_requests_issued_during_the_flight_wait_for_it() {
    let (session, mut flights, client, mut upstream) = start();
    let first = ask(&client, get("/"));
    upstream.next().await.reject();
    let flight = flights.next().await;
    assert_eq!(flight.context.cause(), Cause::Rejected);
    assert_eq!(flight.context.rejection().unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(flight.context.current().unwrap().access_token(), "at-1");

    let later = ask_many(&client, 10, |_| get("/later"));
    upstream.none().await;
    assert_eq!(session.waiters(), 11);

    flight.succeed("at-2");
    for arrived in upstream.take(11).await {
        assert_eq!(arrived.token(), "at-2");
        arrived.accept();
    }
    assert_eq!(status(first).await, StatusCode::OK);
    for request in later {
        assert_eq!(status(request).await, StatusCode::OK);
    }
    assert_eq!(session.waiters(), 0);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g01_layers_of_one_session_share_the_flight() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let (one, mut first) = over_mock(&session);
    let (other, mut second) = over_mock(&session);
    let requests = [ask(&one, get("/")), ask(&other, get("/"))];
    first.next().await.reject();
    second.next().await.reject();
    let flight = flights.next().await;
    flights.none_started().await;

    flight.succeed("at-2");
    for upstream in [&mut first, &mut second] {
        let replay = upstream.next().await;
        assert_eq!(replay.token(), "at-2");
        replay.accept();
    }
    for request in requests {
        assert_eq!(status(request).await, StatusCode::OK);
    }
    assert_eq!(session.state().flights_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn g01_two_sessions_side_by_side_share_nothing() {
    let (one, mut flights_of_one, client_of_one, mut upstream_of_one) = start();
    let (other, mut flights_of_other, client_of_other, mut upstream_of_other) = start();
    let waiting = ask(&client_of_one, get("/"));
    upstream_of_one.next().await.reject();
    let flight = flights_of_one.next().await;

    let request = ask(&client_of_other, get("/"));
    let arrived = upstream_of_other.next().await;
    assert_eq!(arrived.token(), "at-1");
    arrived.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    assert_eq!((one.waiters(), other.waiters()), (1, 0));
    flights_of_other.none_started().await;

    flight.answer(Err(RefreshError::terminal("revoked")));
    assert_eq!(kind(waiting.await.unwrap()), ErrorKind::LoggedOut);
    assert!(matches!(other.state().phase(), Phase::Active));
    assert_eq!(other.state().flights_started(), 0);
    assert_eq!(other.credential().unwrap().access_token(), "at-1");
}

#[tokio::test(start_paused = true)]
async fn g01_a_hundred_requests_with_an_expired_credential_wait_unsent_for_one_refresh() {
    let clock = Clock::new();
    let (refresher, mut flights) = manual_refresher();
    let session = Session::builder(refresher)
        .credential(token("at-1").with_expires_at(clock.after(60)))
        .clock(clock.reader())
        .build();
    let (client, mut upstream) = over_mock(&session);

    let fresh = ask(&client, get("/"));
    upstream.next().await.accept();
    assert_eq!(status(fresh).await, StatusCode::OK);
    clock.advance(60);

    let requests = ask_many(&client, 100, |_| get("/"));
    let flight = flights.next().await;
    assert_eq!(flight.context.cause(), Cause::Expiring);
    upstream.none().await;
    assert_eq!(session.waiters(), 100);

    flight.answer(Ok(token("at-2").with_expires_at(clock.after(60))));
    for arrived in upstream.take(100).await {
        assert_eq!(arrived.token(), "at-2");
        arrived.accept();
    }
    for request in requests {
        assert_eq!(status(request).await, StatusCode::OK);
    }
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g01_a_credential_that_arrives_expired_is_sent() {
    let clock = Clock::new();
    let (refresher, mut flights) = manual_refresher();
    let session = Session::builder(refresher)
        .credential(token("at-1").with_expires_at(clock.now()))
        .clock(clock.reader())
        .build();
    let (client, mut upstream) = over_mock(&session);
    assert_eq!(session.state().expires_at(), None);

    let request = ask(&client, get("/"));
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g01_acquire_on_demand_acquires_once_for_twenty_requests() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::builder(refresher).acquire_on_demand(true).build();
    let (client, mut upstream) = over_mock(&session);
    flights.none_started().await;
    assert!(session.credential().is_none());

    let requests = ask_many(&client, 20, |_| get("/"));
    let flight = flights.next().await;
    assert_eq!(flight.context.cause(), Cause::Missing);
    assert!(flight.context.current().is_none());
    upstream.none().await;

    flight.succeed("at-1");
    for arrived in upstream.take(20).await {
        assert_eq!(arrived.token(), "at-1");
        arrived.accept();
    }
    for request in requests {
        assert_eq!(status(request).await, StatusCode::OK);
    }
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g01_refresh_and_acquire_join_the_flight_in_progress() {
    let (session, mut flights, client, mut upstream) = start();
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    let flight = flights.next().await;

    let refreshed = (session.refresh(), session.refresh(), session.acquire());
    flights.none_started().await;
    flight.succeed("at-2");
    assert_eq!(refreshed.0.await.unwrap().access_token(), "at-2");
    assert_eq!(refreshed.1.await.unwrap().access_token(), "at-2");
    assert_eq!(refreshed.2.await.unwrap().access_token(), "at-2");
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    assert_eq!(session.state().flights_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn g01_a_flight_without_waiters_delays_requests_only_after_a_rejection() {
    let (session, mut flights, client, mut upstream) = start();
    let refreshed = session.refresh();
    let flight = flights.next().await;
    assert_eq!(flight.context.cause(), Cause::Forced);
    assert!(matches!(session.state().phase(), Phase::Refreshing(flight) if !flight.is_awaited()));

    let request = ask(&client, get("/"));
    let arrived = upstream.next().await;
    assert_eq!(arrived.token(), "at-1");
    arrived.reject();
    let waiting = ask(&client, get("/"));
    upstream.none().await;
    assert!(matches!(session.state().phase(), Phase::Refreshing(flight) if flight.is_awaited()));
    assert_eq!(session.waiters(), 2);

    flight.succeed("at-2");
    assert_eq!(refreshed.await.unwrap().access_token(), "at-2");
    for arrived in upstream.take(2).await {
        assert_eq!(arrived.token(), "at-2");
        arrived.accept();
    }
    assert_eq!(status(request).await, StatusCode::OK);
    assert_eq!(status(waiting).await, StatusCode::OK);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g01_expiry_during_a_flight_without_waiters_makes_requests_wait() {
    let clock = Clock::new();
    let (refresher, mut flights) = manual_refresher();
    let session = Session::builder(refresher)
        .credential(token("at-1").with_expires_at(clock.after(60)))
        .clock(clock.reader())
        .build();
    let (client, mut upstream) = over_mock(&session);
    drop(session.refresh());
    let flight = flights.next().await;
    clock.advance(60);

    let request = ask(&client, get("/"));
    upstream.none().await;
    assert!(matches!(session.state().phase(), Phase::Refreshing(flight) if flight.is_awaited()));
    flight.succeed("at-2");
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    flights.none_started().await;
}

// === 3: late rejections ===

#[tokio::test(start_paused = true)]
async fn g03_late_rejections_replay_without_another_refresh() {
    let (session, mut flights, client, mut upstream) = start();
    let requests = ask_many(&client, 100, |_| get("/"));
    let mut sent = upstream.take(100).await.into_iter();

    sent.next().unwrap().reject();
    let flight = flights.next().await;
    for _ in 0..49 {
        sent.next().unwrap().reject();
        settle_tasks().await;
    }
    assert_eq!(session.waiters(), 50);
    flight.succeed("at-2");
    for replay in upstream.take(50).await {
        assert_eq!(replay.token(), "at-2");
        replay.accept();
    }
    for straggler in sent {
        assert_eq!(straggler.token(), "at-1");
        straggler.reject();
        let replay = upstream.next().await;
        assert_eq!(replay.token(), "at-2");
        replay.accept();
    }
    for request in requests {
        assert_eq!(status(request).await, StatusCode::OK);
    }
    flights.none_started().await;
    assert_eq!(session.state().flights_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn g03_late_rejections_share_the_failure_without_another_refresh() {
    for (failure, expected) in [
        (RefreshError::transient("503"), ErrorKind::RefreshFailed),
        (RefreshError::ambiguous("reset"), ErrorKind::RefreshFailed),
        (RefreshError::terminal("revoked"), ErrorKind::LoggedOut),
    ] {
        let (session, mut flights, client, mut upstream) = start();
        let requests = ask_many(&client, 100, |_| get("/"));
        let mut sent = upstream.take(100).await.into_iter();

        sent.next().unwrap().reject();
        let flight = flights.next().await;
        for _ in 0..49 {
            sent.next().unwrap().reject();
            settle_tasks().await;
        }
        flight.answer(Err(failure.clone()));
        settle_tasks().await;
        for straggler in sent {
            straggler.reject();
            settle_tasks().await;
        }
        for request in requests {
            let error = request.await.unwrap().unwrap_err();
            assert_eq!(session_error(&error).kind(), expected);
            assert!(ptr::addr_eq(root_cause(session_error(&error)), root_cause(&failure)));
        }
        flights.none_started().await;
        upstream.none().await;
        assert_eq!(session.state().flights_started(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn g03_only_a_request_sent_after_the_failure_starts_another_flight() {
    let (session, mut flights, client, mut upstream) = start();
    let before = [ask(&client, get("/")), ask(&client, get("/"))];
    let mut sent = upstream.take(2).await.into_iter();
    sent.next().unwrap().reject();
    flights.next().await.answer(Err(RefreshError::transient("503")));
    settle_tasks().await;

    // The old credential is still sent.
    let after = ask(&client, get("/"));
    let arrived = upstream.next().await;
    assert_eq!(arrived.token(), "at-1");
    sent.next().unwrap().reject();
    flights.none_started().await;

    after_back_off().await;
    arrived.reject();
    let flight = flights.next().await;
    let previous = flight.context.previous_error().unwrap();
    assert_eq!(previous.kind(), RefreshErrorKind::Transient);
    flight.succeed("at-2");
    let replay = upstream.next().await;
    assert_eq!(replay.token(), "at-2");
    replay.accept();
    assert_eq!(status(after).await, StatusCode::OK);
    for request in before {
        assert_eq!(kind(request.await.unwrap()), ErrorKind::RefreshFailed);
    }
    assert_eq!(session.state().flights_started(), 2);
}

#[tokio::test(start_paused = true)]
async fn g03_a_rejection_of_a_replaced_credential_replays_at_once() {
    let (session, mut flights, client, mut upstream) = start();
    let request = ask(&client, get("/"));
    let sent = upstream.next().await;
    session.replace(session.state().login(), token("at-2")).unwrap();
    sent.reject();
    let replay = upstream.next().await;
    assert_eq!(replay.token(), "at-2");
    replay.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g03_a_rejection_of_a_replaced_credential_waits_only_for_an_awaited_flight() {
    let (session, mut flights, client, mut upstream) = start();
    let requests = ask_many(&client, 2, |_| get("/"));
    let mut old = upstream.take(2).await.into_iter();
    session.replace(session.state().login(), token("at-2")).unwrap();

    // A flight refreshes the newer credential, but no response has rejected it.
    drop(session.refresh());
    let flight = flights.next().await;
    old.next().unwrap().reject();
    let replay = upstream.next().await;
    assert_eq!(replay.token(), "at-2");
    // The response to the replay rejects it. A second rejection goes to the caller and starts no
    // flight.
    replay.reject();
    settle_tasks().await;
    assert!(matches!(session.state().phase(), Phase::Refreshing(flight) if !flight.is_awaited()));

    let newer = ask(&client, get("/"));
    upstream.next().await.reject();
    settle_tasks().await;
    old.next().unwrap().reject();
    upstream.none().await;
    assert_eq!(session.waiters(), 2);

    flight.succeed("at-3");
    for arrived in upstream.take(2).await {
        assert_eq!(arrived.token(), "at-3");
        arrived.accept();
    }
    assert_eq!(status(newer).await, StatusCode::OK);
    let mut answers = Vec::new();
    for request in requests {
        answers.push(status(request).await);
    }
    assert_eq!(answers, [StatusCode::UNAUTHORIZED, StatusCode::OK]);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g03_stamp_reject_starts_a_flight_and_a_late_report_starts_none() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let (client, mut upstream) =
        layer_over_mock(&RefreshLayer::new(session.clone(), Origins::any()).expose_stamp(true));
    let request = ask(&client, get("/"));
    let arrived = upstream.next().await;
    let below = arrived.request.extensions().get::<Stamp>().unwrap().clone();
    arrived.accept();
    let answer = request.await.unwrap().unwrap();
    let above = answer.extensions().get::<Stamp>().unwrap().clone();
    let state = session.state();
    assert_eq!((above.login(), above.generation()), (state.login(), state.generation()));
    assert_eq!((below.login(), below.generation()), (state.login(), state.generation()));

    above.reject();
    let flight = flights.next().await;
    assert_eq!(flight.context.cause(), Cause::Rejected);
    // The flight is awaited from its start.
    let waiting = ask(&client, get("/"));
    upstream.none().await;
    below.reject();
    flights.none_started().await;
    flight.succeed("at-2");
    upstream.next().await.accept();
    let answer = waiting.await.unwrap().unwrap();
    let newer = answer.extensions().get::<Stamp>().unwrap().clone();
    assert!(newer.generation() > above.generation());

    above.reject();
    below.reject();
    flights.none_started().await;

    session.login(token("at-other"));
    newer.reject();
    flights.none_started().await;
    drop(session.logout());
    newer.reject();
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g03_a_replay_has_its_own_stamp_and_a_report_after_the_failure_starts_no_flight() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let (client, mut upstream) =
        layer_over_mock(&RefreshLayer::new(session.clone(), Origins::any()).expose_stamp(true));
    let request = ask(&client, get("/"));
    let arrived = upstream.next().await;
    let first = arrived.request.extensions().get::<Stamp>().unwrap().clone();
    arrived.reject();
    flights.next().await.succeed("at-2");
    let replay = upstream.next().await;
    let second = replay.request.extensions().get::<Stamp>().unwrap().clone();
    assert!(second.generation() > first.generation());
    replay.accept();
    let answer = request.await.unwrap().unwrap();
    let above = answer.extensions().get::<Stamp>().unwrap().clone();
    assert_eq!(above.generation(), second.generation());

    above.reject();
    flights.next().await.answer(Err(RefreshError::transient("503")));
    settle_tasks().await;
    above.reject();
    second.reject();
    flights.none_started().await;

    let weak = session.downgrade();
    drop((client, upstream, session));
    settle_tasks().await;
    assert!(weak.upgrade().is_none(), "a stamp keeps the session alive");
    above.reject();
}

#[tokio::test(start_paused = true)]
async fn g03_without_expose_stamp_requests_and_responses_have_no_stamp() {
    let (_session, _flights, client, mut upstream) = start();
    let request = ask(&client, get("/"));
    let arrived = upstream.next().await;
    assert!(arrived.request.extensions().get::<Stamp>().is_none());
    arrived.accept();
    assert!(request.await.unwrap().unwrap().extensions().get::<Stamp>().is_none());
}

// === 7: bounds ===

#[tokio::test(start_paused = true)]
async fn g07_a_second_rejection_goes_to_the_caller_with_its_body_and_starts_no_flight() {
    let (session, mut flights, client, mut upstream) = start();
    let request = ask(&client, post("/", "question"));
    upstream.next().await.reject();
    flights.next().await.succeed("at-2");
    let replay = upstream.next().await;
    assert_eq!(replay.token(), "at-2");
    let mut rejection = response(StatusCode::UNAUTHORIZED);
    rejection
        .headers_mut()
        .insert("www-authenticate", "Bearer error=\"invalid_token\"".parse().unwrap());
    *rejection.body_mut() = "why not".into();
    let (body, answer) = replay.text().await;
    assert_eq!(body, "question");
    answer.send_response(rejection);

    let answer = request.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(answer.headers().contains_key("www-authenticate"));
    assert_eq!(text(answer).await, "why not");
    flights.none_started().await;
    upstream.none().await;
    assert_eq!(session.state().flights_started(), 1);
    assert!(matches!(session.state().phase(), Phase::Active));
}

#[tokio::test(start_paused = true)]
async fn g07_a_rejection_of_a_request_that_waited_before_its_first_send_starts_no_flight() {
    let (session, mut flights, client, mut upstream) = start();
    let first = ask(&client, get("/"));
    upstream.next().await.reject();
    let flight = flights.next().await;
    let waited = ask(&client, post("/waited", "question"));
    settle_tasks().await;
    assert_eq!(session.waiters(), 2);
    flight.succeed("at-2");
    let mut arrived = upstream.take(2).await;
    let position = arrived.iter().position(|arrived| arrived.request.uri() == "/waited").unwrap();
    let mut rejection = response(StatusCode::UNAUTHORIZED);
    *rejection.body_mut() = "why not".into();
    arrived.remove(position).answer(rejection);
    arrived.remove(0).accept();

    let answer = waited.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(text(answer).await, "why not");
    assert_eq!(status(first).await, StatusCode::OK);
    flights.none_started().await;
    upstream.none().await;
}

#[tokio::test(start_paused = true)]
async fn g07_a_rejection_of_a_request_that_waited_for_an_acquisition_starts_no_flight() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::builder(refresher).acquire_on_demand(true).build();
    let (client, mut upstream) = over_mock(&session);
    let request = ask(&client, get("/"));
    flights.next().await.succeed("at-1");
    upstream.next().await.reject();
    assert_eq!(status(request).await, StatusCode::UNAUTHORIZED);
    flights.none_started().await;
    upstream.none().await;
}

#[tokio::test(start_paused = true)]
async fn g07_a_credential_that_expires_before_the_replay_is_sent() {
    let clock = Clock::new();
    let (refresher, mut flights) = manual_refresher();
    let session =
        Session::builder(refresher).credential(token("at-1")).clock(clock.reader()).build();
    let (client, mut upstream) = over_mock(&session);
    let mut service = client.clone();
    let mut request =
        task::spawn(async move { service.ready().await.unwrap().call(get("/")).await });
    assert_pending!(request.poll());
    upstream.next().await.reject();
    assert_pending!(request.poll());
    flights.next().await.answer(Ok(token("at-2").with_expires_at(clock.after(5))));
    settle_tasks().await;
    clock.advance(5);
    assert!(request.is_woken());
    assert_pending!(request.poll());
    let replay = upstream.next().await;
    assert_eq!(replay.token(), "at-2");
    replay.accept();
    assert_eq!(assert_ready!(request.poll()).unwrap().status(), StatusCode::OK);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g07_a_refresher_that_returns_the_rejected_credential_fails_transiently() {
    let (session, mut flights, client, mut upstream) = start();
    let generation = session.state().generation();
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    flights.next().await.succeed("at-1");
    let error = request.await.unwrap().unwrap_err();
    assert_eq!(session_error(&error).kind(), ErrorKind::RefreshFailed);
    assert_eq!(refresh_kind(session_error(&error)), RefreshErrorKind::Transient);
    upstream.none().await;
    flights.none_started().await;
    assert!(matches!(session.state().phase(), Phase::Failed(_)));
    assert_eq!(session.state().generation(), generation);
    assert!(session.credential().is_some());
}

#[tokio::test(start_paused = true)]
async fn g07_a_refresher_that_returns_a_credential_rejected_during_the_flight_fails() {
    let (_session, mut flights, client, mut upstream) = start();
    let request = ask(&client, get("/"));
    let sent = upstream.next().await;
    let session = _session;
    let refreshed = session.refresh();
    let flight = flights.next().await;
    sent.reject();
    settle_tasks().await;
    flight.succeed("at-1");
    assert_eq!(kind(request.await.unwrap()), ErrorKind::RefreshFailed);
    assert_eq!(refreshed.await.unwrap_err().kind(), ErrorKind::RefreshFailed);
    upstream.none().await;
}

#[tokio::test(start_paused = true)]
async fn g07_a_refresher_that_returns_the_same_credential_without_a_rejection_succeeds() {
    let (session, mut flights, _client, _upstream) = start();
    let refreshed = session.refresh();
    flights.next().await.succeed("at-1");
    assert_eq!(refreshed.await.unwrap().access_token(), "at-1");
    assert!(matches!(session.state().phase(), Phase::Active));
}

#[tokio::test(start_paused = true)]
async fn g07_a_no_replay_request_gets_its_rejection_at_once_and_starts_the_flight() {
    let (session, mut flights, client, mut upstream) = start();
    let request = Request::post("/pay").extension(NoReplay).body("order".into()).unwrap();
    let request = ask(&client, request);
    let mut rejection = response(StatusCode::UNAUTHORIZED);
    *rejection.body_mut() = "why not".into();
    upstream.next().await.answer(rejection);
    let answer = request.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(text(answer).await, "why not");

    let flight = flights.next().await;
    let next = ask(&client, get("/"));
    upstream.none().await;
    assert_eq!(session.waiters(), 1);
    flight.succeed("at-2");
    let arrived = upstream.next().await;
    assert_eq!((arrived.token(), arrived.request.uri().path()), ("at-2", "/"));
    arrived.accept();
    assert_eq!(status(next).await, StatusCode::OK);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g07_a_replay_that_fails_in_the_inner_service_is_not_repeated() {
    let (session, mut flights, client, mut upstream) = start();
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    flights.next().await.succeed("at-2");
    upstream.next().await.fail("connection reset");
    let error = request.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "connection reset");
    assert!(error.downcast_ref::<tower_refresh::Error>().is_none());
    upstream.none().await;
    flights.none_started().await;
    assert!(matches!(session.state().phase(), Phase::Active));
}

#[tokio::test(start_paused = true)]
async fn g07_a_readiness_error_before_the_replay_is_returned_and_keeps_the_new_credential() {
    let (session, mut flights, client, mut upstream) = start();
    let request = ask(&client, get("/"));
    let sent = upstream.next().await;
    upstream.0.allow(0);
    sent.reject();
    let flight = flights.next().await;
    upstream.0.send_error("connection refused");
    flight.succeed("at-2");
    let error = request.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "connection refused");
    flights.none_started().await;
    assert_eq!(session.waiters(), 0);
    assert_eq!(session.credential().unwrap().access_token(), "at-2");
}

#[tokio::test(start_paused = true)]
async fn g07_a_readiness_error_before_the_first_send_starts_no_flight() {
    let (_session, mut flights, client, mut upstream) = start();
    upstream.0.allow(0);
    upstream.0.send_error("connection refused");
    let error = ask(&client, get("/")).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "connection refused");
    flights.none_started().await;
}

// === 8: one outcome for all waiters ===

#[tokio::test(start_paused = true)]
async fn g08_fifty_waiters_of_a_refused_refresh_share_its_cause_and_the_next_request_fails_fast() {
    let journal = Journal::default();
    let (refresher, mut flights) = manual_refresher();
    let session =
        Session::builder(refresher).credential(token("at-1")).on_login_end(journal.hook()).build();
    let (client, mut upstream) = over_mock(&session);
    let rejected = ask_many(&client, 25, |_| get("/"));
    for sent in upstream.take(25).await {
        sent.reject();
    }
    let flight = flights.next().await;
    let never_sent = ask_many(&client, 25, |_| get("/"));
    settle_tasks().await;
    assert_eq!(session.waiters(), 50);

    let refusal = RefreshError::terminal("revoked");
    flight.answer(Err(refusal.clone()));
    for request in rejected.into_iter().chain(never_sent) {
        let error = request.await.unwrap().unwrap_err();
        assert_eq!(session_error(&error).kind(), ErrorKind::LoggedOut);
        assert!(refresh_error(session_error(&error)).is_terminal());
        assert!(ptr::addr_eq(root_cause(session_error(&error)), root_cause(&refusal)));
    }
    settle_tasks().await;
    assert_eq!(journal.read(), ["refused at-1"]);
    assert_eq!(session.waiters(), 0);

    let mut next = task::spawn(client.clone().oneshot(get("/")));
    let error = assert_ready!(next.poll()).unwrap_err();
    assert_eq!(session_error(&error).kind(), ErrorKind::LoggedOut);
    assert!(ptr::addr_eq(root_cause(session_error(&error)), root_cause(&refusal)));
    upstream.none().await;
    flights.none_started().await;
    assert_eq!(journal.read().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn g08_fifty_waiters_of_a_failed_refresh_share_its_cause_and_start_no_other() {
    let (session, mut flights, client, mut upstream) = start();
    let rejected = ask_many(&client, 25, |_| get("/"));
    for sent in upstream.take(25).await {
        sent.reject();
    }
    let flight = flights.next().await;
    let never_sent = ask_many(&client, 25, |_| get("/"));
    settle_tasks().await;
    let failure = RefreshError::transient("503");
    flight.answer(Err(failure.clone()));
    for request in rejected.into_iter().chain(never_sent) {
        let error = request.await.unwrap().unwrap_err();
        assert_eq!(session_error(&error).kind(), ErrorKind::RefreshFailed);
        assert!(ptr::addr_eq(root_cause(session_error(&error)), root_cause(&failure)));
    }
    upstream.none().await;
    flights.none_started().await;
    assert_eq!(session.waiters(), 0);
}

#[tokio::test(start_paused = true)]
async fn g08_a_waiter_polled_two_flights_later_gets_the_outcome_of_its_own_flight() {
    let (session, mut flights, client, mut upstream) = start();
    let mut service = client.clone();
    let mut slow = task::spawn(async move { service.ready().await.unwrap().call(get("/")).await });
    assert_pending!(slow.poll());
    upstream.next().await.reject();
    assert_pending!(slow.poll());
    let failure = RefreshError::transient("503");
    flights.next().await.answer(Err(failure.clone()));
    settle_tasks().await;

    // Two more flights settle before the waiter is polled.
    after_back_off().await;
    for name in ["at-2", "at-3"] {
        let refreshed = session.refresh();
        flights.next().await.succeed(name);
        refreshed.await.unwrap();
    }
    let error = assert_ready!(slow.poll()).unwrap_err();
    assert_eq!(session_error(&error).kind(), ErrorKind::RefreshFailed);
    assert!(ptr::addr_eq(root_cause(session_error(&error)), root_cause(&failure)));
    upstream.none().await;
}

#[tokio::test(start_paused = true)]
async fn g08_a_waiter_polled_after_the_next_flight_failed_still_replays() {
    let (session, mut flights, client, mut upstream) = start();
    let mut service = client.clone();
    let mut slow = task::spawn(async move { service.ready().await.unwrap().call(get("/")).await });
    assert_pending!(slow.poll());
    upstream.next().await.reject();
    assert_pending!(slow.poll());
    flights.next().await.succeed("at-2");
    settle_tasks().await;
    let refreshed = session.refresh();
    flights.next().await.answer(Err(RefreshError::terminal("revoked")));
    // The refused credential was not rejected, so the login continues.
    assert_eq!(refreshed.await.unwrap_err().kind(), ErrorKind::RefreshFailed);

    assert_pending!(slow.poll());
    let replay = upstream.next().await;
    assert_eq!(replay.token(), "at-2");
    replay.accept();
    assert_eq!(assert_ready!(slow.poll()).unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn g08_failure_mode_response_returns_each_rejection_and_an_error_for_an_unsent_request() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let layer =
        RefreshLayer::new(session.clone(), Origins::any()).failure_mode(FailureMode::Response);
    let (client, mut upstream) = layer_over_mock(&layer);
    let rejected = ask_many(&client, 5, |_| get("/"));
    for (n, sent) in upstream.take(5).await.into_iter().enumerate() {
        let mut rejection = response(StatusCode::UNAUTHORIZED);
        *rejection.body_mut() = format!("no. {n}").into();
        sent.answer(rejection);
    }
    let flight = flights.next().await;
    let never_sent = ask(&client, get("/"));
    settle_tasks().await;
    flight.answer(Err(RefreshError::transient("503")));
    for (n, request) in rejected.into_iter().enumerate() {
        let answer = request.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(text(answer).await, format!("no. {n}"));
    }
    assert_eq!(kind(never_sent.await.unwrap()), ErrorKind::RefreshFailed);
    flights.none_started().await;
}

/// The flight that the request waited for succeeds. Before the request is polled, the next flight
/// starts, and that one fails.
#[tokio::test(start_paused = true)]
async fn g08_failure_mode_response_keeps_the_rejection_for_a_second_wait() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let layer = RefreshLayer::new(session.clone(), Origins::any())
        .failure_mode(FailureMode::Response)
        .expose_stamp(true);
    let (client, mut upstream) = layer_over_mock(&layer);
    let mut service = client.clone();
    let mut slow =
        task::spawn(async move { service.ready().await.unwrap().call(get("/slow")).await });
    assert_pending!(slow.poll());
    upstream.next().await.reject();
    assert_pending!(slow.poll());
    flights.next().await.succeed("at-2");
    settle_tasks().await;

    let accepted = ask(&client, get("/accepted"));
    upstream.next().await.accept();
    assert_eq!(status(accepted).await, StatusCode::OK);
    let other = ask(&client, get("/other"));
    upstream.next().await.reject();
    let flight = flights.next().await;
    assert_pending!(slow.poll());
    flight.answer(Err(RefreshError::transient("503")));
    assert_eq!(status(other).await, StatusCode::UNAUTHORIZED);
    let answer = assert_ready!(slow.poll()).expect("a response");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn g08_every_request_of_a_herd_gets_its_own_response() {
    let upstream = Upstream::accepting(&["at-1"]);
    let refresher = CountingRefresher::for_upstream(&upstream);
    let session = Session::new(token("at-1"), refresher.clone());
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(upstream.clone());
    // Each herd rejects the credential that the herd before it fetched.
    for round in 1..=3 {
        upstream.accept_only(&[]);
        let requests = ask_many(&client, 50, |n| post("/", format!("{round}/{n}")));
        for (n, request) in requests.into_iter().enumerate() {
            let answer = request.await.unwrap().unwrap().into_body().collect().await.unwrap();
            assert_eq!(answer.to_bytes(), format!("{round}/{n}"));
        }
        assert_eq!(refresher.calls(), round);
    }
    assert_eq!(session.waiters(), 0);
}

#[tokio::test(start_paused = true)]
async fn g08_all_waiters_share_the_cause_of_a_time_out() {
    let refresher =
        refresher_fn(|_: RefreshContext| std::future::pending::<Result<Token, RefreshError>>());
    let session = Session::builder(refresher)
        .credential(token("at-1"))
        .refresh_timeout(Duration::from_secs(7))
        .build();
    let (client, mut upstream) = over_mock(&session);
    let requests = ask_many(&client, 10, |_| get("/"));
    for sent in upstream.take(10).await {
        sent.reject();
    }
    settle_tasks().await;
    tokio::time::advance(Duration::from_secs(7)).await;
    let mut causes = Vec::new();
    for request in requests {
        let error = request.await.unwrap().unwrap_err();
        assert_eq!(session_error(&error).kind(), ErrorKind::RefreshFailed);
        assert_eq!(refresh_kind(session_error(&error)), RefreshErrorKind::Ambiguous);
        causes.push(session_error(&error).clone());
    }
    assert!(causes.iter().all(|error| ptr::addr_eq(root_cause(error), root_cause(&causes[0]))));
}

fn start() -> (Session, Flights, Client, Arrivals) {
    let (refresher, flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let (client, upstream) = over_mock(&session);
    (session, flights, client, upstream)
}

/// Sends a request that waits for an awaited flight before it is first sent, and returns it when it
/// has arrived with the credential that the flight brought.
async fn waited_for_its_first_send(
    client: &Client,
    flights: &mut Flights,
    upstream: &mut Arrivals,
) -> (tokio::task::JoinHandle<ClientResult>, Arrived) {
    let first = ask(client, get("/first"));
    upstream.next().await.reject();
    let flight = flights.next().await;
    let waited = ask(client, post("/waited", "question"));
    settle_tasks().await;
    flight.succeed("at-2");
    let mut arrived = upstream.take(2).await;
    let position = arrived.iter().position(|arrived| arrived.request.uri() == "/waited").unwrap();
    let second = arrived.remove(position);
    arrived.remove(0).accept();
    assert_eq!(status(first).await, StatusCode::OK);
    (waited, second)
}

#[tokio::test(start_paused = true)]
async fn g03_a_late_rejection_of_a_request_that_waited_is_replayed_without_a_flight() {
    let (session, mut flights, client, mut upstream) = start();
    let (waited, arrived) = waited_for_its_first_send(&client, &mut flights, &mut upstream).await;
    assert_eq!(bearer(&arrived.request), Some("at-2"));
    session.replace(session.state().login(), token("at-3")).unwrap();
    arrived.reject();

    let replay = upstream.next().await;
    assert_eq!(bearer(&replay.request), Some("at-3"));
    replay.accept();
    assert_eq!(status(waited).await, StatusCode::OK);
    flights.none_started().await;
    upstream.none().await;
    assert_eq!(session.state().flights_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn g07_a_rejected_replay_of_a_request_that_waited_goes_to_the_caller() {
    let (session, mut flights, client, mut upstream) = start();
    let (waited, arrived) = waited_for_its_first_send(&client, &mut flights, &mut upstream).await;
    session.replace(session.state().login(), token("at-3")).unwrap();
    arrived.reject();
    let replay = upstream.next().await;
    session.replace(session.state().login(), token("at-4")).unwrap();
    replay.reject();
    assert_eq!(status(waited).await, StatusCode::UNAUTHORIZED);
    flights.none_started().await;
    upstream.none().await;
}

#[tokio::test(start_paused = true)]
async fn g03_a_late_rejection_of_a_request_that_waited_waits_for_an_awaited_flight() {
    let (session, mut flights, client, mut upstream) = start();
    let (waited, arrived) = waited_for_its_first_send(&client, &mut flights, &mut upstream).await;
    session.replace(session.state().login(), token("at-3")).unwrap();
    let other = ask(&client, get("/other"));
    upstream.next().await.reject();
    let flight = flights.next().await;
    settle_tasks().await;
    arrived.reject();
    settle_tasks().await;
    upstream.none().await;

    flight.succeed("at-4");
    for arrived in upstream.take(2).await {
        assert_eq!(bearer(&arrived.request), Some("at-4"));
        arrived.accept();
    }
    assert_eq!(status(waited).await, StatusCode::OK);
    assert_eq!(status(other).await, StatusCode::OK);
    assert_eq!(session.state().flights_started(), 2);
}

#[tokio::test(start_paused = true)]
async fn g04_a_rejection_of_a_request_that_waited_is_not_replayed_in_another_login() {
    for logged_in in [false, true] {
        let (session, mut flights, client, mut upstream) = start();
        let (waited, arrived) =
            waited_for_its_first_send(&client, &mut flights, &mut upstream).await;
        drop(session.logout());
        if logged_in {
            session.login(token("at-other"));
        }
        arrived.reject();
        assert_eq!(status(waited).await, StatusCode::UNAUTHORIZED);
        flights.none_started().await;
        upstream.none().await;
    }
}
