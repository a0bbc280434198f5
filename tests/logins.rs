//! Guarantees 2, 4, 9 and 10: the effects of a login, a replacement and a logout, and the calls of
//! the hook.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, its helpers too")]

mod support;

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::{Request, StatusCode, request::Parts};
use support::*;
use tokio::sync::oneshot;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt};
use tower_refresh::{
    Credential, ErrorKind, Origins, RefreshContext, RefreshError, RefreshErrorKind, RefreshLayer,
    Session, Token,
    refresher::Cause,
    refresher_fn,
    session::{EndReason, EndedLogin, Generation, Phase, SessionBuilder, WeakSession},
};

// === 2: generations only grow ===

#[tokio::test(start_paused = true)]
async fn g02_only_a_new_credential_gets_a_new_generation() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let first = session.state().generation();

    drop(session.refresh());
    let flight = flights.next().await;
    assert_eq!(session.state().generation(), first);
    flight.answer(Err(RefreshError::transient("503")));
    settle_tasks().await;
    assert_eq!(session.state().generation(), first);

    after_back_off().await;
    drop(session.refresh());
    flights.next().await.succeed("at-2");
    settle_tasks().await;
    let second = session.state().generation();
    assert!(second > first);

    let third = session.replace(session.state().login(), token("at-3")).unwrap();
    assert!(third > second);
    assert_eq!(session.state().generation(), third);

    drop(session.logout());
    assert_eq!(session.state().generation(), third);
    assert!(session.credential().is_none());

    session.login(token("at-4"));
    assert!(session.state().generation() > third);
}

#[tokio::test(start_paused = true)]
async fn g02_a_fenced_flight_creates_no_generation() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    drop(session.refresh());
    let flight = flights.next().await;
    let replaced = session.replace(session.state().login(), token("at-2")).unwrap();
    flight.succeed("at-late");
    settle_tasks().await;
    assert_eq!(session.state().generation(), replaced);
    assert_eq!(session.credential().unwrap().access_token(), "at-2");
}

#[tokio::test(start_paused = true)]
async fn g02_credential_expiry_and_generation_change_together() {
    let clock = Clock::new();
    let (refresher, mut flights) = manual_refresher();
    let session = Session::builder(refresher).clock(clock.reader()).build();
    let mut watcher = session.subscribe();
    type Seen = (Generation, Option<String>, Option<SystemTime>);
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let writer = seen.clone();
    let watching = tokio::spawn(async move {
        while let Ok(state) = watcher.changed().await {
            let name = state.credential().map(|credential| credential.access_token().to_owned());
            writer.lock().unwrap().push((state.generation(), name, state.expires_at()));
        }
    });
    let expiring = |n: u64| token(&format!("at-{n}")).with_expires_at(clock.after(n * 10));
    settle_tasks().await;
    let login = session.login(expiring(1));
    settle_tasks().await;
    drop(session.refresh());
    flights.next().await.answer(Ok(expiring(2)));
    settle_tasks().await;
    session.replace(login, expiring(3)).unwrap();
    settle_tasks().await;
    session.login(expiring(4));
    settle_tasks().await;
    let end = clock.clone();
    drop(session.logout());
    settle_tasks().await;
    drop(session);
    watching.await.unwrap();

    let seen = seen.lock().unwrap();
    assert!(seen.iter().map(|(generation, ..)| generation).is_sorted());
    let mut distinct: Vec<_> = seen.iter().filter(|(_, name, _)| name.is_some()).cloned().collect();
    distinct.dedup();
    let names: Vec<_> = distinct.iter().map(|(_, name, _)| name.as_deref().unwrap()).collect();
    assert_eq!(names, ["at-1", "at-2", "at-3", "at-4"]);
    for (n, (_, _, expires_at)) in (1..).zip(&distinct) {
        assert_eq!(*expires_at, Some(end.after(n * 10)));
    }
    let (generation, name, expires_at) = seen.last().unwrap();
    assert_eq!((*generation, name, expires_at), (distinct[3].0, &None, &None));
}

// === 4: fenced flights ===

#[tokio::test(start_paused = true)]
async fn g04_a_logout_during_a_flight_survives_every_outcome_of_the_flight() {
    for answer in [
        Ok(token("at-2")),
        Err(RefreshError::transient("503")),
        Err(RefreshError::terminal("revoked")),
    ] {
        let journal = Journal::default();
        let (session, mut flights, client, mut upstream) =
            start(|it| it.on_login_end(journal.hook()));
        let requests = ask_many(&client, 3, |_| get("/"));
        for sent in upstream.take(3).await {
            sent.reject();
        }
        let flight = flights.next().await;
        assert!(!flight.context.is_fenced());
        let succeeds = answer.is_ok();

        drop(session.logout());
        assert!(flight.context.is_fenced());
        assert!(!flight.is_dropped(), "the fenced flight continues");
        for request in requests {
            let error = request.await.unwrap().unwrap_err();
            assert_eq!(session_error(&error).kind(), ErrorKind::LoggedOut);
            assert!(std::error::Error::source(session_error(&error)).is_none());
        }
        flight.answer(answer);
        settle_tasks().await;
        let state = session.state();
        assert!(matches!(state.phase(), Phase::LoggedOut(EndReason::Logout)));
        assert!(state.credential().is_none());
        assert_eq!((state.flights_started(), state.flights_settled()), (1, 1));
        assert_eq!(journal.read(), [if succeeds { "logged out at-2" } else { "logged out at-1" }]);
        upstream.none().await;
    }
}

#[tokio::test(start_paused = true)]
async fn g04_a_login_during_a_flight_survives_every_outcome_of_the_flight() {
    for answer in [
        Ok(token("at-2")),
        Err(RefreshError::transient("503")),
        Err(RefreshError::terminal("revoked")),
    ] {
        let journal = Journal::default();
        let (session, mut flights, client, mut upstream) =
            start(|it| it.on_login_end(journal.hook()));
        let rejected = ask(&client, get("/"));
        upstream.next().await.reject();
        let flight = flights.next().await;
        let never_sent = ask(&client, get("/"));
        settle_tasks().await;

        let login = session.login(token("at-other"));
        assert!(flight.context.is_fenced());
        assert_eq!(kind(rejected.await.unwrap()), ErrorKind::LoginChanged);
        assert_eq!(kind(never_sent.await.unwrap()), ErrorKind::LoginChanged);
        upstream.none().await;
        let request = ask(&client, get("/"));
        let arrived = upstream.next().await;
        assert_eq!(arrived.token(), "at-other");

        flight.answer(answer);
        settle_tasks().await;
        let state = session.state();
        assert!(matches!(state.phase(), Phase::Active));
        assert_eq!(state.login(), login);
        assert_eq!(state.credential().unwrap().access_token(), "at-other");
        arrived.accept();
        assert_eq!(status(request).await, StatusCode::OK);
        assert!(journal.read().is_empty(), "the hook ran for a login that another login replaced");
        flights.none_started().await;
    }
}

