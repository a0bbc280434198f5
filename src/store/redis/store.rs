use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use redis::{Client, RedisResult, aio::ConnectionLike};

use crate::{
    refresher::contract::BoxFuture,
    store::{
        contract::{Leased, Record, Store, Swapped},
        error::StoreError,
        frame,
        redis::{
            error::{classify, not_a_record},
            hints::Hints,
            keys::Keys,
            link::{self, Link, Reconnecting},
            script::{LEASE, LOAD, SWAP},
        },
        version::Version,
    },
};

/// A [`Store`] in Redis or Valkey: for services with several replicas.
///
/// Redis from version 6.2 and Valkey will do, alone or as a cluster. A `Redis` is made without a
/// connection, and connects with its first operation. It reconnects after a connection was lost or
/// has fallen silent. Clones share the connections.
///
/// ```no_run
/// use tower_refresh::store::{Redis, Stored};
///
/// # fn refresh_token_refresher() -> impl tower_refresh::Refresher { tower_refresh::refresher_fn(|_| async { unimplemented!() }) }
/// # fn main() -> Result<(), redis::RedisError> {
/// let client = redis::Client::open("redis://:secret@redis.internal")?;
/// let stored = Stored::new(refresh_token_refresher(), Redis::new(client), "service");
/// # Ok(()) }
/// ```
///
/// # Connections
///
/// One connection is for commands. Another one is for the hints of [`Store::changed`], and is made
/// by the first session that waits for one: a single subscription for all sessions that share this
/// store. Where it fails, sessions look for changes every 2 seconds.
///
/// For TLS, open the client with a URL that begins with `rediss://`, and enable TLS in the crate
/// `redis`: its feature `tokio-rustls-comp`, with `tls-rustls-webpki-roots` for Mozilla's root
/// certificates. This crate then uses TLS as well.
///
/// # Keys
///
/// A name has two keys and a channel: `tower-refresh:{H}:record`, `tower-refresh:{H}:lease` and
/// `tower-refresh:{H}:changes:0`, where `H` is the SHA-256 of the name in hexadecimal and 0 is the
/// number of the database. The braces are a hash tag, which keeps the keys of a name on one node of
/// a cluster.
///
/// These permissions are enough for a user of the server's access control list:
///
/// ```text
/// ACL SETUSER app on >secret ~tower-refresh:* resetchannels &tower-refresh:*
///     +eval +evalsha +time +hmget +hset +hdel +persist +pexpire +get +set +del +pttl
///     +publish +subscribe +unsubscribe +ping
/// ```
///
/// # Versions
///
/// The version of a record is the server's clock in microseconds, and more than the version before
/// it. So a version is not used again after the key has expired, was deleted by hand, or was lost,
/// unless the server's clock has gone back by more than the time since. The version of a deleted
/// record is kept for a day.
///
/// # Secrets
///
/// Keys, channels and messages show no name and no credential. The records are not encrypted, and
/// `MONITOR` and `SLOWLOG` of the server show them.
///
/// # Durability
///
/// A login survives what the server's configuration makes it survive:
///
/// - A server without persistence loses all logins when it restarts, and a replica then takes its
///   login for ended. Set `appendonly yes`. With `appendfsync always` a crash loses nothing that
///   was acknowledged, and with `everysec` the last second.
/// - A server that evicts keys may evict logins. Set `maxmemory-policy` to `noeviction`.
/// - Replication is asynchronous: a fail-over may lose writes that were acknowledged just before. A
///   driver that knows of a lost record writes it again. If no living process knows of it, the next
///   refresh presents a used refresh token. `min-replicas-to-write` makes a primary without
///   replicas refuse writes, which bounds the loss. No setting of Redis prevents it.
///
/// # Panics
///
/// Operations panic outside a Tokio runtime.
///
/// # Cancel safety
///
/// An operation whose future is dropped may take effect.
#[derive(Clone)]
#[must_use]
pub struct Redis {
    link: Arc<dyn Link>,
    hints: Arc<Hints>,
    database: i64,
    prefix: Arc<str>,
    expire_after: Option<Duration>,
}

