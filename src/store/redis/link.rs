use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{
    Client, Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::time::Instant;

use crate::refresher::contract::BoxFuture;

/// Where commands are sent to.
pub(super) trait Link: Send + Sync {
    /// Sends a command, and once more over a new connection where the connection was lost. The
    /// command must bear it.
    fn send<'a>(&'a self, command: &'a Cmd) -> BoxFuture<'a, RedisResult<Value>>;
}

/// A connection that is made by the first command, and made anew after a failure.
///
/// The client's own `ConnectionManager` reconnects as well, but not after a silence, and not after
/// a password that was refused.
pub(super) struct Reconnecting<F, C> {
    connect: F,
    /// Held while a connection is made, so that commands that start together share one.
    connecting: tokio::sync::Mutex<()>,
    current: Mutex<Current<C>>,
}

/// The connection that is in use.
struct Current<C> {
    connection: Option<C>,
    /// Counts the connections, so that a failure discards only the one that it happened on.
    number: u64,
    /// When the first command was sent that has had no answer, nor has any command since.
    silent_since: Option<Instant>,
}

/// A command that waits for its answer. A dropped one is a sign of a dead connection.
struct Unanswered<'a, F, C> {
    link: &'a Reconnecting<F, C>,
    number: u64,
}

/// The silence after which a connection counts as dead once a caller gives up on it. A caller that
/// gives up sooner may have had other reasons.
const MAX_SILENCE: Duration = Duration::from_millis(250);

/// Opens a connection for commands. Answers have no time limit here: the driver has one.
pub(super) async fn open(client: Client) -> RedisResult<MultiplexedConnection> {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await
}

// === impl Reconnecting ===

impl<F, C> Reconnecting<F, C> {
    pub(super) fn new(connect: F) -> Self {
        let current = Current { connection: None, number: 0, silent_since: None };
        Self { connect, connecting: tokio::sync::Mutex::default(), current: Mutex::new(current) }
    }

    fn current(&self) -> MutexGuard<'_, Current<C>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F, Fut, C> Reconnecting<F, C>
where
    F: Fn() -> Fut,
    Fut: Future<Output = RedisResult<C>>,
    C: ConnectionLike + Clone,
{
    async fn connection(&self) -> RedisResult<(u64, C)> {
        if let Some(found) = self.current().get() {
            return Ok(found);
        }
        let _turn = self.connecting.lock().await;
        if let Some(found) = self.current().get() {
            return Ok(found);
        }
        let connection = (self.connect)().await?;
        Ok(self.current().replace(connection))
    }

    /// # Errors
    ///
    /// The outer error is that of the connection, and the inner one that of the command.
    async fn attempt(&self, command: &Cmd) -> RedisResult<RedisResult<Value>> {
        let (number, mut connection) = self.connection().await?;
        let unanswered = Unanswered::new(self, number);
        let result = connection.req_packed_command(command).await;
        // Some connections hand an error of the server over as a value.
        let result = result.and_then(Value::extract_error);
        unanswered.answered(result.as_ref().err());
        Ok(result)
    }
}

impl<F, Fut, C> Link for Reconnecting<F, C>
where
    F: Fn() -> Fut + Send + Sync,
    Fut: Future<Output = RedisResult<C>> + Send,
    C: ConnectionLike + Clone + Send + Sync,
{
    fn send<'a>(&'a self, command: &'a Cmd) -> BoxFuture<'a, RedisResult<Value>> {
        Box::pin(async move {
            match self.attempt(command).await? {
                // Closed by the server, which may have been long ago, or restarted since.
                Err(error) if error.is_connection_dropped() => self.attempt(command).await?,
                result => result,
            }
        })
    }
}

// === impl Current ===

impl<C: Clone> Current<C> {
    fn get(&self) -> Option<(u64, C)> {
        self.connection.clone().map(|connection| (self.number, connection))
    }

    fn replace(&mut self, connection: C) -> (u64, C) {
        self.number += 1;
        self.silent_since = None;
        self.connection = Some(connection.clone());
        (self.number, connection)
    }
}

// === impl Unanswered ===

impl<'a, F, C> Unanswered<'a, F, C> {
    fn new(link: &'a Reconnecting<F, C>, number: u64) -> Self {
        let mut current = link.current();
        if current.number == number {
            current.silent_since.get_or_insert_with(Instant::now);
        }
        drop(current);
        Self { link, number }
    }

    fn answered(self, error: Option<&RedisError>) {
        let mut current = self.link.current();
        if current.number == self.number {
            current.silent_since = None;
            if error.is_some_and(is_fatal) {
                current.connection = None;
            }
        }
    }
}

/// Whether an error asks for a new connection. A server that has become a replica of another one
/// stays one: only a new connection finds its successor.
fn is_fatal(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.kind() == ErrorKind::Io
        || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

impl<F, C> Drop for Unanswered<'_, F, C> {
    fn drop(&mut self) {
        let mut current = self.link.current();
        if current.number == self.number
            && current.silent_since.is_some_and(|since| since.elapsed() >= MAX_SILENCE)
        {
            current.connection = None;
        }
    }
}