#[tokio::test(start_paused = true)]
async fn g04_a_replacement_during_a_flight_releases_the_waiters_with_the_replacement() {
    for answer in [
        Ok(token("at-late")),
        Err(RefreshError::transient("503")),
        Err(RefreshError::terminal("revoked")),
    ] {
        let journal = Journal::default();
        let (session, mut flights, client, mut upstream) =
            start(|it| it.on_login_end(journal.hook()));
        let rejected = ask(&client, get("/"));
        upstream.next().await.reject();
        let flight = flights.next().await;
        let never_sent = ask(&client, get("/"));
        let refreshed = session.refresh();
        settle_tasks().await;

        session.replace(session.state().login(), token("at-2")).unwrap();
        assert!(flight.context.is_fenced());
        assert_eq!(refreshed.await.unwrap().access_token(), "at-2");
        for arrived in upstream.take(2).await {
            assert_eq!(arrived.token(), "at-2");
            arrived.accept();
        }
        assert_eq!(status(rejected).await, StatusCode::OK);
        assert_eq!(status(never_sent).await, StatusCode::OK);

        flight.answer(answer);
        settle_tasks().await;
        assert!(matches!(session.state().phase(), Phase::Active));
        assert_eq!(session.credential().unwrap().access_token(), "at-2");
        assert!(journal.read().is_empty());
        flights.none_started().await;
    }
}

/// Guarantee 1 does not count fenced flights.
#[tokio::test(start_paused = true)]
async fn g04_the_next_login_starts_its_own_flight_beside_a_fenced_one() {
    let (session, mut flights, client, mut upstream) = start(|it| it);
    drop(session.refresh());
    let fenced = flights.next().await;
    let login = session.login(token("at-other"));
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    let flight = flights.next().await;
    assert_eq!(flight.context.current().unwrap().access_token(), "at-other");
    assert_eq!(flight.context.login(), login);

    fenced.succeed("at-2");
    upstream.none().await;
    assert!(matches!(session.state().phase(), Phase::Refreshing(_)));
    assert_eq!(session.waiters(), 1);
    flight.succeed("at-other-2");
    let replay = upstream.next().await;
    assert_eq!(replay.token(), "at-other-2");
    replay.accept();
    assert_eq!(status(request).await, StatusCode::OK);
}

