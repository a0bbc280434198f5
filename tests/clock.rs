//! The session's clock and name, as refreshers and hooks see them.

mod support;

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use support::*;
use tower::{Layer, Service};
use tower_refresh::{
    Credential, Origins, RefreshContext, RefreshError, RefreshLayer, Session, Token,
    refresher::Cause, refresher_fn, session::EndedLogin,
};

const HOUR: Duration = Duration::from_secs(3600);

/// Wall clocks that differ from the system's, as functions of it.
const CLOCKS: [fn() -> SystemTime; 4] = [
    || SystemTime::now() + HOUR,
    || SystemTime::now() - HOUR,
    || SystemTime::UNIX_EPOCH + 1_000 * HOUR,
    SystemTime::now,
];

fn assert_close(left: SystemTime, right: SystemTime) {
    let difference =
        left.duration_since(right).or_else(|_| right.duration_since(left)).expect("one is later");
    assert!(difference < Duration::from_secs(60), "{left:?} is not close to {right:?}");
}

#[tokio::test]
async fn a_lifetime_counts_from_the_arrival_by_the_session_s_clock() {
    for clock in CLOCKS {
        for lifetime in [HOUR / 60, HOUR, 2 * HOUR, 24 * HOUR] {
            let refresher = refresher_fn(move |_: RefreshContext| async move {
                Ok(token("at-2").with_expires_in(lifetime))
            });
            let session = Session::builder(refresher)
                .clock(clock)
                .credential(token("at-1").with_expires_in(lifetime))
                .build();
            assert_close(session.state().expires_at().unwrap(), clock() + lifetime);

            session.refresh().await.unwrap();
            assert_close(session.state().expires_at().unwrap(), clock() + lifetime);

            let login = session.state().login();
            session.replace(login, token("at-3").with_expires_in(lifetime)).unwrap();
            assert_close(session.state().expires_at().unwrap(), clock() + lifetime);
        }
    }
}

#[test]
fn a_lifetime_of_zero_or_without_an_expressible_end_is_unknown() {
    let refresher = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("no")) });
    let session: Session = Session::builder(refresher).build();
    for lifetime in [Duration::ZERO, Duration::MAX] {
        session.login(token("at-1").with_expires_in(lifetime));
        assert_eq!(session.state().expires_at(), None);
    }
}

#[test]
fn an_absolute_expiry_does_not_depend_on_the_arrival() {
    let at = SystemTime::UNIX_EPOCH + 1_000 * HOUR;
    let token = token("at-1").with_expires_in(HOUR).with_expires_at(at);
    for clock in CLOCKS {
        assert_eq!(token.expires_at(clock()), Some(at));
    }
}

#[tokio::test]
async fn a_refresher_reads_the_session_s_clock() {
    for clock in CLOCKS {
        let seen = Arc::new(Mutex::new(None));
        let refresher = refresher_fn({
            let seen = seen.clone();
            move |context: RefreshContext| {
                *seen.lock().unwrap() = Some(context.now());
                async { Ok(token("at-2")) }
            }
        });
        let session = Session::builder(refresher).clock(clock).credential(token("at-1")).build();
        session.refresh().await.unwrap();
        assert_close(seen.lock().unwrap().unwrap(), clock());
    }
}

#[test]
fn a_context_of_a_test_has_the_system_s_clock_or_its_own() {
    let context = RefreshContext::<Token>::new(Cause::Missing);
    assert_close(context.now(), SystemTime::now());
    let at = SystemTime::UNIX_EPOCH + HOUR;
    assert_eq!(context.with_clock(move || at).clone().now(), at);
}

#[tokio::test]
async fn the_name_of_a_session_reaches_its_refresher_and_its_hook() {
    for name in [None, Some("user-7")] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = |name: Option<&str>| seen.lock().unwrap().push(name.map(str::to_owned));
        let (refresher, mut flights) = manual_refresher();
        let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
        let mut builder = Session::builder(refresher).credential(token("at-1")).on_login_end(
            move |end: EndedLogin| {
                let ended = ended.clone();
                async move { ended.send(end).unwrap() }
            },
        );
        if let Some(name) = name {
            builder = builder.name(name);
        }
        let session = builder.build();
        assert_eq!(session.name(), name);
        let refreshed = session.refresh();
        let flight = flights.next().await;
        record(flight.context.session_name());
        flight.succeed("at-2");
        refreshed.await.unwrap();
        session.logout().await;
        record(end.recv().await.unwrap().session_name());
        assert_eq!(*seen.lock().unwrap(), vec![name.map(str::to_owned); 2]);
    }
}

#[tokio::test]
async fn a_request_that_is_sent_at_once_reads_the_clock_once() {
    let reads = Arc::new(AtomicUsize::new(0));
    let clock = {
        let reads = reads.clone();
        move || {
            reads.fetch_add(1, SeqCst);
            SystemTime::now()
        }
    };
    let (refresher, _flights) = manual_refresher();
    let credential = token("at-1").with_expires_in(HOUR);
    let session = Session::builder(refresher).clock(clock).credential(credential).build();
    let upstream = Upstream::accepting(&["at-1"]);
    let mut service = RefreshLayer::new(session, Origins::any()).layer(upstream);
    for _ in 0..3 {
        let before = reads.load(SeqCst);
        poll_fn(|cx| Service::<Request<Full<Bytes>>>::poll_ready(&mut service, cx)).await.unwrap();
        let response = service.call(get("/")).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(reads.load(SeqCst) - before, 1);
    }
}
