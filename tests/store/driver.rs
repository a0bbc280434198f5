//! The guarantees of the driver, by a session over it.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::{sync::Semaphore, time};
use tower_refresh::{
    ErrorKind, RefreshContext, RefreshError, RefreshErrorKind, Refresher, Session, Token,
    refresher::{BoxFuture, Chain},
    refresher_fn,
    session::{EndReason, Phase, WeakSession},
    store::{
        Leased, Memory, OnOutage, Record, Store, StoreError, StoreErrorKind, Stored, Swapped,
        Version,
    },
};

use crate::support::{
    Driver, Endpoint, Faults, Faulty, Revoked, access_token, replica, settle, token,
};

/// A memory behind a line that delays answers to loads, and fails leases.
#[derive(Clone)]
struct Line {
    memory: Arc<Memory>,
    /// Extensions of a lease fail.
    is_cut: Arc<AtomicBool>,
    /// An answer to a load that was asked under a lease waits for a permit.
    gate: Arc<Semaphore>,
    is_leased: Arc<AtomicBool>,
}

impl Store for Line {
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            let record = self.memory.load(name).await;
            if self.is_leased.load(Ordering::SeqCst) {
                self.gate.acquire().await.unwrap().forget();
            }
            record
        })
    }

    fn swap<'a>(
        &'a self,
        name: &'a str,
        seen: Option<Version>,
        next: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Swapped, StoreError>> {
        self.memory.swap(name, seen, next)
    }

    fn lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Leased, StoreError>> {
        if self.is_cut.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::unavailable("the line is cut")) });
        }
        self.is_leased.store(true, Ordering::SeqCst);
        self.memory.lease(name, holder, ttl)
    }
}

fn down() -> Faults {
    Faults { down: true, ..Faults::default() }
}

/// A session whose login is stored, and that uses it.
async fn logged_in(store: &Faulty, is_fresh: bool) -> (Endpoint, Session, Driver) {
    let endpoint = Endpoint::default();
    let (session, driver) = replica(&endpoint, store.clone());
    driver.login(&session, token(1, is_fresh)).await.unwrap();
    (endpoint, session, driver)
}

/// The stored credential, as another process finds it.
async fn stored<S: Store + Clone>(store: &S) -> Option<String> {
    let (session, driver) = replica(&Endpoint::default(), store.clone());
    driver.open(&session).await.unwrap();
    access_token(&session)
}

