//! `Redis` keeps the contract of `Store`.

use tower_refresh::store::testing;

use crate::server::Server;

#[tokio::test]
#[ignore = "needs redis-server: run tests/interop/redis.sh"]
async fn redis_keeps_the_contract_of_a_store() {
    let server = Server::start();
    testing::conforms(async || server.store()).await;
}
