use std::sync::LazyLock;

use redis::{Cmd, ErrorKind, FromRedisValue, RedisResult, Script, ServerErrorKind};

use crate::store::redis::link::Link;

/// A script of the store, and the hash by which a server knows it.
pub(super) struct StoreScript {
    source: &'static str,
    hash: String,
}

/// Reads the record.
pub(super) static LOAD: LazyLock<StoreScript> =
    LazyLock::new(|| StoreScript::new(include_str!("load.lua")));
/// Writes or deletes the record.
pub(super) static SWAP: LazyLock<StoreScript> =
    LazyLock::new(|| StoreScript::new(include_str!("swap.lua")));
/// Takes, extends or gives up the lease.
pub(super) static LEASE: LazyLock<StoreScript> =
    LazyLock::new(|| StoreScript::new(include_str!("lease.lua")));

// === impl StoreScript ===

impl StoreScript {
    fn new(source: &'static str) -> Self {
        Self { source, hash: Script::new(source).get_hash().to_owned() }
    }

    /// Runs the script on one key.
    ///
    /// A server that does not know the hash gets the source in the second command. To load the
    /// script first, as [`Script`] does, fails where the server is replaced in between.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        link: &dyn Link,
        key: &str,
        arguments: &[&[u8]],
    ) -> RedisResult<T> {
        let by_hash = command("EVALSHA", &self.hash, key, arguments);
        let value = match link.send(&by_hash).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                link.send(&command("EVAL", self.source, key, arguments)).await?
            }
            result => result?,
        };
        Ok(T::from_redis_value(value)?)
    }
}

fn command(name: &str, script: &str, key: &str, arguments: &[&[u8]]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(1).arg(key).arg(arguments);
    command
}