/// The stored credential, read past all faults.
async fn stored_now(store: &Faulty) -> String {
    stored(&store.memory()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn g15_a_refreshed_credential_is_stored_before_any_waiter_is_released() {
    let store = Faulty::default();
    let (_, session, _) = logged_in(&store, true).await;
    store.set(Faults { slow: Duration::from_secs(1), ..Faults::default() });
    let waiter = tokio::spawn(session.refresh());
    time::sleep(Duration::from_millis(900)).await;
    assert!(!waiter.is_finished());
    assert_eq!(access_token(&session).as_deref(), Some("at-1"));
    waiter.await.unwrap().unwrap();
    assert_eq!(access_token(&session).as_deref(), Some("at-101"));
    store.heal();
    assert_eq!(stored(&store).await.as_deref(), Some("at-101"));
}

#[tokio::test(start_paused = true)]
async fn g15_a_save_outlives_the_time_out_of_its_flight_and_nothing_is_exchanged_twice() {
    let (store, endpoint) = (Faulty::default(), Endpoint::default());
    let driver = Stored::new(endpoint.clone(), store.clone(), "ann");
    let session =
        Session::builder(driver.clone()).refresh_timeout(Duration::from_millis(500)).build();
    driver.login(&session, token(1, true)).await.unwrap();
    store.set(Faults { slow: Duration::from_secs(2), ..Faults::default() });
    let error = session.refresh().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RefreshFailed);
    time::sleep(Duration::from_secs(5)).await;
    assert!(driver.is_saved());
    assert_eq!(stored(&store).await.as_deref(), Some("at-101"));

    // The next refresh hands out what was saved, or exchanges its successor; never `rt-1` again.
    store.heal();
    session.refresh().await.unwrap();
    assert_eq!((endpoint.calls(), endpoint.reused()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn g15_a_save_that_fails_is_reported_and_made_before_the_next_exchange() {
    let (store, endpoint) = (Faulty::default(), Endpoint::default());
    let reports = Arc::new(Mutex::new(Vec::new()));
    let driver = Stored::builder(endpoint.clone(), store.clone(), "ann")
        .on_save_error({
            let reports = reports.clone();
            move |error| reports.lock().unwrap().push(error.kind())
        })
        .build();
    let session = Session::builder(driver.clone()).build();
    driver.login(&session, token(1, true)).await.unwrap();

    store.set(Faults { read_only: true, ..Faults::default() });
    session.refresh().await.unwrap();
    assert_eq!(access_token(&session).as_deref(), Some("at-101"));
    assert_eq!(*reports.lock().unwrap(), [StoreErrorKind::Denied]);
    assert!(!driver.is_saved());

    let error = session.refresh().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RefreshFailed);
    assert_eq!(endpoint.calls(), 1, "nothing is exchanged over an unsaved credential");

    store.heal();
    time::sleep(Duration::from_secs(10)).await;
    assert!(driver.is_saved());
    assert_eq!(stored(&store).await.as_deref(), Some("at-101"));
    session.refresh().await.unwrap();
    assert_eq!((endpoint.calls(), endpoint.reused()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn g15_a_save_is_tried_again_after_its_report_has_panicked() {
    let (store, endpoint) = (Faulty::default(), Endpoint::default());
    let driver = Stored::builder(endpoint.clone(), store.clone(), "ann")
        .on_save_error(|_| panic!("a panic of the application"))
        .build();
    let session = Session::builder(driver.clone()).build();
    driver.login(&session, token(1, true)).await.unwrap();
    store.set(Faults { read_only: true, ..Faults::default() });
    session.refresh().await.unwrap();
    let holder = store.memory().lease("ann", "other", Duration::from_secs(1)).await.unwrap();
    assert!(matches!(holder, Leased::Busy(_)), "the lease is kept");
    store.heal();
    time::sleep(Duration::from_secs(10)).await;
    assert!(driver.is_saved());
    assert_eq!(stored(&store).await.as_deref(), Some("at-101"));
}

#[tokio::test(start_paused = true)]
async fn g15_a_lost_acknowledgement_counts_as_a_save() {
    let store = Faulty::default();
    let (endpoint, session, driver) = logged_in(&store, true).await;
    store.set(Faults { deaf: true, ..Faults::default() });
    let waiter = tokio::spawn(session.refresh());
    time::sleep(Duration::from_secs(1)).await;
    store.heal();
    waiter.await.unwrap().unwrap();
    assert!(driver.is_saved());
    session.refresh().await.unwrap();
    assert_eq!((endpoint.calls(), endpoint.reused()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn g15_a_save_just_within_its_deadline_is_waited_for_and_one_after_it_is_recognised() {
    for (slow, calls) in [(2_900, 1), (3_500, 1)] {
        let store = Faulty::default();
        let (endpoint, session, driver) = logged_in(&store, true).await;
        store.set(Faults { slow: Duration::from_millis(slow), ..Faults::default() });
        session.refresh().await.unwrap();
        assert_eq!(driver.is_saved(), slow < 3_000);
        assert_eq!(stored_now(&store).await, "at-101", "{slow}");
        store.heal();
        time::sleep(Duration::from_secs(20)).await;
        assert!(driver.is_saved(), "{slow}");
        assert_eq!((endpoint.calls(), endpoint.reused()), (calls, 0));
        assert_eq!(stored(&store).await.as_deref(), Some("at-101"));
    }
}

#[tokio::test(start_paused = true)]
async fn two_logins_for_one_name_at_once_leave_one_and_both_sessions_go_on_with_it() {
    let (store, endpoint) = (Faulty::default(), Endpoint::default());
    let (first, one) = replica(&endpoint, store.clone());
    let (second, other) = replica(&endpoint, store.clone());
    let (one, other) = (one.login(&first, token(1, true)), other.login(&second, token(2, true)));
    let (one, other) = tokio::join!(one, other);
    assert!(one.is_ok() && other.is_ok());
    first.refresh().await.unwrap();
    second.refresh().await.unwrap();
    first.refresh().await.unwrap();
    assert_eq!((endpoint.calls(), endpoint.reused()), (3, 0));
    assert_eq!(stored(&store).await.as_deref(), Some("at-103"));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_an_hour_fast_costs_exchanges_and_no_login() {
    let (store, endpoint) = (Faulty::default(), Endpoint::default());
    let (ours, driver) = replica(&endpoint, store.clone());
    driver.login(&ours, token(1, true)).await.unwrap();
    let fast = || SystemTime::now() + Duration::from_secs(2 * 3600);
    let driver = Stored::new(endpoint.clone(), store.clone(), "ann");
    let theirs = Session::builder(driver.clone()).clock(fast).build();
    driver.open(&theirs).await.unwrap();
    assert_eq!(theirs.acquire().await.unwrap().access_token(), "at-101");
    ours.refresh().await.unwrap();
    theirs.refresh().await.unwrap();
    assert_eq!((endpoint.calls(), endpoint.reused()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn g16_sixteen_replicas_make_one_exchange_for_one_expiry() {
    let (store, endpoint) = (Faulty::default(), Endpoint::default());
    let (first, driver) = replica(&endpoint, store.clone());
    driver.login(&first, token(1, false)).await.unwrap();
    let mut replicas = Vec::new();
    for _ in 0..16 {
        let (session, driver) = replica(&endpoint, store.clone());
        driver.open(&session).await.unwrap();
        replicas.push((tokio::spawn(session.acquire()), session, driver));
    }
    for (waiter, session, _) in replicas {
        waiter.await.unwrap().unwrap();
        assert_eq!(access_token(&session).as_deref(), Some("at-101"));
    }
    assert_eq!((endpoint.calls(), endpoint.reused()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn g16_a_replica_dies_in_mid_exchange_and_another_one_goes_on_after_its_lease() {
    let (store, endpoint) = (Faulty::default(), Endpoint::default());
    let gate = endpoint.close();
    let (session, driver) = replica(&endpoint, store.clone());
    driver.login(&session, token(1, true)).await.unwrap();
    // What is left of a process that was killed.
    store.memory().lease("ann", "killed", Duration::from_secs(10)).await.unwrap();
    gate.add_permits(10);
    let start = time::Instant::now();
    session.refresh().await.unwrap();
    assert!(start.elapsed() > Duration::from_secs(9) && start.elapsed() < Duration::from_secs(11));
    assert_eq!(endpoint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn g16_a_lease_that_another_replica_had_in_between_counts_as_lost() {
    let (memory, endpoint) = (Arc::new(Memory::new()), Endpoint::default());
    let line = Line {
        memory: memory.clone(),
        is_cut: Arc::default(),
        gate: Arc::new(Semaphore::new(0)),
        is_leased: Arc::default(),
    };
    let driver = Stored::builder(endpoint.clone(), line.clone(), "ann")
        .lease_ttl(Duration::from_secs(3))
        .operation_timeout(Duration::from_secs(60))
        .build();
    let session = Session::builder(driver.clone()).build();
    driver.login(&session, token(1, true)).await.unwrap();
    let refresh = tokio::spawn(session.refresh());
    settle().await;
    assert!(line.is_leased.load(Ordering::SeqCst), "it looks again under its lease");

    // Its lease runs out, and another replica has one in the meantime.
    line.is_cut.store(true, Ordering::SeqCst);
    time::sleep(Duration::from_secs(4)).await;
    let (other, theirs) = replica(&endpoint, memory);
    theirs.open(&other).await.unwrap();
    other.refresh().await.unwrap();
    line.is_cut.store(false, Ordering::SeqCst);
    time::sleep(Duration::from_secs(2)).await;

    // The answer is from before that.
    line.gate.add_permits(100);
    refresh.await.unwrap().unwrap();
    assert_eq!((endpoint.calls(), endpoint.reused()), (2, 0));
    assert_eq!(access_token(&session).as_deref(), Some("at-102"));
}

#[tokio::test(start_paused = true)]
async fn g16_an_unsaved_credential_keeps_the_lease_so_that_no_other_replica_exchanges_the_used_one()
{
    let store = Faulty::default();
    let (endpoint, ours, _ours) = logged_in(&store, true).await;
    let (theirs, driver) = replica(&endpoint, store.clone());
    driver.open(&theirs).await.unwrap();
    store.set(Faults { read_only: true, ..Faults::default() });
    ours.refresh().await.unwrap();
    let waiter = tokio::spawn(theirs.refresh());
    time::sleep(Duration::from_secs(8)).await;
    assert_eq!(endpoint.calls(), 1);
    store.heal();
    waiter.await.unwrap().unwrap();
    assert_eq!((endpoint.calls(), endpoint.reused()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn g16_a_refresh_that_waits_longer_than_its_patience_fails_as_transient() {
    let store = Faulty::default();
    let (endpoint, session, _) = logged_in(&store, true).await;
    drop(store.memory().lease("ann", "slow", Duration::from_secs(1000)).await);
    let error = session.refresh().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RefreshFailed);
    assert!(matches!(session.state().phase(), Phase::Failed(failure)
        if failure.error().kind() == RefreshErrorKind::Transient));
    assert_eq!(endpoint.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn g17_a_refresh_exchanges_the_newest_refresh_token_that_is_stored() {
    let store = Faulty::default();
    let (endpoint, ours, _) = logged_in(&store, true).await;
    let (theirs, driver) = replica(&endpoint, store.clone());
    driver.open(&theirs).await.unwrap();
    theirs.refresh().await.unwrap();
    // Forced, so that the stored access token will not do.
    ours.refresh().await.unwrap();
    assert_eq!((endpoint.calls(), endpoint.reused()), (2, 0));
    assert_eq!(access_token(&ours).as_deref(), Some("at-102"));
}

#[tokio::test(start_paused = true)]
async fn g17_a_store_that_lost_the_newest_credential_gets_it_back() {
    let store = Faulty::default();
    let (endpoint, session, driver) = logged_in(&store, true).await;
    let old = store.memory().load("ann").await.unwrap().unwrap();
    session.refresh().await.unwrap();
    session.refresh().await.unwrap();
    store.fail_over_to("ann", old).await;

    session.refresh().await.unwrap();
    assert_eq!((endpoint.calls(), endpoint.reused()), (3, 0));
    assert!(driver.is_saved());
    assert_eq!(stored(&store).await.as_deref(), Some("at-103"));
}

#[tokio::test(start_paused = true)]
async fn g17_a_follower_restores_what_the_store_lost() {
    let store = Faulty::default();
    let (endpoint, session, driver) = logged_in(&store, true).await;
    let old = store.memory().load("ann").await.unwrap().unwrap();
    session.refresh().await.unwrap();
    let follow = tokio::spawn(driver.follow(&session));
    store.fail_over_to("ann", old).await;
    time::sleep(Duration::from_secs(60)).await;
    assert_eq!(access_token(&session).as_deref(), Some("at-101"));
    assert_eq!(stored(&store).await.as_deref(), Some("at-101"));
    assert_eq!(endpoint.calls(), 1);
    follow.abort();
}

#[tokio::test(start_paused = true)]
async fn g17_a_login_whose_acknowledgement_was_lost_is_not_saved_over_its_refresh() {
    let (store, endpoint) = (Faulty::default(), Endpoint::default());
    let (session, driver) = replica(&endpoint, store.clone());
    store.set(Faults { deaf: true, ..Faults::default() });
    let login = tokio::spawn({
        let (session, driver) = (session.clone(), driver.clone());
        async move { driver.login(&session, token(1, true)).await.map(drop) }
    });
    time::sleep(Duration::from_secs(1)).await;
    store.heal();
    let (theirs, other) = replica(&endpoint, store.clone());
    other.open(&theirs).await.unwrap();
    theirs.refresh().await.unwrap();

    login.await.unwrap().unwrap();
    assert_eq!(access_token(&session).as_deref(), Some("at-101"));
    assert_eq!(stored_now(&store).await, "at-101");
    session.refresh().await.unwrap();
    assert_eq!((endpoint.calls(), endpoint.reused()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn g17_two_replicas_that_restore_different_credentials_agree_on_the_newest() {
    let (store, endpoint) = (Faulty::default(), Endpoint::default());
    let replicas = [0; 3].map(|_| replica(&endpoint, store.clone()));
    let [(first, one), (second, two), (third, three)] = &replicas;
    one.login(first, token(1, true)).await.unwrap();
    let oldest = store.memory().load("ann").await.unwrap().unwrap();
    two.open(second).await.unwrap();
    second.refresh().await.unwrap();
    three.open(third).await.unwrap();
    third.refresh().await.unwrap();
    // The store forgets two exchanges. The second replica restores the first of them before the
    // third one looks, and the other way round.
    for order in [[two, three], [three, two]] {
        store.fail_over_to("ann", oldest.clone()).await;
        for driver in order {
            let session = if std::ptr::eq(driver, two) { second } else { third };
            driver.open(session).await.unwrap();
            time::sleep(Duration::from_secs(1)).await;
        }
        two.open(second).await.unwrap();
        time::sleep(Duration::from_secs(1)).await;
        assert_eq!(stored_now(&store).await, "at-102");
        assert_eq!(access_token(second).as_deref(), Some("at-102"));
    }
    first.refresh().await.unwrap();
    assert_eq!((endpoint.calls(), endpoint.reused()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn g18_a_refusal_ends_the_login_of_every_replica_without_another_call() {
    let store = Faulty::default();
    let (endpoint, ours, _) = logged_in(&store, true).await;
    let (theirs, driver) = replica(&endpoint, store.clone());
    driver.open(&theirs).await.unwrap();
    endpoint.refuse();
    assert_eq!(ours.refresh().await.unwrap_err().kind(), ErrorKind::RefreshFailed);
    let error = theirs.refresh().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RefreshFailed);
    assert_eq!(endpoint.calls(), 1);
    assert_eq!(stored(&store).await, None);
}

#[tokio::test(start_paused = true)]
async fn g18_a_logout_while_another_replica_refreshes_wins_and_its_credential_reaches_the_hook() {
    for times_out in [false, true] {
        let (store, endpoint) = (Faulty::default(), Endpoint::default());
        let revoked = Revoked::default();
        let theirs = Stored::new(endpoint.clone(), store.clone(), "ann");
        let limit = if times_out { Duration::from_millis(500) } else { Duration::from_secs(30) };
        let session = Session::builder(theirs.clone())
            .refresh_timeout(limit)
            .on_login_end(revoked.hook())
            .build();
        theirs.login(&session, token(1, true)).await.unwrap();
        let (other, ours) = replica(&endpoint, store.clone());
        ours.open(&other).await.unwrap();

        let gate = endpoint.close();
        let waiter = tokio::spawn(session.refresh());
        settle().await;
        ours.logout(&other).await.unwrap();
        if times_out {
            store.set(Faults { slow: Duration::from_secs(1), ..Faults::default() });
        }
        gate.add_permits(1);
        let error = waiter.await.unwrap().unwrap_err();
        time::sleep(Duration::from_secs(5)).await;
        assert_ne!(error.kind(), ErrorKind::LoginChanged);
        assert!(matches!(session.state().phase(), Phase::LoggedOut(_)), "{times_out}");
        assert_eq!(revoked.tokens(), ["at-101"], "{times_out}");
        store.heal();
        assert_eq!(stored(&store).await, None, "nothing is resurrected");
    }
}

#[tokio::test(start_paused = true)]
async fn g18_a_logout_while_another_replica_acquires_its_first_credential_wins() {
    let (store, gate) = (Faulty::default(), Arc::new(Semaphore::new(0)));
    let revoked = Revoked::default();
    let refresher = refresher_fn({
        let gate = gate.clone();
        move |_: RefreshContext| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.map_err(RefreshError::transient)?.forget();
                Ok(Token::bearer("at-0")?)
            }
        }
    });
    let ours = Stored::new(refresher, store.clone(), "ann");
    let session =
        Session::builder(ours.clone()).acquire_on_demand(true).on_login_end(revoked.hook()).build();
    assert_eq!(ours.open(&session).await.unwrap(), None);
    let waiter = tokio::spawn(session.acquire());
    settle().await;
    let (other, driver) = replica(&Endpoint::default(), store.clone());
    driver.logout(&other).await.unwrap();
    gate.add_permits(1);
    drop(waiter.await.unwrap().unwrap_err());
    settle().await;
    assert!(store.memory().load("ann").await.unwrap().is_some(), "the tombstone");
    assert_eq!(stored(&store).await, None);
    assert!(matches!(session.state().phase(), Phase::LoggedOut(_)));
    assert_eq!(revoked.tokens(), ["at-0"]);
}

#[tokio::test(start_paused = true)]
async fn g18_a_logout_during_a_refresh_of_the_same_session_wins() {
    let (store, endpoint) = (Faulty::default(), Endpoint::default());
    let revoked = Revoked::default();
    let driver = Stored::new(endpoint.clone(), store.clone(), "ann");
    let session = Session::builder(driver.clone()).on_login_end(revoked.hook()).build();
    driver.login(&session, token(1, true)).await.unwrap();
    let gate = endpoint.close();
    drop(session.refresh());
    settle().await;
    let logout = tokio::spawn(driver.logout(&session));
    settle().await;
    assert!(!logout.is_finished(), "the hook waits for the refresh");
    gate.add_permits(1);
    logout.await.unwrap().unwrap();
    assert_eq!(revoked.tokens(), ["at-101"]);
    assert_eq!(stored(&store).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_logout_hands_the_hook_a_credential_whose_refresh_timed_out_in_its_save() {
    let (store, endpoint) = (Faulty::default(), Endpoint::default());
    let revoked = Revoked::default();
    let driver = Stored::new(endpoint.clone(), store.clone(), "ann");
    let session = Session::builder(driver.clone())
        .refresh_timeout(Duration::from_millis(500))
        .on_login_end(revoked.hook())
        .build();
    driver.login(&session, token(1, true)).await.unwrap();
    store.set(Faults { slow: Duration::from_secs(2), ..Faults::default() });
    drop(session.refresh().await.unwrap_err());
    driver.logout(&session).await.unwrap();
    assert_eq!(revoked.tokens(), ["at-101"]);
    store.heal();
    time::sleep(Duration::from_secs(20)).await;
    assert_eq!(stored(&store).await, None);
}

#[tokio::test(start_paused = true)]
async fn g18_a_login_is_not_ended_by_a_logout_from_before_that_was_not_saved() {
    let store = Faulty::default();
    let (_, session, driver) = logged_in(&store, true).await;
    store.set(down());
    drop(driver.logout(&session).await);
    store.set(Faults { late: Duration::from_secs(2), ..Faults::default() });
    driver.login(&session, token(2, true)).await.unwrap();
    time::sleep(Duration::from_secs(20)).await;
    store.heal();
    assert!(driver.is_saved());
    assert_eq!(stored(&store).await.as_deref(), Some("at-2"));
    assert_eq!(access_token(&session).as_deref(), Some("at-2"));
}

#[tokio::test(start_paused = true)]
async fn g18_a_logout_during_the_save_of_a_login_ends_it_and_its_credential_reaches_the_hook() {
    let store = Faulty::default();
    let revoked = Revoked::default();
    let driver = Stored::new(Endpoint::default(), store.clone(), "ann");
    let session = Session::builder(driver.clone()).on_login_end(revoked.hook()).build();
    store.set(Faults { slow: Duration::from_secs(1), ..Faults::default() });
    let login = tokio::spawn({
        let (session, driver) = (session.clone(), driver.clone());
        async move { driver.login(&session, token(1, true)).await.map(drop) }
    });
    settle().await;
    driver.logout(&session).await.unwrap();
    login.await.unwrap().unwrap();
    time::sleep(Duration::from_secs(5)).await;
    assert!(matches!(session.state().phase(), Phase::LoggedOut(_)));
    assert_eq!(revoked.tokens(), ["at-1"]);
    store.heal();
    assert_eq!(stored(&store).await, None);
}

/// A session whose clock runs this once, when it is read for the n-th time after it was armed.
fn with_intruder(
    driver: &Driver<Arc<Memory>>,
    intrude: impl Fn(&Session) + Send + Sync + 'static,
) -> (Session, Arc<AtomicUsize>) {
    let (countdown, itself) = (Arc::new(AtomicUsize::new(0)), Arc::new(OnceLock::new()));
    let clock = {
        let (countdown, itself) = (countdown.clone(), itself.clone());
        move || {
            let less = |count: usize| count.checked_sub(1);
            let was = countdown.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
            if was == Ok(1)
                && let Some(session) = itself.get().and_then(WeakSession::upgrade)
            {
                intrude(&session);
            }
            SystemTime::now()
        }
    };
    let session = Session::builder(driver.clone()).clock(clock).build();
    itself.set(session.downgrade()).unwrap();
    (session, countdown)
}

#[tokio::test(start_paused = true)]
async fn g18_a_logout_at_any_moment_of_a_login_or_of_its_delivery_wins() {
    for is_login in [true, false] {
        for moment in 1..8 {
            let (memory, endpoint) = (Arc::new(Memory::new()), Endpoint::default());
            let driver = Stored::new(endpoint.clone(), memory.clone(), "ann");
            let logout = driver.clone();
            let (session, countdown) = with_intruder(&driver, move |session| {
                drop(logout.logout(session));
            });
            if is_login {
                countdown.store(moment, Ordering::SeqCst);
                driver.login(&session, token(1, true)).await.unwrap();
            } else {
                let (other, theirs) = replica(&endpoint, memory.clone());
                theirs.login(&other, token(1, true)).await.unwrap();
                countdown.store(moment, Ordering::SeqCst);
                driver.open(&session).await.unwrap();
            }
            if countdown.swap(0, Ordering::SeqCst) > 0 {
                assert!(moment > 1, "the clock was read");
                continue;
            }
            settle().await;
            let is_over = matches!(session.state().phase(), Phase::LoggedOut(_));
            assert!(is_over && driver.is_saved(), "{is_login}, {moment}");
            assert_eq!(stored(&memory).await, None, "{is_login}, {moment}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn g17_a_login_at_any_moment_of_the_delivery_of_another_one_wins() {
    for moment in 1..8 {
        let (memory, endpoint) = (Arc::new(Memory::new()), Endpoint::default());
        let driver = Stored::new(endpoint.clone(), memory.clone(), "ann");
        let login = driver.clone();
        let (session, countdown) = with_intruder(&driver, move |session| {
            let (login, session) = (login.clone(), session.clone());
            // Another thread of the application, with a runtime of its own.
            let thread = thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let login = login.login(&session, token(2, true));
                runtime.unwrap().block_on(login).map(drop)
            });
            thread.join().unwrap().unwrap();
        });
        let (other, theirs) = replica(&endpoint, memory.clone());
        theirs.login(&other, token(1, true)).await.unwrap();
        countdown.store(moment, Ordering::SeqCst);
        driver.open(&session).await.unwrap();
        if countdown.swap(0, Ordering::SeqCst) > 0 {
            assert!(moment > 1, "the clock was read");
            continue;
        }
        settle().await;
        assert_eq!(access_token(&session).as_deref(), Some("at-2"), "{moment}");
        assert_eq!(stored(&memory).await.as_deref(), Some("at-2"), "{moment}");
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_that_acquire_on_demand_share_one_credential() {
    let (store, calls) = (Faulty::default(), Arc::new(AtomicUsize::new(0)));
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let calls = calls.clone();
        let refresher = refresher_fn(move |context: RefreshContext| {
            assert!(context.current().is_none());
            let call = calls.fetch_add(1, Ordering::SeqCst);
            async move { Ok(Token::bearer(format!("at-{call}"))?) }
        });
        let driver = Stored::new(refresher, store.clone(), "service");
        let session = Session::builder(driver).acquire_on_demand(true).build();
        sessions.push((tokio::spawn(session.acquire()), session));
    }
    for (waiter, _) in sessions {
        assert_eq!(waiter.await.unwrap().unwrap().access_token(), "at-0");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_asked_for_without_an_answer_is_given_up() {
    let store = Faulty::default();
    let (endpoint, session, _) = logged_in(&store, true).await;
    store.set(Faults { mute_lease: true, ..Faults::default() });
    drop(session.refresh().await.unwrap_err());
    store.heal();
    time::sleep(Duration::from_millis(100)).await;
    let (other, driver) = replica(&endpoint, store.clone());
    driver.open(&other).await.unwrap();
    let start = time::Instant::now();
    other.refresh().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn g18_a_login_writes_over_a_tombstone() {
    let store = Faulty::default();
    let (endpoint, session, driver) = logged_in(&store, true).await;
    driver.logout(&session).await.unwrap();
    assert_eq!(stored(&store).await, None);
    driver.login(&session, token(2, true)).await.unwrap();
    assert_eq!(stored(&store).await.as_deref(), Some("at-2"));
    session.refresh().await.unwrap();
    assert_eq!((endpoint.calls(), endpoint.reused()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn g18_a_logout_before_the_first_login_does_not_end_it() {
    let refresher = refresher_fn(|_: RefreshContext| async { Ok(token(1, true)) });
    let driver = Stored::new(refresher, Memory::new(), "ann");
    let session = Session::builder(driver.clone()).build();
    driver.logout(&session).await.unwrap();
    assert_eq!(session.acquire().await.unwrap().access_token(), "at-1");
}

#[tokio::test(start_paused = true)]
async fn g18_a_record_that_vanished_is_a_logout_elsewhere() {
    let store = Faulty::default();
    let (endpoint, session, _) = logged_in(&store, false).await;
    let record = store.memory().load("ann").await.unwrap().unwrap();
    let deleted = store.memory().swap("ann", Some(record.version()), None).await.unwrap();
    assert!(matches!(deleted, Swapped::Done(_)));
    drop(session.refresh().await.unwrap_err());
    assert_eq!(endpoint.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn g19_a_store_that_fails_or_hangs_makes_the_refresh_fail_as_transient_within_its_deadline() {
    for hangs in [false, true] {
        let store = Faulty::default();
        let (endpoint, session, _) = logged_in(&store, true).await;
        store.set(Faults { down: !hangs, hangs, ..Faults::default() });
        let start = time::Instant::now();
        let error = session.refresh().await.unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(4));
        assert!(error.retry_after().is_some());
        assert!(matches!(session.state().phase(), Phase::Failed(failure)
            if failure.error().kind() == RefreshErrorKind::Transient));
        assert_eq!(endpoint.calls(), 0);
        assert_eq!(access_token(&session).as_deref(), Some("at-1"), "it is used on");
        store.heal();
        time::sleep(Duration::from_secs(5)).await;
        session.refresh().await.unwrap();
        assert_eq!(endpoint.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn g19_a_session_that_may_goes_on_alone_and_saves_when_the_store_is_back() {
    let (store, endpoint) = (Faulty::default(), Endpoint::default());
    let driver =
        Stored::builder(endpoint.clone(), store.clone(), "ann").on_outage(OnOutage::Alone).build();
    let session = Session::builder(driver.clone()).build();
    driver.login(&session, token(1, true)).await.unwrap();
    store.set(down());
    session.refresh().await.unwrap();
    session.refresh().await.unwrap();
    assert_eq!((endpoint.calls(), endpoint.reused()), (2, 0));
    store.heal();
    time::sleep(Duration::from_secs(10)).await;
    assert_eq!(stored(&store).await.as_deref(), Some("at-102"));
}

#[tokio::test(start_paused = true)]
async fn g19_a_refusal_counts_when_the_store_says_that_nothing_is_newer() {
    let store = Faulty::default();
    let (endpoint, session, _) = logged_in(&store, true).await;
    let gate = endpoint.close();
    endpoint.refuse();
    let waiter = tokio::spawn(session.refresh());
    settle().await;
    store.set(down());
    gate.add_permits(1);
    drop(waiter.await.unwrap().unwrap_err());
    assert!(matches!(session.state().phase(), Phase::Failed(failure)
        if failure.error().kind() == RefreshErrorKind::Transient));
    store.heal();
    time::sleep(Duration::from_secs(10)).await;
    drop(session.refresh().await.unwrap_err());
    assert_eq!(endpoint.calls(), 1, "the refused token is not presented again");
    assert_eq!(stored(&store).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_cannot_be_saved_has_not_begun_and_gives_its_credential_back() {
    let store = Faulty::default();
    let (session, driver) = replica(&Endpoint::default(), store.clone());
    store.set(down());
    let error = driver.login(&session, token(1, true)).await.unwrap_err();
    assert_eq!(error.error().kind(), StoreErrorKind::Unavailable);
    assert!(!format!("{error} {error:?}").contains("at-1"));
    assert!(session.credential().is_none());
    store.heal();
    driver.login(&session, error.into_credential()).await.unwrap();
    assert_eq!(stored(&store).await.as_deref(), Some("at-1"));
}

#[tokio::test(start_paused = true)]
async fn a_logout_takes_effect_at_once_and_is_saved_when_the_store_is_back() {
    let store = Faulty::default();
    let (_, session, driver) = logged_in(&store, true).await;
    store.set(down());
    let logout = driver.logout(&session);
    assert!(session.credential().is_none());
    assert_eq!(logout.await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    store.heal();
    time::sleep(Duration::from_secs(10)).await;
    assert!(driver.is_saved());
    assert_eq!(stored(&store).await, None);
}

#[tokio::test(start_paused = true)]
async fn an_empty_store_opens_signed_out_and_an_expired_credential_is_refreshed_first() {
    let (store, endpoint) = (Faulty::default(), Endpoint::default());
    let (session, driver) = replica(&endpoint, store.clone());
    assert_eq!(driver.open(&session).await.unwrap(), None);
    assert!(matches!(session.state().phase(), Phase::LoggedOut(EndReason::NeverLoggedIn)));
    driver.login(&session, token(1, false)).await.unwrap();

    let (session, driver) = replica(&endpoint, store.clone());
    assert!(driver.open(&session).await.unwrap().is_some());
    assert!(matches!(session.state().phase(), Phase::Refreshing(flight) if flight.is_awaited()));
    assert_eq!(session.acquire().await.unwrap().access_token(), "at-101");
    assert_eq!((endpoint.calls(), endpoint.reused()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_record_is_an_error_and_is_kept_until_a_login() {
    let sound = {
        let store = Faulty::default();
        let (_, _, driver) = logged_in(&store, true).await;
        drop(driver);
        store.memory().load("ann").await.unwrap().unwrap().bytes().to_vec()
    };
    let mut other_type = sound.clone();
    other_type[0] = b'X';
    let large = vec![b'x'; 900_000];
    let cases: [(&[u8], StoreErrorKind); 5] = [
        (b"", StoreErrorKind::Corrupt),
        (b"{\"access_token\":\"at-1\"}", StoreErrorKind::Corrupt),
        (&sound[..sound.len() - 1], StoreErrorKind::Corrupt),
        (&other_type, StoreErrorKind::Corrupt),
        (&large, StoreErrorKind::Corrupt),
    ];
    for (bytes, kind) in cases {
        let store = Faulty::default();
        drop(store.memory().swap("ann", None, Some(bytes.to_vec().into())).await);
        let (session, driver) = replica(&Endpoint::default(), store.clone());
        assert_eq!(driver.open(&session).await.unwrap_err().kind(), kind);
        assert!(session.credential().is_none());
        let kept = store.memory().load("ann").await.unwrap().unwrap();
        assert_eq!(kept.bytes()[..], *bytes);
        driver.login(&session, token(1, true)).await.unwrap();
        assert_eq!(stored(&store).await.as_deref(), Some("at-1"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_takes_over_refreshes_logouts_and_logins_of_others() {
    let store = Faulty::default();
    let (endpoint, ours, driver) = logged_in(&store, true).await;
    let (follower, theirs) = replica(&endpoint, store.clone());
    theirs.open(&follower).await.unwrap();
    let follow = tokio::spawn(theirs.follow(&follower));

    ours.refresh().await.unwrap();
    settle().await;
    assert_eq!(access_token(&follower).as_deref(), Some("at-101"));
    driver.logout(&ours).await.unwrap();
    settle().await;
    assert!(matches!(follower.state().phase(), Phase::LoggedOut(_)));
    driver.login(&ours, token(2, true)).await.unwrap();
    settle().await;
    assert_eq!(access_token(&follower).as_deref(), Some("at-2"));
    assert_eq!(endpoint.calls(), 1);

    drop((follower, theirs));
    time::timeout(Duration::from_secs(60), follow).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_driver_starts_no_flight_of_its_own_for_a_usable_credential() {
    let store = Faulty::default();
    let (endpoint, session, driver) = logged_in(&store, true).await;
    let follow = tokio::spawn(driver.follow(&session));
    time::sleep(Duration::from_secs(120)).await;
    session.refresh().await.unwrap();
    settle().await;
    let state = session.state();
    assert_eq!((state.flights_started(), endpoint.calls()), (1, 1));
    assert_eq!(state.credential().map(|token| token.access_token()), Some("at-101"));
    follow.abort();
}

#[tokio::test(start_paused = true)]
async fn drivers_of_several_names_share_a_store_and_no_login() {
    let (store, endpoint) = (Faulty::default(), Endpoint::default());
    let ann = Stored::new(endpoint.clone(), store.clone(), "ann");
    let bob = ann.with_name("bob");
    let (of_ann, of_bob) =
        (Session::builder(ann.clone()).build(), Session::builder(bob.clone()).build());
    ann.login(&of_ann, token(1, true)).await.unwrap();
    assert_eq!(bob.open(&of_bob).await.unwrap(), None);
    bob.login(&of_bob, token(2, true)).await.unwrap();
    of_ann.refresh().await.unwrap();
    bob.logout(&of_bob).await.unwrap();
    assert_eq!(stored(&store).await.as_deref(), Some("at-101"));
}

/// A driver that rests takes little memory, for processes with many sessions: 4 allocations, with
/// its name.
#[test]
fn a_driver_at_rest_takes_at_most_700_bytes() {
    let template = Stored::new(Endpoint::default(), Memory::new(), "");
    let mut drivers = Vec::with_capacity(100);
    let info = allocation_counter::measure(|| {
        drivers.extend((0..100).map(|number| template.with_name(format!("user/{number}"))));
    });
    let bytes = info.bytes_current / 100;
    println!("{bytes} bytes, {} allocations", info.count_current / 100);
    assert!(bytes <= 700 && info.count_current <= 400, "{info:?}");
}

#[test]
fn no_name_and_no_token_is_shown() {
    let driver = Stored::new(Endpoint::default(), Memory::new(), "ann@example.com");
    let builder = Stored::builder(Endpoint::default(), Memory::new(), "ann@example.com");
    let shown = format!("{driver:?} {builder:?} {:?}", Memory::new());
    assert!(!shown.contains("ann"), "{shown}");
    fn is_refresher<T: Refresher<Token> + Clone>(_: &T) {}
    is_refresher(&driver);
}

#[tokio::test(start_paused = true)]
async fn a_chain_below_the_driver_presents_a_refused_credential_once() {
    let presented = Arc::new(Mutex::new(Vec::new()));
    let noted = presented.clone();
    let renew = refresher_fn(move |context: RefreshContext| {
        noted.lock().unwrap().push(context.refresh_token().unwrap().to_owned());
        async { Err(RefreshError::terminal("revoked")) }
    });
    let logins = AtomicUsize::new(0);
    let login = refresher_fn(move |_: RefreshContext| {
        let number = logins.fetch_add(1, Ordering::SeqCst) + 2;
        async move {
            if number < 5 { Err(RefreshError::transient("down")) } else { Ok(token(number, true)) }
        }
    });
    let store = Arc::new(Memory::new());
    let first = Stored::new(Chain::new(renew, login), store.clone(), "ann");
    first.login(&Session::builder(first.clone()).build(), token(1, false)).await.unwrap();

    // Another start of the program, which has the credential from the store alone.
    let driver = first.with_name("ann");
    let session: Session = Session::builder(driver.clone()).build();
    driver.open(&session).await.unwrap();
    while session.refresh().await.is_err() {
        session.retry_now();
    }
    assert_eq!(access_token(&session).unwrap(), "at-5");
    assert_eq!(*presented.lock().unwrap(), ["rt-1"]);
    session.refresh().await.unwrap();
    assert_eq!(*presented.lock().unwrap(), ["rt-1", "rt-5"]);
}

/// A refresher that reads what another program writes, or issues tokens itself.
struct Reading(bool);

impl Refresher for Reading {
    fn refresh(&self, _: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        Box::pin(async { Err(RefreshError::transient("unreadable")) })
    }

    fn is_read_only(&self) -> bool {
        self.0
    }
}

#[test]
fn a_driver_is_as_read_only_as_its_refresher() {
    for answer in [true, false] {
        let driver = Stored::new(Reading(answer), Memory::new(), "login");
        assert_eq!(driver.is_read_only(), answer);
    }
}