/// The refresher would use a refresh token that the session has replaced.
#[tokio::test(start_paused = true)]
async fn g04_a_flight_fenced_before_its_first_poll_does_not_call_the_refresher() {
    let (session, mut flights, ..) = start(|it| it);
    let refreshed = session.refresh();
    session.replace(session.state().login(), token("at-2")).unwrap();
    assert_eq!(refreshed.await.unwrap().access_token(), "at-2");
    let refreshed = session.refresh();
    drop(session.logout());
    assert_eq!(refreshed.await.unwrap_err().kind(), ErrorKind::LoggedOut);
    flights.none_started().await;
    let state = session.state();
    assert_eq!((state.flights_started(), state.flights_settled()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn g04_a_late_rejection_of_an_earlier_login_is_not_replayed_in_the_next_login() {
    let (session, mut flights, client, mut upstream) = start(|it| it);
    let request = ask(&client, get("/"));
    let sent = upstream.next().await;
    session.login(token("at-other"));
    sent.reject();
    assert_eq!(kind(request.await.unwrap()), ErrorKind::LoginChanged);
    upstream.none().await;
    flights.none_started().await;

    // The next login may have a flight of its own.
    let request = ask(&client, get("/"));
    let sent = upstream.next().await;
    session.login(token("at-third"));
    drop(session.refresh());
    let flight = flights.next().await;
    sent.reject();
    assert_eq!(kind(request.await.unwrap()), ErrorKind::LoginChanged);
    assert!(matches!(session.state().phase(), Phase::Refreshing(flight) if !flight.is_awaited()));
    flight.succeed("at-third-2");
}

/// The next login has no credential yet, so the generations of the two logins are equal.
#[tokio::test(start_paused = true)]
async fn g04_a_late_rejection_of_an_earlier_login_does_not_wait_for_the_next_logins_flight() {
    let (session, mut flights, client, mut upstream) = start(|it| it);
    let requests = ask_many(&client, 2, |_| get("/"));
    let mut sent = upstream.take(2).await.into_iter();
    drop(session.logout());
    let acquired = session.acquire();
    let flight = flights.next().await;
    let mut late = requests.into_iter();
    sent.next().unwrap().reject();
    assert_eq!(kind(late.next().unwrap().await.unwrap()), ErrorKind::LoginChanged);
    assert_eq!(session.waiters(), 0);

    flight.answer(Err(RefreshError::transient("503")));
    assert_eq!(acquired.await.unwrap_err().kind(), ErrorKind::RefreshFailed);
    sent.next().unwrap().reject();
    assert_eq!(kind(late.next().unwrap().await.unwrap()), ErrorKind::LoginChanged);
    flights.none_started().await;
    upstream.none().await;
}

#[tokio::test(start_paused = true)]
async fn g04_a_request_delayed_by_the_inner_service_fails_after_another_login() {
    // The request first waits for a flight, which binds it to its login, and then for readiness.
    for sent_before in [false, true] {
        let (session, mut flights, client, mut upstream) = start(|it| it);
        let mut request = ask(&client, get("/"));
        let sent = upstream.next().await;
        upstream.0.allow(0);
        sent.reject();
        let flight = flights.next().await;
        let held_up = if sent_before { request } else { ask(&client, get("/held-up")) };
        settle_tasks().await;
        flight.succeed("at-2");
        settle_tasks().await;
        assert_eq!(session.waiters(), 0);
        assert!(!held_up.is_finished());

        session.login(token("at-other"));
        upstream.0.allow(10);
        assert_eq!(kind(held_up.await.unwrap()), ErrorKind::LoginChanged);
        upstream.none().await;

        request = ask(&client, get("/"));
        let arrived = upstream.next().await;
        assert_eq!(arrived.token(), "at-other");
        arrived.accept();
        assert_eq!(status(request).await, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn g04_a_request_delayed_by_the_inner_service_fails_after_a_logout() {
    let (session, mut flights, client, mut upstream) = start(|it| it);
    let held_up = ask(&client, get("/"));
    let sent = upstream.next().await;
    upstream.0.allow(0);
    sent.reject();
    flights.next().await.succeed("at-2");
    settle_tasks().await;
    drop(session.logout());
    upstream.0.allow(10);
    assert_eq!(kind(held_up.await.unwrap()), ErrorKind::LoggedOut);
    upstream.none().await;
}

#[tokio::test(start_paused = true)]
async fn g04_a_request_delayed_by_the_inner_service_is_sent_with_a_replaced_credential() {
    let (session, mut flights, client, mut upstream) = start(|it| it);
    let held_up = ask(&client, get("/"));
    let sent = upstream.next().await;
    upstream.0.allow(0);
    sent.reject();
    flights.next().await.succeed("at-2");
    settle_tasks().await;
    session.replace(session.state().login(), token("at-3")).unwrap();
    upstream.0.allow(10);
    let replay = upstream.next().await;
    assert_eq!(replay.token(), "at-3");
    replay.accept();
    assert_eq!(status(held_up).await, StatusCode::OK);
}

/// `poll_ready` runs in the old login, `call` in the new one.
#[tokio::test(start_paused = true)]
async fn g04_a_request_belongs_to_the_login_in_which_it_is_called() {
    let (session, _flights, mut client, mut upstream) = start(|it| it);
    let service = client.ready().await.unwrap();
    session.login(token("at-other"));
    let request = service.call(get("/"));
    let mut request = task::spawn(request);
    assert_pending!(request.poll());
    let arrived = upstream.next().await;
    assert_eq!(arrived.token(), "at-other");
    arrived.accept();
    assert_eq!(assert_ready!(request.poll()).unwrap().status(), StatusCode::OK);

    let service = client.ready().await.unwrap();
    drop(session.logout());
    let mut request = task::spawn(service.call(get("/")));
    let refused = assert_ready!(request.poll());
    assert_eq!(kind(refused), ErrorKind::LoggedOut);
    upstream.none().await;
}

#[tokio::test(start_paused = true)]
async fn g04_a_waiter_polled_after_the_next_login_fails() {
    let (session, mut flights, client, mut upstream) = start(|it| it);
    let mut slow = task::spawn(client.clone().oneshot(get("/")));
    assert_pending!(slow.poll());
    upstream.next().await.reject();
    assert_pending!(slow.poll());
    flights.next().await.succeed("at-2");
    settle_tasks().await;
    session.login(token("at-other"));
    assert_eq!(kind(assert_ready!(slow.poll())), ErrorKind::LoginChanged);
    upstream.none().await;
}

#[tokio::test(start_paused = true)]
async fn g04_replace_for_an_ended_login_returns_the_credential() {
    let (session, _flights, _client, _upstream) = start(|it| it);
    let first = session.state().login();
    session.login(token("at-other"));
    assert_eq!(session.replace(first, token("at-2")).unwrap_err().access_token(), "at-2");
    assert_eq!(session.credential().unwrap().access_token(), "at-other");
    let second = session.state().login();
    drop(session.logout());
    assert_eq!(session.replace(second, token("at-3")).unwrap_err().access_token(), "at-3");
    assert!(session.credential().is_none());
}

#[tokio::test(start_paused = true)]
async fn g04_replace_recovers_a_failed_login_and_one_without_a_credential() {
    let (session, mut flights, client, mut upstream) = start(|it| it);
    drop(session.refresh());
    flights.next().await.answer(Err(RefreshError::transient("503")));
    settle_tasks().await;
    assert!(matches!(session.state().phase(), Phase::Failed(_)));
    session.replace(session.state().login(), token("at-2")).unwrap();
    assert!(matches!(session.state().phase(), Phase::Active));
    let request = ask(&client, get("/"));
    let arrived = upstream.next().await;
    assert_eq!(arrived.token(), "at-2");
    arrived.accept();
    assert_eq!(status(request).await, StatusCode::OK);

    let (refresher, mut flights) = manual_refresher();
    let session = Session::builder(refresher).acquire_on_demand(true).build();
    let (client, mut upstream) = over_mock(&session);
    let request = ask(&client, get("/"));
    let flight = flights.next().await;
    session.replace(session.state().login(), token("at-1")).unwrap();
    let arrived = upstream.next().await;
    assert_eq!(arrived.token(), "at-1");
    arrived.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    flight.succeed("at-late");
    settle_tasks().await;
    assert_eq!(session.credential().unwrap().access_token(), "at-1");
}

// === 9: the end of a login ===

#[tokio::test(start_paused = true)]
async fn g09_after_a_refusal_requests_fail_unsent_until_the_next_login() {
    let journal = Journal::default();
    let (session, mut flights, client, mut upstream) = start(|it| it.on_login_end(journal.hook()));
    for login in ["at-1", "at-other"] {
        let request = ask(&client, get("/"));
        upstream.next().await.reject();
        flights.next().await.answer(Err(RefreshError::terminal("revoked")));
        assert_eq!(kind(request.await.unwrap()), ErrorKind::LoggedOut);
        settle_tasks().await;
        assert_eq!(journal.read().last().unwrap(), &format!("refused {login}"));
        assert!(session.credential().is_none());
        assert!(matches!(session.state().phase(), Phase::LoggedOut(EndReason::Refused(_))));

        for request in ask_many(&client, 5, |_| get("/")) {
            let error = request.await.unwrap().unwrap_err();
            assert_eq!(session_error(&error).kind(), ErrorKind::LoggedOut);
            assert!(refresh_error(session_error(&error)).is_terminal());
        }
        let refused = session.refresh().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::LoggedOut);
        assert!(refresh_error(&refused).is_terminal());
        upstream.none().await;
        flights.none_started().await;
        session.login(token("at-other"));
    }
    assert_eq!(journal.read(), ["refused at-1", "refused at-other"]);
    let request = ask(&client, get("/"));
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn g09_after_a_logout_requests_fail_unsent_and_a_second_logout_does_nothing() {
    let journal = Journal::default();
    let (session, mut flights, client, mut upstream) = start(|it| it.on_login_end(journal.hook()));
    session.logout().await;
    assert_eq!(journal.read(), ["logged out at-1"]);
    session.logout().await;
    drop(session.logout());
    settle_tasks().await;
    assert_eq!(journal.read(), ["logged out at-1"]);

    let mut request = task::spawn(client.clone().oneshot(get("/")));
    let error = assert_ready!(request.poll()).unwrap_err();
    assert_eq!(session_error(&error).kind(), ErrorKind::LoggedOut);
    assert!(std::error::Error::source(session_error(&error)).is_none());
    assert_eq!(session.refresh().await.unwrap_err().kind(), ErrorKind::LoggedOut);
    upstream.none().await;
    flights.none_started().await;

    session.login(token("at-2"));
    session.logout().await;
    assert_eq!(journal.read(), ["logged out at-1", "logged out at-2"]);
}

#[tokio::test(start_paused = true)]
async fn g09_responses_to_requests_sent_before_a_logout_still_arrive() {
    let journal = Journal::default();
    let (session, mut flights, client, mut upstream) = start(|it| it.on_login_end(journal.hook()));
    let requests = [ask(&client, get("/")), ask(&client, get("/"))];
    let mut sent = upstream.take(2).await.into_iter();
    session.logout().await;
    sent.next().unwrap().accept();
    sent.next().unwrap().reject();
    let [accepted, rejected] = requests;
    assert_eq!(status(accepted).await, StatusCode::OK);
    assert_eq!(kind(rejected.await.unwrap()), ErrorKind::LoggedOut);
    flights.none_started().await;
    upstream.none().await;
    assert_eq!(journal.read().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn g09_a_session_built_without_a_credential_fails_requests_and_runs_no_hook() {
    let journal = Journal::default();
    let (refresher, mut flights) = manual_refresher();
    let session = Session::builder(refresher).on_login_end(journal.hook()).build();
    let (client, mut upstream) = over_mock(&session);
    assert!(matches!(session.state().phase(), Phase::LoggedOut(EndReason::NeverLoggedIn)));
    let error = ask(&client, get("/")).await.unwrap().unwrap_err();
    assert_eq!(session_error(&error).kind(), ErrorKind::LoggedOut);
    assert!(std::error::Error::source(session_error(&error)).is_none());
    assert_eq!(session.refresh().await.unwrap_err().kind(), ErrorKind::LoggedOut);
    session.logout().await;
    assert!(matches!(session.state().phase(), Phase::LoggedOut(EndReason::NeverLoggedIn)));
    assert!(session.replace(session.state().login(), token("at-1")).is_err());
    upstream.none().await;
    flights.none_started().await;
    assert!(journal.read().is_empty());

    session.login(token("at-1"));
    let request = ask(&client, get("/"));
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn g09_the_hook_does_not_run_for_a_login_that_another_login_replaced() {
    let journal = Journal::default();
    let (session, mut flights, ..) = start(|it| it.on_login_end(journal.hook()));
    drop(session.refresh());
    let flight = flights.next().await;
    session.login(token("at-2"));
    session.login(token("at-3"));
    flight.answer(Err(RefreshError::terminal("revoked")));
    settle_tasks().await;
    assert!(journal.read().is_empty());
    session.logout().await;
    assert_eq!(journal.read(), ["logged out at-3"]);
}

#[tokio::test(start_paused = true)]
async fn g09_a_transient_failure_keeps_the_credential_and_the_login() {
    let garbage = || Token::bearer("not\r\na: token").map_err(RefreshError::from);
    let status_of = |code: u16| RefreshError::from_status(StatusCode::from_u16(code).unwrap());
    for (failure, expected) in [
        (status_of(500), RefreshErrorKind::Transient),
        (status_of(429), RefreshErrorKind::Transient),
        (status_of(400), RefreshErrorKind::Transient),
        (garbage().unwrap_err(), RefreshErrorKind::Ambiguous),
        (RefreshError::ambiguous("connection reset"), RefreshErrorKind::Ambiguous),
    ] {
        let journal = Journal::default();
        let (session, mut flights, client, mut upstream) =
            start(|it| it.on_login_end(journal.hook()));
        let generation = session.state().generation();
        let request = ask(&client, get("/"));
        upstream.next().await.reject();
        flights.next().await.answer(Err(failure));
        let error = request.await.unwrap().unwrap_err();
        assert_eq!(session_error(&error).kind(), ErrorKind::RefreshFailed);
        assert_eq!(refresh_kind(session_error(&error)), expected);
        assert!(
            matches!(session.state().phase(), Phase::Failed(failure) if failure.error().kind() == expected)
        );
        assert_eq!(session.state().generation(), generation);

        // The old credential is still sent.
        let next = ask(&client, get("/"));
        let arrived = upstream.next().await;
        assert_eq!(arrived.token(), "at-1");
        arrived.accept();
        assert_eq!(status(next).await, StatusCode::OK);
        assert!(journal.read().is_empty());

        // After the back-off, the next rejection starts a flight that succeeds.
        after_back_off().await;
        let next = ask(&client, get("/"));
        upstream.next().await.reject();
        flights.next().await.succeed("at-2");
        upstream.next().await.accept();
        assert_eq!(status(next).await, StatusCode::OK);
        assert!(matches!(session.state().phase(), Phase::Active));
    }
    for code in [401, 403] {
        assert!(status_of(code).is_terminal());
    }
}

#[tokio::test(start_paused = true)]
async fn g09_a_transient_failure_with_an_expired_credential_keeps_the_login() {
    let clock = Clock::new();
    let journal = Journal::default();
    let (session, mut flights, client, mut upstream) = start(|it| {
        it.credential(token("at-1").with_expires_at(clock.after(60)))
            .clock(clock.reader())
            .on_login_end(journal.hook())
    });
    clock.advance(60);
    for _ in 0..2 {
        let request = ask(&client, get("/"));
        flights.next().await.answer(Err(RefreshError::transient("503")));
        assert_eq!(kind(request.await.unwrap()), ErrorKind::RefreshFailed);
        upstream.none().await;
        // Twice, because the second back-off is twice as long.
        after_back_off().await;
        after_back_off().await;
    }
    assert!(session.credential().is_some());
    assert!(journal.read().is_empty());
    let request = ask(&client, get("/"));
    flights.next().await.succeed("at-2");
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn g09_a_refusal_without_waiters_ends_the_login_only_if_the_credential_has_expired() {
    let clock = Clock::new();
    for expired in [false, true] {
        let journal = Journal::default();
        let (session, mut flights, client, mut upstream) = start(|it| {
            it.credential(token("at-1").with_expires_at(clock.after(60)))
                .clock(clock.reader())
                .on_login_end(journal.hook())
        });
        let refreshed = session.refresh();
        let flight = flights.next().await;
        if expired {
            clock.advance(60);
        }
        flight.answer(Err(RefreshError::terminal("revoked")));
        let error = refreshed.await.unwrap_err();
        assert!(refresh_error(&error).is_terminal());
        settle_tasks().await;
        if expired {
            assert_eq!(error.kind(), ErrorKind::LoggedOut);
            assert_eq!(journal.read(), ["refused at-1"]);
        } else {
            assert_eq!(error.kind(), ErrorKind::RefreshFailed);
            assert!(journal.read().is_empty());
            let request = ask(&client, get("/"));
            let arrived = upstream.next().await;
            assert_eq!(arrived.token(), "at-1");
            arrived.accept();
            assert_eq!(status(request).await, StatusCode::OK);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn g09_acquire_after_a_logout_begins_one_new_login() {
    let journal = Journal::default();
    let (session, mut flights, client, mut upstream) = start(|it| it.on_login_end(journal.hook()));
    let before = session.state();
    session.logout().await;
    let acquired = [session.acquire(), session.acquire()];
    let flight = flights.next().await;
    assert_eq!(flight.context.cause(), Cause::Missing);
    assert!(flight.context.current().is_none());
    assert_ne!(flight.context.login(), before.login());
    let waiting = ask(&client, get("/"));
    upstream.none().await;
    flights.none_started().await;

    flight.succeed("at-2");
    for acquired in acquired {
        assert_eq!(acquired.await.unwrap().access_token(), "at-2");
    }
    let arrived = upstream.next().await;
    assert_eq!(arrived.token(), "at-2");
    arrived.accept();
    assert_eq!(status(waiting).await, StatusCode::OK);
    assert!(session.state().generation() > before.generation());
    assert_ne!(session.state().login(), before.login());
    assert_eq!(journal.read().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn g09_a_refused_acquire_ends_the_login_it_began_and_runs_the_hook() {
    let journal = Journal::default();
    let (refresher, mut flights) = manual_refresher();
    let session = Session::builder(refresher).on_login_end(journal.hook()).build();
    let acquired = session.acquire();
    flights.next().await.answer(Err(RefreshError::terminal("wrong password")));
    let error = acquired.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LoggedOut);
    assert_eq!(root_cause(&error).to_string(), "wrong password");
    settle_tasks().await;
    assert_eq!(journal.read(), ["refused -"]);
    let (client, mut upstream) = over_mock(&session);
    assert_eq!(kind(ask(&client, get("/")).await.unwrap()), ErrorKind::LoggedOut);
    upstream.none().await;
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g09_a_failed_acquire_keeps_a_login_whose_next_request_retries() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::builder(refresher).build();
    let acquired = session.acquire();
    flights.next().await.answer(Err(RefreshError::transient("503")));
    assert_eq!(acquired.await.unwrap_err().kind(), ErrorKind::RefreshFailed);
    let login = session.state().login();
    let (client, mut upstream) = over_mock(&session);
    after_back_off().await;
    let request = ask(&client, get("/"));
    let flight = flights.next().await;
    assert_eq!(flight.context.cause(), Cause::Missing);
    flight.succeed("at-1");
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    assert_eq!(session.state().login(), login);
}

#[tokio::test(start_paused = true)]
async fn g09_acquire_returns_a_usable_credential_and_refreshes_an_unusable_one() {
    let clock = Clock::new();
    let (session, mut flights, ..) = start(|it| {
        it.credential(token("at-1").with_expires_at(clock.after(60))).clock(clock.reader())
    });
    assert_eq!(session.acquire().await.unwrap().access_token(), "at-1");
    flights.none_started().await;

    clock.advance(60);
    let acquired = session.acquire();
    let flight = flights.next().await;
    assert_eq!(flight.context.cause(), Cause::Expiring);
    flight.succeed("at-2");
    assert_eq!(acquired.await.unwrap().access_token(), "at-2");

    drop(session.refresh());
    flights.next().await.answer(Err(RefreshError::transient("503")));
    settle_tasks().await;
    // The failed renewal has not made the credential any worse.
    assert_eq!(session.acquire().await.unwrap().access_token(), "at-2");
    after_back_off().await;
    assert_eq!(session.acquire().await.unwrap().access_token(), "at-2");
    flights.none_started().await;

    clock.advance(60);
    session.replace(session.state().login(), token("at-3")).unwrap();
    assert_eq!(session.acquire().await.unwrap().access_token(), "at-3");
}

#[tokio::test(start_paused = true)]
async fn g09_acquire_and_refresh_fail_after_a_logout_and_after_another_login() {
    for changed in [false, true] {
        let (session, mut flights, ..) = start(|it| it);
        let (refreshed, acquired) = (session.refresh(), session.acquire());
        let flight = flights.next().await;
        let expected = if changed {
            session.login(token("at-other"));
            ErrorKind::LoginChanged
        } else {
            drop(session.logout());
            ErrorKind::LoggedOut
        };
        assert_eq!(refreshed.await.unwrap_err().kind(), expected);
        assert_eq!(acquired.await.unwrap_err().kind(), expected);
        flight.succeed("at-2");
    }
    // Polled after the flight has settled, both fail as well.
    let (session, mut flights, ..) = start(|it| it);
    let refreshed = session.refresh();
    let current = session.acquire();
    flights.next().await.succeed("at-2");
    settle_tasks().await;
    session.login(token("at-other"));
    assert_eq!(refreshed.await.unwrap_err().kind(), ErrorKind::LoginChanged);
    assert_eq!(current.await.unwrap_err().kind(), ErrorKind::LoginChanged);
}

#[tokio::test(start_paused = true)]
async fn g09_refresh_after_a_failure_starts_another_flight_with_the_error_of_the_first() {
    let (session, mut flights, ..) = start(|it| it);
    let refreshed = session.refresh();
    flights.next().await.answer(Err(RefreshError::ambiguous("reset")));
    assert_eq!(refreshed.await.unwrap_err().kind(), ErrorKind::RefreshFailed);
    after_back_off().await;
    let refreshed = session.refresh();
    let flight = flights.next().await;
    assert_eq!(flight.context.cause(), Cause::Forced);
    assert_eq!(flight.context.previous_error().unwrap().kind(), RefreshErrorKind::Ambiguous);
    flight.succeed("at-2");
    assert_eq!(refreshed.await.unwrap().access_token(), "at-2");
    let refreshed = session.refresh();
    let flight = flights.next().await;
    assert!(flight.context.previous_error().is_none());
    flight.succeed("at-3");
    refreshed.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn g09_acquire_on_demand_ends_with_its_login() {
    let journal = Journal::default();
    let (refresher, mut flights) = manual_refresher();
    let session =
        Session::builder(refresher).acquire_on_demand(true).on_login_end(journal.hook()).build();
    let (client, mut upstream) = over_mock(&session);
    let request = ask(&client, get("/"));
    flights.next().await.answer(Err(RefreshError::terminal("unknown client")));
    assert_eq!(kind(request.await.unwrap()), ErrorKind::LoggedOut);
    assert_eq!(kind(ask(&client, get("/")).await.unwrap()), ErrorKind::LoggedOut);
    flights.none_started().await;
    upstream.none().await;
    assert_eq!(journal.read(), ["refused -"]);

    // A logout also ends a login that never had a credential.
    let (refresher, mut flights) = manual_refresher();
    let session =
        Session::builder(refresher).acquire_on_demand(true).on_login_end(journal.hook()).build();
    session.logout().await;
    assert_eq!(journal.read()[1..], ["logged out -"]);
    let (client, _upstream) = over_mock(&session);
    assert_eq!(kind(ask(&client, get("/")).await.unwrap()), ErrorKind::LoggedOut);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g09_acquire_on_demand_acquires_nothing_when_there_is_a_credential() {
    let (session, mut flights, client, mut upstream) = start(|it| it.acquire_on_demand(true));
    let request = ask(&client, get("/"));
    let arrived = upstream.next().await;
    assert_eq!(arrived.token(), "at-1");
    arrived.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    flights.none_started().await;
    assert_eq!(session.state().flights_started(), 0);
}

// === 10: hooks and other user code ===

#[tokio::test(start_paused = true)]
async fn g10_a_hook_that_never_ends_delays_no_request_and_no_other_hook() {
    let journal = Journal::default();
    let noted = journal.clone();
    let (session, mut flights, client, mut upstream) = start(|it| {
        it.on_login_end(move |end: EndedLogin| {
            noted.note(describe(&end));
            std::future::pending()
        })
    });
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    flights.next().await.answer(Err(RefreshError::terminal("revoked")));
    assert_eq!(kind(request.await.unwrap()), ErrorKind::LoggedOut);
    settle_tasks().await;

    session.login(token("at-2"));
    let request = ask(&client, get("/"));
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    let mut logout = task::spawn(session.logout());
    assert_pending!(logout.poll());
    settle_tasks().await;
    assert_pending!(logout.poll());
    session.login(token("at-3"));
    drop(session.logout());
    settle_tasks().await;
    assert_eq!(journal.read(), ["refused at-1", "logged out at-2", "logged out at-3"]);
}

#[tokio::test(start_paused = true)]
async fn g10_a_panicking_hook_affects_no_request_and_no_other_hook() {
    for in_its_future in [false, true] {
        let journal = Journal::default();
        let noted = journal.clone();
        let (session, mut flights, client, mut upstream) = start(|it| {
            it.on_login_end(move |end: EndedLogin| {
                noted.note(describe(&end));
                assert!(in_its_future, "the hook panics at once");
                async { panic!("the hook panics later") }
            })
        });
        let request = ask(&client, get("/"));
        upstream.next().await.reject();
        flights.next().await.answer(Err(RefreshError::terminal("revoked")));
        assert_eq!(kind(request.await.unwrap()), ErrorKind::LoggedOut);
        session.login(token("at-2"));
        let request = ask(&client, get("/"));
        upstream.next().await.accept();
        assert_eq!(status(request).await, StatusCode::OK);
        session.logout().await;
        settle_tasks().await;
        assert_eq!(journal.read(), ["refused at-1", "logged out at-2"]);
    }
}

#[tokio::test(start_paused = true)]
async fn g10_the_hook_waits_for_the_last_flight_and_gets_its_credential() {
    let journal = Journal::default();
    let (session, mut flights, ..) = start(|it| it.on_login_end(journal.hook()));
    drop(session.refresh());
    let flight = flights.next().await;
    let mut logout = task::spawn(session.logout());
    assert_pending!(logout.poll());
    settle_tasks().await;
    assert!(journal.read().is_empty(), "the hook ran before the flight was over");
    // The hook does not wait for flights of the next login.
    session.login(token("at-other"));
    drop(session.refresh());
    let next = flights.next().await;

    flight.succeed("at-2");
    settle_tasks().await;
    assert_eq!(journal.read(), ["logged out at-2"]);
    assert!(logout.is_woken());
    assert_ready!(logout.poll());
    assert_eq!(session.credential().unwrap().access_token(), "at-other");
    next.succeed("at-other-2");
}

#[tokio::test(start_paused = true)]
async fn g10_the_hook_gets_the_last_credential_when_the_fenced_flight_times_out() {
    let journal = Journal::default();
    let (session, mut flights, ..) =
        start(|it| it.on_login_end(journal.hook()).refresh_timeout(Duration::from_secs(5)));
    drop(session.refresh());
    flights.next().await.succeed("at-2");
    settle_tasks().await;
    drop(session.refresh());
    let flight = flights.next().await;
    let logout = session.logout();
    tokio::time::advance(Duration::from_secs(5)).await;
    logout.await;
    assert!(flight.is_dropped());
    assert_eq!(journal.read(), ["logged out at-2"]);
}

/// A flight that was fenced before the logout still belongs to the ended login.
#[tokio::test(start_paused = true)]
async fn g10_the_hook_waits_for_a_flight_that_a_replacement_fenced() {
    let journal = Journal::default();
    let (session, mut flights, ..) = start(|it| it.on_login_end(journal.hook()));
    drop(session.refresh());
    let flight = flights.next().await;
    session.replace(session.state().login(), token("at-3")).unwrap();
    drop(session.logout());
    settle_tasks().await;
    assert!(journal.read().is_empty(), "the hook ran before the flight was over");
    flight.answer(Err(RefreshError::transient("503")));
    settle_tasks().await;
    assert_eq!(journal.read(), ["logged out at-3"]);
}

#[tokio::test(start_paused = true)]
async fn g10_a_hook_may_log_in() {
    let cell: Arc<OnceLock<WeakSession>> = Arc::default();
    let in_hook = cell.clone();
    let (session, mut flights, client, mut upstream) = start(|it| {
        it.on_login_end(move |_| {
            let session = in_hook.get().unwrap().upgrade().unwrap();
            async move {
                session.login(token("at-guest"));
            }
        })
    });
    cell.set(session.downgrade()).unwrap();
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    flights.next().await.answer(Err(RefreshError::terminal("revoked")));
    assert_eq!(kind(request.await.unwrap()), ErrorKind::LoggedOut);
    settle_tasks().await;
    let request = ask(&client, get("/"));
    let arrived = upstream.next().await;
    assert_eq!(arrived.token(), "at-guest");
    arrived.accept();
    assert_eq!(status(request).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn g10_a_hook_may_acquire_refresh_and_log_out() {
    let cell: Arc<OnceLock<WeakSession>> = Arc::default();
    let in_hook = cell.clone();
    let journal = Journal::default();
    let noted = journal.clone();
    let (session, mut flights, ..) = start(|it| {
        it.on_login_end(move |end: EndedLogin| {
            let session = in_hook.get().unwrap().upgrade().unwrap();
            let noted = noted.clone();
            let first = noted.read().is_empty();
            noted.note(describe(&end));
            async move {
                session.logout().await;
                assert!(session.credential().is_none());
                assert_eq!(session.refresh().await.unwrap_err().kind(), ErrorKind::LoggedOut);
                if first {
                    noted.note(session.acquire().await.unwrap().access_token());
                    noted.note(session.refresh().await.unwrap().access_token());
                    session.logout().await;
                    noted.note("end");
                }
            }
        })
    });
    cell.set(session.downgrade()).unwrap();
    let mut logout = task::spawn(session.logout());
    assert_pending!(logout.poll());
    flights.next().await.succeed("at-2");
    flights.next().await.succeed("at-3");
    settle_tasks().await;
    assert_ready!(logout.poll());
    assert_eq!(journal.read(), ["logged out at-1", "at-2", "at-3", "logged out at-3", "end"]);
}

#[tokio::test(start_paused = true)]
async fn g10_requests_sent_by_the_hook_pass_untouched() {
    let cell: Arc<OnceLock<Client>> = Arc::default();
    let in_hook = cell.clone();
    let (answered, answer) = oneshot::channel();
    let answered = Mutex::new(Some(answered));
    let (session, mut flights, client, mut upstream) = start(|it| {
        it.on_login_end(move |end: EndedLogin| {
            let client = in_hook.get().unwrap().clone();
            let answered = answered.lock().unwrap().take().unwrap();
            async move {
                let last = end.credential().unwrap().access_token();
                let logout =
                    Request::post("/logout").header("authorization", format!("Bearer {last}"));
                let first = client.clone().oneshot(logout.body("".into()).unwrap()).await.unwrap();
                let second = client.clone().oneshot(get("/goodbye")).await.unwrap();
                answered.send((first.status(), second.status())).unwrap();
            }
        })
    });
    assert!(cell.set(client).is_ok());
    let logout = session.logout();
    // The next login does not change that.
    session.login(token("at-other"));
    let arrived = upstream.next().await;
    assert_eq!((arrived.token(), arrived.request.uri().path()), ("at-1", "/logout"));
    arrived.reject();
    let arrived = upstream.next().await;
    assert_eq!((arrived.token(), arrived.request.uri().path()), ("-", "/goodbye"));
    arrived.reject();
    assert_eq!(answer.await.unwrap(), (StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED));
    logout.await;
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g10_dropping_the_logout_future_does_not_stop_the_hook_and_the_last_hook_set_wins() {
    let lost = Journal::default();
    let journal = Journal::default();
    let noted = journal.clone();
    let (go, gone) = oneshot::channel::<()>();
    let gone = Mutex::new(Some(gone));
    let (session, ..) = start(|it| {
        it.on_login_end(lost.hook()).on_login_end(move |end: EndedLogin| {
            let (noted, gone) = (noted.clone(), gone.lock().unwrap().take().unwrap());
            async move {
                noted.note("begin");
                gone.await.unwrap();
                noted.note(describe(&end));
            }
        })
    });
    let mut logout = task::spawn(session.logout());
    assert_pending!(logout.poll());
    drop((logout, session));
    settle_tasks().await;
    assert_eq!(journal.read(), ["begin"]);
    go.send(()).unwrap();
    settle_tasks().await;
    assert_eq!(journal.read(), ["begin", "logged out at-1"]);
    assert!(lost.read().is_empty());
}

#[test]
fn g10_without_a_runtime_the_hook_runs_in_the_logout_future() {
    let journal = Journal::default();
    let (refresher, _flights) = manual_refresher();
    let session =
        Session::builder(refresher).credential(token("at-1")).on_login_end(journal.hook()).build();
    let logout = session.logout();
    assert!(matches!(session.state().phase(), Phase::LoggedOut(_)));
    poll_without_runtime(logout);
    assert_eq!(journal.read(), ["logged out at-1"]);
}

#[test]
fn g10_a_logout_outside_a_runtime_runs_the_hook_on_the_runtime_seen_first() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let journal = Journal::default();
    let noted = journal.clone();
    let (refresher, _flights) = manual_refresher();
    let session = {
        let _entered = runtime.enter();
        Session::builder(refresher)
            .credential(token("at-1"))
            .on_login_end(move |end: EndedLogin| {
                noted.note(describe(&end));
                assert!(tokio::runtime::Handle::try_current().is_ok());
                async {}
            })
            .build()
    };
    let logout = session.logout();
    assert!(journal.read().is_empty());
    runtime.block_on(logout);
    assert_eq!(journal.read(), ["logged out at-1"]);
}

#[tokio::test(start_paused = true)]
async fn g10_the_predicate_of_a_watcher_may_call_the_session() {
    let (session, mut flights, ..) = start(|it| it);
    let mut watcher = session.subscribe();
    let seen = watcher
        .wait_for(|state| {
            assert_eq!(session.state().login(), state.login());
            assert!(
                session.credential().is_some()
                    && session.subscribe().state().credential().is_some()
            );
            session.replace(state.login(), token("at-2")).unwrap();
            drop(session.refresh());
            session.login(token("at-other"));
            drop(session.logout());
            drop(session.acquire());
            true
        })
        .await
        .unwrap();
    assert_eq!(seen.credential().unwrap().access_token(), "at-1");
    let acquiring = flights.next().await;
    assert_eq!(acquiring.context.cause(), Cause::Missing);
    acquiring.succeed("at-3");
    let state = watcher.wait_for(|state| state.credential().is_some()).await.unwrap();
    assert_eq!(state.credential().unwrap().access_token(), "at-3");
}

/// A credential that uses its own session in every method.
struct ReentrantCredential {
    name: &'static str,
    session: Arc<OnceLock<WeakSession<Self>>>,
    journal: Journal,
    behaviour: Behaviour,
}

#[derive(Clone, Copy, PartialEq)]
enum Behaviour {
    Read,
    RefreshOnDrop,
    PanicOnDrop,
    PanicOnApply,
    PanicOnObserve,
}

impl ReentrantCredential {
    fn read(&self, from: &str) -> Option<Session<Self>> {
        let session = self.session.get()?.upgrade()?;
        session.state();
        session.credential();
        session.subscribe().state();
        session.waiters();
        assert!(!format!("{session:?}").is_empty());
        self.journal.note(format!("{from} {}", self.name));
        Some(session)
    }
}

impl Credential for ReentrantCredential {
    fn apply(&self, request: &mut Parts) {
        self.read("apply");
        assert!(self.behaviour != Behaviour::PanicOnApply, "apply panics");
        request.headers.insert("authorization", format!("Bearer {}", self.name).parse().unwrap());
    }

    fn expires_at(&self, _: SystemTime) -> Option<SystemTime> {
        self.read("expires_at");
        None
    }

    fn observe(&self, _: &tower_refresh::head::ResponseHead<'_>) {
        self.read("observe");
        assert!(self.behaviour != Behaviour::PanicOnObserve, "observe panics");
    }

    fn is_same(&self, other: &Self) -> bool {
        self.read("is_same");
        self.name == other.name
    }
}

impl Drop for ReentrantCredential {
    fn drop(&mut self) {
        let session = self.read("drop");
        match self.behaviour {
            Behaviour::RefreshOnDrop => drop(session.map(|session| session.refresh())),
            Behaviour::PanicOnDrop => panic!("drop panics"),
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn g10_a_credential_may_read_its_session_in_every_method() {
    let (session, journal, make) = reentrant_session(Behaviour::Read);
    let (mock, arrivals) = tower_test::mock::pair();
    let mut upstream = Arrivals(arrivals);
    let client = RefreshLayer::new(session.clone(), Origins::any()).layer(mock);
    let request = ask(&client, get("/"));
    let arrived = upstream.next().await;
    assert_eq!(arrived.token(), "at-1");
    arrived.reject();
    let replay = upstream.next().await;
    assert_eq!(replay.token(), "at-2");
    replay.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    let login = session.state().login();
    assert!(session.replace(login, make("at-3")).is_ok());
    session.login(make("at-4"));
    assert!(session.replace(login, make("at-5")).is_err());
    drop(session.logout());
    // The snapshot of an idle service keeps the credential that it saw last.
    drop(client);
    settle_tasks().await;
    let read = journal.read();
    for name in ["at-1", "at-2", "at-3", "at-4", "at-5"] {
        assert!(read.contains(&format!("drop {name}")), "{name} was not dropped: {read:?}");
    }
    for what in [
        "apply at-1",
        "observe at-1",
        "is_same at-2",
        "expires_at at-2",
        "apply at-2",
        "observe at-2",
    ] {
        assert!(read.contains(&what.to_owned()), "{what} is missing: {read:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn g10_a_credential_may_change_its_session_when_it_is_dropped() {
    let (session, journal, make) = reentrant_session(Behaviour::RefreshOnDrop);
    assert!(session.replace(session.state().login(), make("at-3")).is_ok());
    settle_tasks().await;
    // Each drop starts another refresh. The failing refresher ends the chain.
    session.login(make("at-4"));
    settle_tasks().await;
    assert!(journal.read().contains(&"drop at-3".to_owned()));
    assert!(session.credential().is_some());
    assert!(session.state().flights_started() >= 2);
}

#[tokio::test(start_paused = true)]
async fn g10_a_panicking_credential_affects_only_its_caller() {
    for behaviour in [Behaviour::PanicOnApply, Behaviour::PanicOnObserve] {
        let (session, _, make) = reentrant_session(behaviour);
        let (mock, arrivals) = tower_test::mock::pair();
        let mut upstream = Arrivals(arrivals);
        let client = RefreshLayer::new(session.clone(), Origins::any()).layer(mock);
        let request = ask(&client, get("/"));
        if behaviour == Behaviour::PanicOnObserve {
            upstream.next().await.reject();
        }
        assert!(request.await.unwrap_err().is_panic());
        assert_eq!(session.waiters(), 0);
        let mut healthy = make("at-3");
        healthy.behaviour = Behaviour::Read;
        session.login(healthy);
        let request = ask(&client, get("/"));
        let arrived = upstream.next().await;
        assert_eq!(arrived.token(), "at-3");
        arrived.accept();
        assert_eq!(status(request).await, StatusCode::OK);
    }
}

/// The panic reaches the caller of `login`. The login is complete before it: the state is new and
/// the hook can run.
#[tokio::test(start_paused = true)]
async fn g10_a_panic_in_the_drop_of_a_credential_does_not_undo_the_login_that_replaced_it() {
    let (session, journal, make) = reentrant_session(Behaviour::PanicOnDrop);
    let login = session.clone();
    let mut healthy = make("at-3");
    healthy.behaviour = Behaviour::Read;
    let caller = tokio::spawn(async move {
        login.login(healthy);
    });
    assert!(caller.await.unwrap_err().is_panic());
    assert_eq!(session.credential().unwrap().name, "at-3");
    session.logout().await;
    assert!(journal.read().contains(&"hook at-3".to_owned()));
    assert!(matches!(session.state().phase(), Phase::LoggedOut(_)));
}

#[tokio::test(start_paused = true)]
async fn g10_a_detector_may_call_the_session() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let seen = Arc::new(AtomicUsize::new(0));
    let (inside, count) = (session.clone(), seen.clone());
    let layer = RefreshLayer::new(session.clone(), Origins::any()).detect(
        tower_refresh::detect::detect_fn(
            move |response: &tower_refresh::head::ResponseHead<'_>| {
                count.fetch_add(1, Ordering::SeqCst);
                inside.state();
                // Replaces the credential before the rejection is reported.
                inside.replace(inside.state().login(), token("at-2")).unwrap();
                response.status() == StatusCode::UNAUTHORIZED
            },
        ),
    );
    let (client, mut upstream) = layer_over_mock(&layer);
    let request = ask(&client, get("/"));
    upstream.next().await.reject();
    let replay = upstream.next().await;
    assert_eq!(replay.token(), "at-2");
    replay.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn g10_a_clock_may_call_the_session() {
    let cell: Arc<OnceLock<WeakSession>> = Arc::default();
    let looked = Arc::new(AtomicBool::new(false));
    let (in_clock, noted) = (cell.clone(), looked.clone());
    let clock = Clock::new();
    let now = clock.reader();
    let (session, mut flights, client, mut upstream) = start(|it| {
        it.credential(token("at-1").with_expires_at(clock.after(60))).clock(move || {
            if let Some(session) = in_clock.get().and_then(WeakSession::upgrade) {
                session.state();
                session.credential();
                noted.store(true, Ordering::SeqCst);
            }
            now()
        })
    });
    cell.set(session.downgrade()).unwrap();
    clock.advance(60);
    let request = ask(&client, get("/"));
    flights.next().await.succeed("at-2");
    upstream.next().await.accept();
    assert_eq!(status(request).await, StatusCode::OK);
    assert!(looked.load(Ordering::SeqCst));
}

/// The request is polled once, after both the refusal and the login.
#[tokio::test(start_paused = true)]
async fn g10_a_login_right_after_a_refusal_leaves_one_hook_run_for_the_refused_login() {
    let journal = Journal::default();
    let (session, mut flights, client, mut upstream) = start(|it| it.on_login_end(journal.hook()));
    let mut request = pin!(client.clone().oneshot(get("/")));
    let mut request = task::spawn(request.as_mut());
    assert_pending!(request.poll());
    upstream.next().await.reject();
    assert_pending!(request.poll());
    flights.next().await.answer(Err(RefreshError::terminal("revoked")));
    let mut watcher = session.subscribe();
    watcher.wait_for(|state| matches!(state.phase(), Phase::LoggedOut(_))).await.unwrap();
    session.login(token("at-2"));
    let error = assert_ready!(request.poll()).unwrap_err();
    assert_eq!(session_error(&error).kind(), ErrorKind::LoggedOut);
    settle_tasks().await;
    assert_eq!(journal.read(), ["refused at-1"]);
    assert_eq!(session.credential().unwrap().access_token(), "at-2");
}

type MakeCredential = Box<dyn Fn(&'static str) -> ReentrantCredential>;

/// A session of reentrant credentials. Its refresher returns `at-2` once, and then fails.
fn reentrant_session(
    behaviour: Behaviour,
) -> (Session<ReentrantCredential>, Journal, MakeCredential) {
    let cell: Arc<OnceLock<WeakSession<ReentrantCredential>>> = Arc::default();
    let journal = Journal::default();
    let make = {
        let (session, journal) = (cell.clone(), journal.clone());
        move |name| ReentrantCredential {
            name,
            session: session.clone(),
            journal: journal.clone(),
            behaviour,
        }
    };
    let (of_refresher, of_hook) = (make.clone(), journal.clone());
    let spent = AtomicBool::new(false);
    let refresher = refresher_fn(move |_: RefreshContext<ReentrantCredential>| {
        let answer = if spent.swap(true, Ordering::SeqCst) {
            Err(RefreshError::transient("spent"))
        } else {
            Ok(of_refresher("at-2"))
        };
        async { answer }
    });
    let session = Session::builder(refresher)
        .credential(make("at-1"))
        .on_login_end(move |end: EndedLogin<ReentrantCredential>| {
            of_hook.note(format!(
                "hook {}",
                end.credential().map_or("-", |credential| credential.name)
            ));
            async {}
        })
        .build();
    cell.set(session.downgrade()).unwrap();
    (session, journal, Box::new(make))
}

/// A session with the credential `at-1`, unless `set` changes it.
fn start(
    set: impl FnOnce(SessionBuilder<Token>) -> SessionBuilder<Token>,
) -> (Session, Flights, Client, Arrivals) {
    let (refresher, flights) = manual_refresher();
    let session = set(Session::builder(refresher).credential(token("at-1"))).build();
    let (client, upstream) = over_mock(&session);
    (session, flights, client, upstream)
}
