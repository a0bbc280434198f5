//! `Session::fresh` and `Session::reject`, for clients that no layer fits around.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use support::*;
use tower_refresh::{
    ErrorKind, RefreshContext, RefreshError, Session, Token, refresher::Cause, refresher_fn,
};

#[tokio::test(start_paused = true)]
async fn a_usable_credential_is_returned_at_once_also_during_a_renewal() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    assert_eq!(session.fresh().await.unwrap().access_token(), "at-1");
    let refreshing = session.refresh();
    let flight = flights.next().await;
    assert_eq!(session.fresh().await.unwrap().access_token(), "at-1");
    flight.succeed("at-2");
    refreshing.await.unwrap();
    assert_eq!(session.fresh().await.unwrap().access_token(), "at-2");
}

#[tokio::test(start_paused = true)]
async fn callers_wait_for_one_flight_and_those_that_leave_cancel_nothing() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let rejected = session.fresh().await.unwrap();
    for _ in 0..50 {
        session.reject(&rejected);
    }
    let mut waiting: Vec<_> = (0..50).map(|_| tokio::spawn(session.fresh())).collect();
    waiting.drain(..25).for_each(|waiter| waiter.abort());
    flights.next().await.succeed("at-2");
    for waiter in waiting {
        assert_eq!(waiter.await.unwrap().unwrap().access_token(), "at-2");
    }
    flights.none_started().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_rejection_starts_no_refresh() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let old = session.fresh().await.unwrap();
    session.reject(&old);
    flights.next().await.succeed("at-2");
    let new = session.fresh().await.unwrap();
    assert_eq!(new.access_token(), "at-2");
    session.reject(&old);
    session.reject(&Arc::new(token("at-2")));
    flights.none_started().await;
    assert_eq!(session.fresh().await.unwrap().access_token(), "at-2");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_rejection_ends_the_login_and_the_next_calls_fail_without_a_flight() {
    let (flights, causes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (flights.clone(), causes.clone());
    let refused = refresher_fn(move |context: RefreshContext| {
        counts.0.fetch_add(1, SeqCst);
        counts.1.fetch_add(usize::from(context.cause() == Cause::Rejected), SeqCst);
        async { Err(RefreshError::terminal("revoked")) }
    });
    let session = Session::new(token("at-1"), refused);
    let rejected = session.fresh().await.unwrap();
    session.reject(&rejected);
    for _ in 0..3 {
        assert_eq!(session.fresh().await.unwrap_err().kind(), ErrorKind::LoggedOut);
    }
    assert_eq!((flights.load(SeqCst), causes.load(SeqCst)), (1, 1));
    session.login(token("at-2"));
    assert_eq!(session.fresh().await.unwrap().access_token(), "at-2");
}

#[tokio::test(start_paused = true)]
async fn a_refresher_that_asks_its_own_session_gets_an_error() {
    let (sender, asked) = std::sync::mpsc::channel();
    let refresher = refresher_fn(move |_: RefreshContext| {
        let sender = sender.clone();
        async move {
            let session: &Session = &OWN.with(|own| own.borrow().clone().unwrap());
            sender.send(session.fresh().await.map(drop).unwrap_err().kind()).unwrap();
            Ok(Token::bearer("at-2")?)
        }
    });
    thread_local! {
        static OWN: std::cell::RefCell<Option<Session>> = const { std::cell::RefCell::new(None) };
    }
    let session = Session::new(token("at-1"), refresher);
    OWN.with(|own| *own.borrow_mut() = Some(session.clone()));
    session.refresh().await.unwrap();
    assert_eq!(asked.recv().unwrap(), ErrorKind::Recursive);
}

#[tokio::test(start_paused = true)]
async fn a_logout_after_the_refresh_is_the_answer_to_a_caller_that_is_late() {
    let (refresher, mut flights) = manual_refresher();
    let session = Session::new(token("at-1"), refresher);
    let refreshing = session.refresh();
    flights.next().await.succeed("at-2");
    settle_tasks().await;
    session.logout().await;
    assert_eq!(refreshing.await.unwrap_err().kind(), ErrorKind::LoggedOut);
}
