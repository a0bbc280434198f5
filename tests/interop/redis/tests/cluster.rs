//! A cluster of three servers.

use std::{
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use redis::{Client, cluster::ClusterClient};
use tokio::{task::JoinSet, time};
use tower_refresh::store::{Redis, Store, StoreErrorKind, Version, testing};

use crate::{server::Server, support};

struct Cluster(Vec<Server>);

const LIMIT: Duration = Duration::from_secs(30);
/// Less than the pause between two looks of a waiter that polls, which is 2 seconds.
const SOON: Duration = Duration::from_millis(1500);

// === impl Cluster ===

impl Cluster {
    fn start() -> Self {
        let servers: Vec<_> = (0..3)
            .map(|_| {
                Server::start_with(&[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-require-full-coverage",
                    "no",
                    "--cluster-node-timeout",
                    "2000",
                ])
            })
            .collect();
        let addresses = servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", "0", "--cluster-yes"])
            .output()
            .unwrap();
        assert!(created.status.success(), "{created:?}");
        let start = Instant::now();
        let is_ready = |server: &Server| {
            let info = redis::from_redis_value::<String>(server.command(&["CLUSTER", "INFO"]));
            info.unwrap().contains("cluster_state:ok")
        };
        while !servers.iter().all(is_ready) {
            assert!(start.elapsed() < LIMIT, "the cluster has not formed");
            thread::sleep(Duration::from_millis(20));
        }
        Self(servers)
    }

    /// A store that takes its hints from these nodes.
    fn store_with_hints_of(&self, nodes: &[usize]) -> Redis {
        let urls: Vec<_> = self.0.iter().map(Server::url).collect();
        let cluster = Arc::new(ClusterClient::new(urls).unwrap());
        let nodes: Vec<Client> = nodes.iter().map(|&node| self.0[node].client()).collect();
        Redis::with_connector(
            move || {
                let cluster = cluster.clone();
                async move { cluster.get_async_connection().await }
            },
            nodes,
        )
    }

    fn store(&self) -> Redis {
        self.store_with_hints_of(&[0, 1, 2])
    }
}

async fn write(store: &Redis, name: &str, seen: Option<Version>) -> Version {
    support::write(store, name, seen, b"content").await
}

#[tokio::test]
async fn a_store_in_a_cluster_keeps_the_contract() {
    let cluster = Cluster::start();
    testing::conforms(async || cluster.store()).await;
}

#[tokio::test]
async fn a_hint_comes_from_every_node_by_a_subscription_at_one() {
    let cluster = Cluster::start();
    let (store, writer) = (cluster.store_with_hints_of(&[1]), cluster.store());
    let mut waiters = JoinSet::new();
    let mut written = Vec::new();
    for number in 0..30 {
        let name = number.to_string();
        let seen = write(&writer, &name, None).await;
        written.push((name.clone(), seen));
        let store = store.clone();
        waiters.spawn(async move { store.changed(&name, Some(seen)).await });
    }
    for server in &cluster.0 {
        let keys = redis::from_redis_value::<u64>(server.command(&["DBSIZE"])).unwrap();
        assert!(keys > 0, "the names are spread over the nodes");
    }
    time::sleep(Duration::from_millis(500)).await;
    assert!(waiters.try_join_next().is_none(), "nothing has changed");
    for (name, seen) in written {
        write(&writer, &name, Some(seen)).await;
    }
    let start = Instant::now();
    while let Some(waiter) = waiters.join_next().await {
        waiter.unwrap();
    }
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[tokio::test]
async fn the_subscription_moves_to_another_node_when_its_own_is_lost() {
    let mut cluster = Cluster::start();
    let (store, writer) = (cluster.store(), cluster.store());
    // A name on a node that stays.
    let mut name = 0;
    let (name, seen) = loop {
        let text = name.to_string();
        let before = keys(&cluster.0[1]);
        let seen = write(&writer, &text, None).await;
        if keys(&cluster.0[1]) > before {
            break (text, seen);
        }
        name += 1;
    };
    let waiter = tokio::spawn({
        let (store, name) = (store.clone(), name.clone());
        async move { store.changed(&name, Some(seen)).await }
    });
    time::sleep(Duration::from_millis(500)).await;
    cluster.0[0].stop();
    // Until the nodes that are left agree.
    time::sleep(Duration::from_secs(6)).await;
    assert!(!waiter.is_finished(), "nothing has changed");
    write(&writer, &name, Some(seen)).await;
    time::timeout(SOON, waiter).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_node_without_a_cluster_client_is_misconfigured() {
    let cluster = Cluster::start();
    let mut kinds = Vec::new();
    for name in 0..20 {
        if let Err(error) = cluster.0[0].store().load(&name.to_string()).await {
            kinds.push(error.kind());
        }
    }
    assert!(!kinds.is_empty());
    assert!(kinds.iter().all(|kind| *kind == StoreErrorKind::Misconfigured), "{kinds:?}");
}

fn keys(server: &Server) -> u64 {
    redis::from_redis_value(server.command(&["DBSIZE"])).unwrap()
}
