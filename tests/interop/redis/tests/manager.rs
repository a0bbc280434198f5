//! A connection manager that the application has already.

use std::future::ready;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use tower_refresh::store::{Redis, Store, testing};

use crate::server::Server;

async fn store(server: &Server) -> Redis {
    let config = ConnectionManagerConfig::new().set_number_of_retries(1);
    let manager = ConnectionManager::new_with_config(server.client(), config).await.unwrap();
    Redis::with_connector(move || ready(Ok(manager.clone())), [server.client()])
}

#[tokio::test]
async fn a_store_over_a_connection_manager_keeps_the_contract() {
    let server = Server::start();
    testing::conforms(async || store(&server).await).await;
}

#[tokio::test]
async fn a_store_over_a_connection_manager_outlives_a_restart() {
    let mut server = Server::start();
    let store = store(&server).await;
    store.swap("ann", None, Some("content".into())).await.unwrap();
    server.restart();
    assert!(store.load("ann").await.unwrap().is_some());
}
