//! Sessions over a real server, and the faults of that server.

use std::time::{Duration, Instant, SystemTime};

use tokio::time;
use tower_refresh::{
    ErrorKind, Session, Token,
    session::Phase,
    store::{Redis, Stored},
};

use crate::{
    proxy::Proxy,
    server::Server,
    support::{Driver, Endpoint, Revoked, access_token, replica, token},
};

type RedisDriver = Driver<Redis>;

/// A session whose login is stored, and another replica of it.
async fn two_replicas(endpoint: &Endpoint, server: &Server) -> [(Session, RedisDriver); 2] {
    let replicas = [replica(endpoint, server.store()), replica(endpoint, server.store())];
    let [(first, driver), (second, other)] = &replicas;
    driver.login(first, token(1, true)).await.unwrap();
    other.open(second).await.unwrap().unwrap();
    replicas
}

/// Waits in real time, for a real server.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(15), "{what}");
        time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_logged_out(session: &Session) -> bool {
    matches!(session.state().phase(), Phase::LoggedOut(_))
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn g19_a_server_that_stops_for_longer_than_the_lease_ends_no_login() {
    let (server, endpoint) = (Server::start(), Endpoint::default());
    let make = || {
        let driver = Stored::builder(endpoint.clone(), server.store(), "ann")
            .lease_ttl(Duration::from_millis(500))
            .operation_timeout(Duration::from_millis(300))
            .build();
        (Session::builder(driver.clone()).refresh_attempts(1).build(), driver)
    };
    let ((first, driver), (second, other)) = (make(), make());
    driver.login(&first, token(1, true)).await.unwrap();
    other.open(&second).await.unwrap();

    // In the middle of an exchange.
    let gate = endpoint.close();
    let refresh = tokio::spawn(first.refresh());
    until("the exchange has begun", || endpoint.calls() == 1).await;
    server.signal("-STOP");
    gate.add_permits(1);
    let error = second.refresh().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RefreshFailed);
    assert!(error.retry_after().is_some(), "it is transient");
    assert_eq!(access_token(&second).as_deref(), Some("at-1"), "a usable credential is used");
    time::sleep(Duration::from_millis(1000)).await;
    server.signal("-CONT");
    gate.add_permits(9);

    refresh.await.unwrap().unwrap();
    until("it is saved", || driver.is_saved()).await;
    second.retry_now();
    second.refresh().await.unwrap();
    first.refresh().await.unwrap();
    assert_eq!(endpoint.reused(), 0);
    assert!(!is_logged_out(&first) && !is_logged_out(&second));
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn g16_a_lease_that_is_deleted_in_mid_exchange_is_taken_again() {
    let (server, endpoint) = (Server::start(), Endpoint::default());
    let make = || {
        let driver = Stored::builder(endpoint.clone(), server.store(), "ann");
        let driver = driver.lease_ttl(Duration::from_millis(600)).build();
        (Session::builder(driver.clone()).build(), driver)
    };
    let ((first, driver), (second, other)) = (make(), make());
    driver.login(&first, token(1, true)).await.unwrap();
    other.open(&second).await.unwrap().unwrap();
    let gate = endpoint.close();
    let refresh = tokio::spawn(first.refresh());
    until("the exchange has begun", || endpoint.calls() == 1).await;
    let leases: Vec<String> =
        redis::from_redis_value(server.command(&["KEYS", "*:lease"])).unwrap();
    server.command(&["DEL", &leases[0]]);
    time::sleep(Duration::from_millis(400)).await;

    let waits = tokio::spawn(second.refresh());
    time::sleep(Duration::from_millis(300)).await;
    assert_eq!(endpoint.calls(), 1, "the other replica waits");
    gate.add_permits(9);
    refresh.await.unwrap().unwrap();
    waits.await.unwrap().unwrap();
    assert_eq!((endpoint.calls(), endpoint.reused()), (2, 0));
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn g18_losing_all_data_is_a_logout_and_a_login_works_then() {
    let (server, endpoint) = (Server::start(), Endpoint::default());
    let [(first, driver), (second, other)] = two_replicas(&endpoint, &server).await;
    let follow = tokio::spawn(other.follow(&second));
    server.command(&["FLUSHALL"]);
    let error = first.refresh().await.unwrap_err();
    assert!(format!("{error:?}").contains("Terminal"), "{error:?}");
    assert_eq!(endpoint.calls(), 0, "no call is made for a login that is gone");

    driver.login(&first, token(2, true)).await.unwrap();
    until("the follower has it", || access_token(&second).as_deref() == Some("at-2")).await;
    first.refresh().await.unwrap();
    until("the follower has it", || access_token(&second).as_deref() == Some("at-101")).await;
    assert_eq!((endpoint.calls(), endpoint.reused()), (1, 0));
    follow.abort();
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn g18_a_logout_while_another_replica_refreshes_wins_and_its_credential_reaches_the_hook() {
    let (server, endpoint) = (Server::start(), Endpoint::default());
    let revoked = Revoked::default();
    let theirs = Stored::new(endpoint.clone(), server.store(), "ann");
    let session = Session::builder(theirs.clone()).on_login_end(revoked.hook()).build();
    theirs.login(&session, token(1, true)).await.unwrap();
    let (other, ours) = replica(&endpoint, server.store());
    ours.open(&other).await.unwrap();

    let gate = endpoint.close();
    let refresh = tokio::spawn(session.refresh());
    until("the exchange has begun", || endpoint.calls() == 1).await;
    ours.logout(&other).await.unwrap();
    gate.add_permits(1);
    refresh.await.unwrap().unwrap_err();
    until("the hook has run", || !revoked.tokens().is_empty()).await;
    assert!(is_logged_out(&session));
    assert_eq!(revoked.tokens(), ["at-101"]);
    let (third, driver) = replica(&endpoint, server.store());
    assert_eq!(driver.open(&third).await.unwrap(), None, "nothing is resurrected");
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn two_logins_at_once_leave_one_for_all_replicas() {
    let server = Server::start();
    for round in 0..20 {
        let endpoint = Endpoint::default();
        let [(first, driver), (second, other)] = two_replicas(&endpoint, &server).await;
        let follows = [tokio::spawn(driver.follow(&first)), tokio::spawn(other.follow(&second))];
        let (one, two) = tokio::join!(
            driver.login(&first, token(2, true)),
            other.login(&second, token(3, true)),
        );
        one.unwrap();
        two.unwrap();
        until("both have the same", || access_token(&first) == access_token(&second)).await;
        first.refresh().await.unwrap();
        until("both have the same", || access_token(&first) == access_token(&second)).await;
        assert_eq!(endpoint.reused(), 0, "{round}");
        follows.iter().for_each(|follow| follow.abort());
    }
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn replicas_whose_clocks_differ_by_an_hour_reuse_no_token() {
    let (server, endpoint) = (Server::start(), Endpoint::default());
    let hour = Duration::from_secs(3600);
    let make = |is_fast| {
        let driver = Stored::new(endpoint.clone(), server.store(), "ann");
        let now = move || SystemTime::now() + if is_fast { hour } else { Duration::ZERO };
        (Session::builder(driver.clone()).clock(now).build(), driver)
    };
    let ((fast, driver), (right, other)) = (make(true), make(false));
    let short = |number: u32| {
        let expires_at = SystemTime::now() + hour / 2;
        let token = Token::bearer(format!("at-{number}")).unwrap();
        token.with_refresh_token(format!("rt-{number}")).with_expires_at(expires_at)
    };
    other.login(&right, short(1)).await.unwrap();
    driver.open(&fast).await.unwrap().unwrap();
    let follow = tokio::spawn(other.follow(&right));
    // The fast clock takes the token for expired, and exchanges it.
    fast.acquire().await.unwrap();
    until("the other has it", || access_token(&right).as_deref() == Some("at-101")).await;
    right.refresh().await.unwrap();
    fast.refresh().await.unwrap();
    assert_eq!((endpoint.calls(), endpoint.reused()), (3, 0));
    assert!(!is_logged_out(&fast) && !is_logged_out(&right));
    follow.abort();
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn g15_a_server_slower_than_the_deadline_is_an_outage_and_its_late_save_counts() {
    let (server, endpoint) = (Server::start(), Endpoint::default());
    let proxy = Proxy::start(server.port).await;
    let driver = Stored::builder(endpoint.clone(), Redis::new(proxy.client()), "ann")
        .operation_timeout(Duration::from_millis(400))
        .build();
    let session = Session::builder(driver.clone()).build();
    driver.login(&session, token(1, true)).await.unwrap();
    // A script that the server does not know costs a second round trip.
    session.refresh().await.unwrap();

    proxy.delay_answers(Duration::from_millis(300));
    session.refresh().await.unwrap();
    assert!(driver.is_saved());
    assert_eq!(endpoint.calls(), 2, "slow by less than the deadline");

    let gate = endpoint.close();
    let refresh = tokio::spawn(session.refresh());
    until("the exchange has begun", || endpoint.calls() == 3).await;
    proxy.delay_answers(Duration::from_millis(700));
    gate.add_permits(1);
    refresh.await.unwrap().unwrap();
    assert_eq!(access_token(&session).as_deref(), Some("at-103"));
    proxy.delay_answers(Duration::ZERO);
    until("the late save is recognised", || driver.is_saved()).await;
    let (other, theirs) = replica(&endpoint, server.store());
    theirs.open(&other).await.unwrap();
    assert_eq!(access_token(&other).as_deref(), Some("at-103"));
    assert_eq!(endpoint.reused(), 0);
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn g19_a_program_that_starts_before_its_server_opens_its_login_later() {
    let (mut server, endpoint) = (Server::start(), Endpoint::default());
    let (session, driver) = replica(&endpoint, server.store());
    driver.login(&session, token(1, true)).await.unwrap();
    server.stop();
    let (late, other) = replica(&endpoint, server.store());
    other.open(&late).await.unwrap_err();
    assert_eq!(access_token(&session).as_deref(), Some("at-1"));
    server.start_again();
    other.open(&late).await.unwrap().unwrap();
    assert_eq!(access_token(&late).as_deref(), Some("at-1"));
}
