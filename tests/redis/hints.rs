//! The hints of `Store::changed`: one subscription, which is made again after it was lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redis::Client;
use tokio::{task::JoinSet, time};
use tower_refresh::store::{Redis, Store, Version};

use crate::{proxy::Proxy, server::Server, support};

/// Less than the pause between two looks of a waiter that polls, which is 2 seconds.
const SOON: Duration = Duration::from_millis(1500);

async fn write(store: &Redis, name: &str, seen: Option<Version>) -> Version {
    support::write(store, name, seen, b"content").await
}

fn subscribers(server: &Server) -> usize {
    let list = server.command(&["CLIENT", "LIST", "TYPE", "pubsub"]);
    redis::from_redis_value::<String>(list).unwrap().lines().count()
}

/// Waits until so many channels are subscribed to.
async fn subscribed(server: &Server, channels: usize) {
    let start = Instant::now();
    loop {
        let found = server.command(&["PUBSUB", "CHANNELS"]);
        if redis::from_redis_value::<Vec<String>>(found).unwrap().len() == channels {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{channels} subscriptions");
        time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn many_waiters_share_one_subscription_and_wake_by_the_hint() {
    const NAMES: usize = 600;
    let server = Server::start_with(&["--appendonly", "no"]);
    let (store, writer) = (server.store(), server.store());
    let mut seen = Vec::new();
    for name in 0..NAMES {
        seen.push(write(&writer, &name.to_string(), None).await);
    }
    let mut waiters = JoinSet::new();
    for (name, &seen) in seen.iter().enumerate() {
        // Two waiters for each name: clones share the subscription.
        for store in [store.clone(), store.clone()] {
            waiters.spawn(async move { store.changed(&name.to_string(), Some(seen)).await });
        }
    }
    subscribed(&server, NAMES).await;
    assert_eq!(subscribers(&server), 1);
    // Long enough for the looks that follow the subscription.
    time::sleep(Duration::from_millis(500)).await;
    assert!(waiters.try_join_next().is_none(), "nothing has changed");

    for (name, &seen) in seen.iter().enumerate() {
        write(&writer, &name.to_string(), Some(seen)).await;
    }
    let start = Instant::now();
    while let Some(waiter) = waiters.join_next().await {
        waiter.unwrap();
    }
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn a_waiter_wakes_by_the_hint_of_a_new_subscription_after_the_old_one_was_lost() {
    let mut server = Server::start();
    let (store, writer) = (server.store(), server.store());
    let mut seen = write(&writer, "ann", None).await;
    for loss in ["kill", "restart", "kill"] {
        let waiter = tokio::spawn({
            let store = store.clone();
            async move { store.changed("ann", Some(seen)).await }
        });
        subscribed(&server, 1).await;
        match loss {
            "kill" => drop(server.command(&["CLIENT", "KILL", "TYPE", "pubsub"])),
            _ => server.restart(),
        }
        subscribed(&server, 1).await;
        time::sleep(Duration::from_millis(100)).await;
        assert!(!waiter.is_finished(), "{loss}: nothing has changed");
        let start = Instant::now();
        seen = write(&writer, "ann", Some(seen)).await;
        waiter.await.unwrap();
        assert!(start.elapsed() < SOON, "{loss}: {:?}", start.elapsed());
    }
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn a_change_while_the_subscription_was_lost_wakes_its_waiter_once_there_is_another() {
    let server = Server::start();
    let proxy = Proxy::start(server.port).await;
    let store = Redis::new(proxy.client());
    let writer = server.store();
    let seen = write(&writer, "ann", None).await;
    let waiter = tokio::spawn(async move { store.changed("ann", Some(seen)).await });
    subscribed(&server, 1).await;
    time::sleep(Duration::from_millis(100)).await;
    // The hint is swallowed, and then the connection is closed.
    proxy.silence();
    write(&writer, "ann", Some(seen)).await;
    time::sleep(Duration::from_millis(100)).await;
    assert!(!waiter.is_finished(), "no hint has come");
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    time::timeout(SOON, waiter).await.unwrap().unwrap();
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn a_subscription_without_waiters_is_closed() {
    let server = Server::start();
    let store = server.store();
    let wait = time::timeout(Duration::from_millis(300), store.changed("ann", None));
    assert!(wait.await.is_err(), "nothing changes");
    assert_eq!(subscribers(&server), 1, "it is kept for the next waiter");
    time::sleep(Duration::from_secs(22)).await;
    assert_eq!(subscribers(&server), 0);

    let store = Arc::new(store);
    let waiter = tokio::spawn({
        let store = store.clone();
        async move { store.changed("ann", None).await }
    });
    subscribed(&server, 1).await;
    write(&store, "ann", None).await;
    time::timeout(SOON, waiter).await.unwrap().unwrap();

    drop(store);
    time::sleep(Duration::from_millis(200)).await;
    assert_eq!(subscribers(&server), 0, "no store, no subscription");
}

/// Without a change, so that a driver that follows does not look without end.
async fn waits(store: &Redis, seen: Option<Version>) {
    let wait = time::timeout(Duration::from_millis(500), store.changed("ann", seen));
    assert!(wait.await.is_err(), "nothing has changed");
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn a_waiter_that_has_seen_the_latest_change_waits_for_the_next_one() {
    let server = Server::start();
    let store = server.store();
    waits(&store, None).await;
    let first = write(&store, "ann", None).await;
    time::timeout(SOON, store.changed("ann", None)).await.unwrap();
    waits(&store, Some(first)).await;
    store.swap("ann", Some(first), None).await.unwrap();
    time::timeout(SOON, store.changed("ann", Some(first))).await.unwrap();
    waits(&store, None).await;
    let second = write(&store, "ann", None).await;
    time::timeout(SOON, store.changed("ann", None)).await.unwrap();
    waits(&store, Some(second)).await;
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn a_change_in_one_database_wakes_no_waiter_of_another() {
    let server = Server::start();
    let database = |number| Redis::new(Client::open(format!("{}/{number}", server.url())).unwrap());
    let (ours, theirs) = (database(1), database(2));
    let seen = write(&ours, "ann", None).await;
    let other = write(&theirs, "ann", None).await;
    let writes = async {
        time::sleep(Duration::from_millis(200)).await;
        write(&theirs, "ann", Some(other)).await
    };
    tokio::join!(waits(&ours, Some(seen)), writes);
    waits(&ours, Some(seen)).await;
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn a_client_that_speaks_resp3_gets_hints() {
    let server = Server::start();
    let client = Client::open(format!("{}/?protocol=resp3", server.url())).unwrap();
    let store = Redis::new(client.clone());
    let seen = write(&store, "ann", None).await;
    let writes = async {
        time::sleep(Duration::from_millis(300)).await;
        write(&store, "ann", Some(seen)).await
    };
    let both = async { tokio::join!(store.changed("ann", Some(seen)), writes) };
    time::timeout(SOON, both).await.unwrap();
    tower_refresh::store::testing::conforms(async || Redis::new(client.clone())).await;
}
