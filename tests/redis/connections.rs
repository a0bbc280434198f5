//! Connections that are lost, silent or refused, and the errors of a server.

use std::{
    error,
    time::{Duration, Instant},
};

use bytes::Bytes;
use redis::Client;
use tokio::time;
use tower_refresh::store::{Leased, Redis, Store, StoreError, StoreErrorKind, Swapped, Version};

use crate::{proxy::Proxy, server::Server};

const SECRET: &str = "hunter2";
const CONTENT: &str = "the content of a record";

async fn write(store: &Redis, seen: Option<Version>) -> Result<Version, StoreError> {
    let content = Bytes::from_static(CONTENT.as_bytes());
    match store.swap("zoe", seen, Some(content)).await? {
        Swapped::Done(version) => Ok(version),
        other => panic!("{other:?}"),
    }
}

async fn version(store: &Redis) -> Option<Version> {
    store.load("zoe").await.unwrap().map(|record| record.version())
}

/// The kind and the cause of an error that shows no secret.
fn shown(error: &StoreError) -> (StoreErrorKind, String) {
    let source = error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let shown = format!("{error} {error:?} {source}");
    for secret in [SECRET, CONTENT, "zoe"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    (error.kind(), source)
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn a_refused_password_is_denied_and_works_once_it_is_right() {
    let server = Server::start_with(&["--requirepass", SECRET]);
    let url = |user: &str| format!("redis://{user}127.0.0.1:{}", server.port);
    let store = |user: &str| Redis::new(Client::open(url(user)).unwrap());
    let (kind, cause) = shown(&store("").load("zoe").await.unwrap_err());
    assert_eq!((kind, &*cause), (StoreErrorKind::Denied, "redis asks for a password"));

    let wrong = store(":wrong@");
    for _ in 0..2 {
        let (kind, cause) = shown(&wrong.load("zoe").await.unwrap_err());
        let refused = "redis refused the user name or the password";
        assert_eq!((kind, &*cause), (StoreErrorKind::Denied, refused));
    }
    let right = store(&format!(":{SECRET}@"));
    write(&right, None).await.unwrap();
    assert!(!format!("{right:?}").contains(SECRET));

    let mut admin = Client::open(url(&format!(":{SECRET}@"))).unwrap().get_connection().unwrap();
    let set = redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("wrong").exec(&mut admin);
    set.unwrap();
    assert!(wrong.load("zoe").await.unwrap().is_some(), "no failure is kept");
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn a_user_with_the_documented_permissions_can_do_everything() {
    let server = Server::start();
    let mut rules = vec!["ACL", "SETUSER", "app", "on", ">hunter2"];
    let documented = include_str!("../../src/store/redis/store.rs");
    let documented = documented.split_once("ACL SETUSER app on >secret").unwrap().1;
    let documented = documented.split_once("```").unwrap().0;
    rules.extend(documented.split_whitespace().filter(|word| *word != "///"));
    server.command(&rules);
    let url = format!("redis://app:{SECRET}@127.0.0.1:{}", server.port);
    let store = || async { Redis::new(Client::open(&*url).unwrap()) };
    tower_refresh::store::testing::conforms(store).await;

    let waiting = store().await;
    let seen = write(&waiting, None).await.unwrap();
    let writer = store().await;
    let (start, writes) = (Instant::now(), async {
        time::sleep(Duration::from_millis(200)).await;
        write(&writer, Some(seen)).await.unwrap()
    });
    tokio::join!(waiting.changed("zoe", Some(seen)), writes);
    assert!(start.elapsed() < Duration::from_millis(1500), "it may subscribe");
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn a_user_who_may_not_publish_writes_and_one_who_may_not_subscribe_polls() {
    let server = Server::start();
    server.command(&["ACL", "SETUSER", "app", "on", ">hunter2", "~*", "resetchannels", "+@all"]);
    let url = format!("redis://app:{SECRET}@127.0.0.1:{}", server.port);
    let store = Redis::new(Client::open(url).unwrap());
    let seen = write(&store, None).await.unwrap();
    let writes = async {
        time::sleep(Duration::from_millis(200)).await;
        write(&store, Some(seen)).await.unwrap()
    };
    let both = async { tokio::join!(store.changed("zoe", Some(seen)), writes) };
    time::timeout(Duration::from_secs(10), both).await.unwrap();
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn an_error_of_the_server_has_its_kind_and_a_clear_text() {
    use StoreErrorKind::{Corrupt, Denied, Misconfigured, Unavailable};

    let primary = Server::start();
    let replica = ["--replicaof", "127.0.0.1", &primary.port.to_string()].join(" ");
    let replica: Vec<_> = replica.split(' ').collect();
    let cases: [(&[&str], StoreErrorKind, &str); 6] = [
        (&replica, Unavailable, "this redis server is a replica, and read-only"),
        (&["--maxmemory", "1"], Unavailable, "redis has no memory left"),
        (&["--min-replicas-to-write", "1"], Unavailable, "redis has too few replicas in touch"),
        (&["--cluster-enabled", "yes"], Unavailable, "the redis cluster is incomplete"),
        (
            &["--rename-command", "EVALSHA", "", "--rename-command", "EVAL", ""],
            Misconfigured,
            "this redis server does not run scripts",
        ),
        (
            &["--user", "default", "on", "nopass", "~*", "&*", "+@all", "-hset"],
            Denied,
            "the redis user lacks a permission",
        ),
    ];
    for (arguments, kind, cause) in cases {
        let server = Server::start_with(arguments);
        let error = write(&server.store(), None).await.unwrap_err();
        assert_eq!(shown(&error), (kind, cause.to_owned()), "{arguments:?}");
    }

    let store = primary.store().prefix("");
    write(&store, None).await.unwrap();
    let keys: Vec<String> = redis::from_redis_value(primary.command(&["KEYS", "{*"])).unwrap();
    primary.command(&["SET", &keys[0], CONTENT]);
    let error = store.load("zoe").await.unwrap_err();
    assert_eq!(shown(&error), (Corrupt, "another program has written to its key".to_owned()));
    primary.command(&["DEL", &keys[0]]);
    primary.command(&["HSET", &keys[0], "version", CONTENT, "bytes", CONTENT]);
    assert_eq!(shown(&store.load("zoe").await.unwrap_err()).0, Corrupt);
    primary.command(&["HSET", &keys[0], "version", "1", "bytes", &"x".repeat(10_000_000)]);
    let error = store.load("zoe").await.unwrap_err();
    assert_eq!(shown(&error).0, StoreErrorKind::TooLarge);
    assert_eq!(error.version(), Some(Version::from_u64(1)), "a login writes over it");
    write(&store, error.version()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn a_server_that_is_not_there_is_unavailable_until_it_starts() {
    let mut server = Server::start();
    server.stop();
    let store = server.store();
    assert_eq!(shown(&store.load("zoe").await.unwrap_err()).0, StoreErrorKind::Unavailable);
    server.start_again();
    assert_eq!(version(&store).await, None);
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn an_operation_after_a_restart_or_a_killed_connection_succeeds_at_once() {
    let mut server = Server::start();
    let store = server.store();
    let first = write(&store, None).await.unwrap();
    server.restart();
    assert_eq!(version(&store).await, Some(first), "the server keeps its data");
    server.restart();
    let second = write(&store, Some(first)).await.unwrap();
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    let third = write(&store, Some(second)).await.unwrap();
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    let leased = store.lease("zoe", "one", Duration::from_secs(60)).await.unwrap();
    assert_eq!((leased, version(&store).await), (Leased::Held, Some(third)));
    server.command(&["SCRIPT", "FLUSH"]);
    assert!(write(&store, Some(third)).await.unwrap() > third);
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn a_connection_that_falls_silent_is_replaced_after_one_operation() {
    let server = Server::start();
    let proxy = Proxy::start(server.port).await;
    let store = Redis::new(proxy.client());
    let seen = write(&store, None).await.unwrap();
    proxy.silence();
    let limit = Duration::from_millis(300);
    assert!(time::timeout(limit, store.load("zoe")).await.is_err(), "nothing answers");
    assert_eq!(time::timeout(limit, version(&store)).await, Ok(Some(seen)));

    // A caller that gives up soon says nothing about the connection.
    let before = proxy.accepted();
    for _ in 0..20 {
        drop(time::timeout(Duration::ZERO, store.load("zoe")).await);
    }
    version(&store).await;
    assert_eq!(proxy.accepted(), before);
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn a_swap_whose_answer_was_lost_with_its_connection_is_done() {
    let server = Server::start();
    let proxy = Proxy::start(server.port).await;
    let store = Redis::new(proxy.client());
    let seen = write(&store, None).await.unwrap();
    proxy.delay_answers(Duration::from_millis(300));
    let cut = async {
        time::sleep(Duration::from_millis(150)).await;
        assert!(version(&server.store()).await > Some(seen), "the server has written");
        proxy.cut();
    };
    let (written, ()) = tokio::join!(write(&store, Some(seen)), cut);
    assert_eq!(version(&store).await, Some(written.unwrap()));
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn a_version_is_greater_after_all_data_was_lost_and_after_the_clock_went_back() {
    let server = Server::start();
    let store = server.store().prefix("");
    let first = write(&store, None).await.unwrap();
    server.command(&["FLUSHALL"]);
    assert_eq!(version(&store).await, None);
    let lost = store.swap("zoe", Some(first), Some(Bytes::new())).await.unwrap();
    assert_eq!(lost, Swapped::Lost(None));
    let second = write(&store, None).await.unwrap();
    assert!(second > first);

    // Written when the clock of the server was an hour ahead.
    let keys: Vec<String> = redis::from_redis_value(server.command(&["KEYS", "*"])).unwrap();
    let ahead = second.as_u64() + 3_600_000_000;
    server.command(&["HSET", &keys[0], "version", &ahead.to_string()]);
    let third = write(&store, Some(Version::from_u64(ahead))).await.unwrap();
    assert_eq!(third.as_u64(), ahead + 1);
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn a_record_expires_after_its_last_write_and_a_deleted_one_after_a_day() {
    let server = Server::start();
    let store = server.store().prefix("").expire_after(Duration::from_millis(1500));
    let left = || {
        let keys: Vec<String> = redis::from_redis_value(server.command(&["KEYS", "*"])).unwrap();
        redis::from_redis_value::<i64>(server.command(&["PTTL", &keys[0]])).unwrap()
    };
    let first = write(&store, None).await.unwrap();
    assert!((1000..=1500).contains(&left()));
    let lasting = store.clone().expire_after(Duration::MAX);
    let second = write(&lasting, Some(first)).await.unwrap();
    assert!(left() > 1_000_000_000_000, "{}", left());
    store.swap("zoe", Some(second), None).await.unwrap();
    assert!((86_000_000..=86_400_000).contains(&left()));
    write(&server.store().prefix(""), None).await.unwrap();
    assert_eq!(left(), -1, "without end");
}

#[test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
fn a_store_outlives_the_runtime_that_it_was_used_in() {
    let server = Server::start();
    let store = server.store();
    let mut seen = None;
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        seen = Some(runtime.block_on(async {
            let seen = write(&store, seen).await.unwrap();
            let writes = async {
                time::sleep(Duration::from_millis(100)).await;
                write(&store, Some(seen)).await.unwrap()
            };
            let (start, (_, next)) =
                (Instant::now(), tokio::join!(store.changed("zoe", Some(seen)), writes));
            assert!(start.elapsed() < Duration::from_millis(1500), "a hint has come");
            next
        }));
    }
}