const PREFIX: &str = "tower-refresh:";
/// How long the version of a deleted record is kept. After that, the clock of the server alone
/// keeps versions from being used again.
const KEEP_DELETED: Duration = Duration::from_secs(24 * 60 * 60);
/// A larger time would overflow the clock of the server.
const MAX_MILLIS: u64 = u32::MAX as u64 * 1000;

// === impl Redis ===

impl Redis {
    /// A store in the server of this client. Nothing is connected yet.
    pub fn new(client: Client) -> Self {
        let nodes = [client.clone()];
        Self::with_connector(move || link::open(client.clone()), nodes)
    }

    /// A store over connections of another kind, such as those of a cluster.
    ///
    /// `connect` makes the connection for commands, at first and after a failure. The hints come
    /// from one of the `nodes`: from any node of a cluster, since a message is passed on to all of
    /// them. Without nodes, sessions look for changes every 2 seconds.
    ///
    /// A cluster, with the feature `cluster-async` of the crate `redis`:
    ///
    /// ```ignore
    /// use std::sync::Arc;
    /// use redis::{Client, cluster::ClusterClient};
    /// use tower_refresh::store::Redis;
    ///
    /// let urls = ["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"];
    /// let nodes: Vec<_> = urls.into_iter().map(Client::open).collect::<Result<_, _>>()?;
    /// let cluster = Arc::new(ClusterClient::new(urls)?);
    /// let store = Redis::with_connector(
    ///     move || {
    ///         let cluster = cluster.clone();
    ///         async move { cluster.get_async_connection().await }
    ///     },
    ///     nodes,
    /// );
    /// ```
    ///
    /// A `ConnectionManager` that the application has already is handed out by
    /// `move || std::future::ready(Ok(manager.clone()))`. It reconnects by its own rules: after a
    /// connection was lost, and not after one has fallen silent.
    ///
    /// A cluster client may be set up to read from replicas. The store reads by a script, which
    /// runs on the primary nevertheless.
    pub fn with_connector<F, Fut, C>(connect: F, nodes: impl IntoIterator<Item = Client>) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = RedisResult<C>> + Send + 'static,
        C: ConnectionLike + Clone + Send + Sync + 'static,
    {
        let nodes: Vec<Client> = nodes.into_iter().collect();
        let settings = nodes.first().map(|node| node.get_connection_info().redis_settings());
        Self {
            link: Arc::new(Reconnecting::new(connect)),
            database: settings.map_or(0, |settings| settings.db()),
            hints: Arc::new(Hints::new(nodes)),
            prefix: PREFIX.into(),
            expire_after: None,
        }
    }

    /// The beginning of all keys. Default: `tower-refresh:`. Applications that share a server use
    /// different ones.
    ///
    /// # Panics
    ///
    /// The prefix contains `{}`, which would scatter the keys of a name over a cluster.
    pub fn prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.prefix = prefix.into();
        assert!(!self.prefix.contains("{}"), "a prefix contains no empty hash tag");
        self
    }

    /// How long a record is kept after its last write. Default: without end.
    ///
    /// Every refresh writes. A login that is not refreshed for this long is lost, and so is the
    /// tombstone of a login that has ended. Use more than the time that the authorization server
    /// keeps an unused refresh token. The time is clamped to at least 1 millisecond.
    pub fn expire_after(mut self, time: Duration) -> Self {
        self.expire_after = Some(time);
        self
    }

    fn keys(&self, name: &str) -> Keys {
        Keys::new(&self.prefix, name, self.database)
    }

    async fn read(&self, keys: &Keys) -> Result<Option<Record>, StoreError> {
        record(LOAD.run(&*self.link, &keys.record, &[]).await.map_err(classify)?)
    }

    async fn write(
        &self,
        keys: &Keys,
        seen: Option<Version>,
        next: Option<Bytes>,
    ) -> Result<Swapped, StoreError> {
        frame::check_size(next.as_ref().map_or(0, Bytes::len))?;
        let seen = seen.map(|seen| seen.as_u64().to_string()).unwrap_or_default();
        let writer = fastrand::u128(..).to_le_bytes();
        let keep = if next.is_some() { self.expire_after } else { Some(KEEP_DELETED) };
        let keep = keep.map_or(0, millis).to_string();
        let mut arguments =
            vec![seen.as_bytes(), &writer, keys.channel.as_bytes(), keep.as_bytes()];
        arguments.extend(next.as_deref());
        let (is_done, version, bytes): (bool, Option<u64>, Option<Bytes>) =
            SWAP.run(&*self.link, &keys.record, &arguments).await.map_err(classify)?;
        match version {
            Some(version) if is_done => Ok(Swapped::Done(Version::from_u64(version))),
            _ => Ok(Swapped::Lost(record((version, bytes))?)),
        }
    }
}

/// At least 1, since 0 stands for something else.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).clamp(1, MAX_MILLIS)
}

/// The record of an answer of a script.
fn record((version, bytes): (Option<u64>, Option<Bytes>)) -> Result<Option<Record>, StoreError> {
    let Some(bytes) = bytes else { return Ok(None) };
    let version = Version::from_u64(version.ok_or_else(not_a_record)?);
    frame::check_size(bytes.len()).map_err(|error| error.of_version(version))?;
    Ok(Some(Record::new(version, bytes)))
}

impl Store for Redis {
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move { self.read(&self.keys(name)).await })
    }

    fn swap<'a>(
        &'a self,
        name: &'a str,
        seen: Option<Version>,
        next: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Swapped, StoreError>> {
        Box::pin(async move { self.write(&self.keys(name), seen, next).await })
    }

    fn lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Leased, StoreError>> {
        Box::pin(async move {
            let key = self.keys(name).lease;
            let ttl = if ttl.is_zero() { 0 } else { millis(ttl) }.to_string();
            let arguments = [holder.as_bytes(), ttl.as_bytes()];
            match LEASE.run(&*self.link, &key, &arguments).await.map_err(classify)? {
                0 => Ok(Leased::Held),
                left => Ok(Leased::Busy(Duration::from_millis(left))),
            }
        })
    }

    fn changed<'a>(&'a self, name: &'a str, seen: Option<Version>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let keys = self.keys(name);
            let mut listener = self.hints.listen(keys.channel.clone());
            loop {
                let mut latest = listener.latest(seen);
                if latest.is_none()
                    && let Ok(record) = self.read(&keys).await
                {
                    let version = record.map(|record| record.version());
                    listener.saw(version);
                    latest = Some(version);
                }
                if latest.is_some_and(|latest| latest != seen) {
                    return;
                }
                listener.changed().await;
            }
        })
    }
}

impl fmt::Debug for Redis {
    /// Neither the address nor the password of a client is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("prefix", &self.prefix)
            .field("expire_after", &self.expire_after)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redis() -> Redis {
        Redis::new(Client::open("redis://app:hunter2@127.0.0.1").unwrap())
    }

    #[test]
    fn debug_shows_the_settings_and_no_address_and_no_password() {
        let redis = redis().prefix("app:").expire_after(Duration::from_secs(1));
        let shown = r#"Redis { prefix: "app:", expire_after: Some(1s), .. }"#;
        assert_eq!(format!("{redis:?}"), shown);
    }

    #[test]
    #[should_panic = "a prefix contains no empty hash tag"]
    fn a_prefix_with_an_empty_hash_tag_is_refused() {
        let _ = redis().prefix("app{}:");
    }

    #[test]
    fn a_time_is_at_least_a_millisecond_and_does_not_overflow_the_clock_of_the_server() {
        assert_eq!(millis(Duration::from_nanos(1)), 1);
        assert_eq!(millis(Duration::from_secs(2)), 2000);
        assert_eq!(millis(Duration::MAX), MAX_MILLIS);
    }

    #[test]
    fn a_store_is_shared_between_threads() {
        fn is_shared<T: Store + Clone + Unpin>() {}
        is_shared::<Redis>();
    }
}
