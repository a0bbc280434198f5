//! A token endpoint with rotation, a store with faults, and other tools of the tests of stores.

use std::{
    collections::HashSet,
    future::{Ready, ready},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::{sync::Semaphore, time};
use tower_refresh::{
    RefreshContext, RefreshError, Refresher, Session, Token,
    refresher::BoxFuture,
    session::{EndReason, EndedLogin},
    store::{Leased, Memory, Record, Store, StoreError, Stored, Swapped, Version},
};

/// A token endpoint in memory: each refresh token is good once.
#[derive(Clone, Default)]
pub(crate) struct Endpoint(Arc<Rotation>);

#[derive(Default)]
struct Rotation {
    calls: AtomicUsize,
    used: Mutex<HashSet<String>>,
    reused: AtomicUsize,
    refuses: AtomicUsize,
    /// Answers wait for a permit where it is closed.
    gate: Mutex<Option<Arc<Semaphore>>>,
}

/// A memory whose operations fail, hang and lose their acknowledgements.
#[derive(Clone, Default)]
pub(crate) struct Faulty {
    memory: Arc<Mutex<Arc<Memory>>>,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Every operation fails.
    pub(crate) down: bool,
    /// Every operation hangs.
    pub(crate) hangs: bool,
    /// `swap` alone fails.
    pub(crate) read_only: bool,
    /// `swap` takes effect, and its acknowledgement is lost.
    pub(crate) deaf: bool,
    /// `lease` takes effect when a lease is taken, and its answer is lost.
    pub(crate) mute_lease: bool,
    /// The acknowledgement of a `swap` that took effect takes this long.
    pub(crate) late: Duration,
    /// `swap` takes effect after this time, even if it is dropped.
    pub(crate) slow: Duration,
    /// Another process has taken the lease, even if it was held.
    pub(crate) lease_taken: bool,
}

/// The access tokens that the hook of a session was given after a logout.
#[derive(Clone, Default)]
pub(crate) struct Revoked(Arc<Mutex<Vec<String>>>);

pub(crate) type Driver<S = Faulty> = Stored<Endpoint, S>;

/// A directory that does not exist yet.
pub(crate) fn temporary(name: &str) -> PathBuf {
    use std::hash::{BuildHasher, Hasher, RandomState};

    let unique = RandomState::new().build_hasher().finish();
    let path = std::env::temp_dir().join("tower-refresh-tests");
    path.join(format!("{name}-{}-{unique:016x}", std::process::id()))
}

/// A login with a token that is good for an hour, or has expired an hour ago.
pub(crate) fn token(number: usize, is_fresh: bool) -> Token {
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    Token::bearer(format!("at-{number}"))
        .unwrap()
        .with_refresh_token(format!("rt-{number}"))
        .with_expires_at(if is_fresh { now + hour } else { now - hour })
}

/// A session over a store, and its driver.
pub(crate) fn replica<S: Store>(endpoint: &Endpoint, store: S) -> (Session, Driver<S>) {
    let driver = Stored::new(endpoint.clone(), store, "ann");
    (Session::builder(driver.clone()).build(), driver)
}

pub(crate) fn access_token(session: &Session) -> Option<String> {
    session.credential().map(|token| token.access_token().to_owned())
}

/// Writes a record over the version that was seen.
pub(crate) async fn write<S: Store>(
    store: &S,
    name: &str,
    seen: Option<Version>,
    content: &[u8],
) -> Version {
    match store.swap(name, seen, Some(Bytes::copy_from_slice(content))).await.unwrap() {
        Swapped::Done(version) => version,
        other => panic!("{other:?}"),
    }
}

/// A record that was altered, with a check sum that is right: it is no protection.
pub(crate) fn forged(whole: &[u8], alter: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = whole[..whole.len() - 8].to_vec();
    alter(&mut bytes);
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// Lets every task run that can, on a current-thread runtime.
pub(crate) async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

impl Endpoint {
    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn reused(&self) -> usize {
        self.0.reused.load(Ordering::SeqCst)
    }

    pub(crate) fn refuse(&self) {
        self.0.refuses.store(1, Ordering::SeqCst);
    }

    /// Answers wait until the gate is opened.
    pub(crate) fn close(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.0.gate.lock().unwrap() = Some(gate.clone());
        gate
    }
}

impl Refresher for Endpoint {
    fn refresh(&self, context: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        Box::pin(async move {
            let presented = context.current().and_then(|token| token.refresh_token());
            let presented = presented.ok_or_else(|| RefreshError::terminal("no refresh token"))?;
            let number = self.0.calls.fetch_add(1, Ordering::SeqCst) + 1;
            if !self.0.used.lock().unwrap().insert(presented.to_owned()) {
                self.0.reused.fetch_add(1, Ordering::SeqCst);
                return Err(RefreshError::terminal("invalid_grant"));
            }
            let gate = self.0.gate.lock().unwrap().clone();
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            tokio::task::yield_now().await;
            if self.0.refuses.load(Ordering::SeqCst) > 0 {
                return Err(RefreshError::terminal("invalid_grant"));
            }
            Ok(token(100 + number, true))
        })
    }
}

impl Faulty {
    pub(crate) fn set(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    /// The memory, without faults.
    pub(crate) fn memory(&self) -> Arc<Memory> {
        self.memory.lock().unwrap().clone()
    }

    /// Puts another memory, with this one record, in the place of this one.
    pub(crate) async fn fail_over_to(&self, name: &str, record: Record) {
        let memory = Arc::new(Memory::new());
        memory.swap(name, None, Some(record.bytes().clone())).await.unwrap();
        *self.memory.lock().unwrap() = memory;
    }

    pub(crate) fn heal(&self) {
        self.set(Faults::default());
    }

    async fn pass(&self) -> Result<Faults, StoreError> {
        let faults = *self.faults.lock().unwrap();
        if faults.hangs {
            std::future::pending::<()>().await;
        }
        if faults.down { Err(StoreError::unavailable("it is down")) } else { Ok(faults) }
    }
}

impl Store for Faulty {
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            self.pass().await?;
            self.memory().load(name).await
        })
    }

    fn swap<'a>(
        &'a self,
        name: &'a str,
        seen: Option<Version>,
        next: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Swapped, StoreError>> {
        Box::pin(async move {
            let faults = self.pass().await?;
            if faults.read_only {
                return Err(StoreError::denied("it is read-only"));
            }
            let (memory, name) = (self.memory(), name.to_owned());
            // In a task of its own: it takes effect even after its deadline.
            let task = tokio::spawn(async move {
                time::sleep(faults.slow).await;
                memory.swap(&name, seen, next).await
            });
            let swapped = task.await.unwrap();
            if matches!(swapped, Ok(Swapped::Done(_))) {
                time::sleep(faults.late).await;
            }
            if faults.deaf {
                std::future::pending::<()>().await;
            }
            swapped
        })
    }

    fn lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Leased, StoreError>> {
        Box::pin(async move {
            let faults = self.pass().await?;
            if faults.lease_taken && !ttl.is_zero() {
                return Ok(Leased::Busy(ttl));
            }
            let leased = self.memory().lease(name, holder, ttl).await;
            if faults.mute_lease && !ttl.is_zero() {
                std::future::pending::<()>().await;
            }
            leased
        })
    }

    fn changed<'a>(&'a self, name: &'a str, seen: Option<Version>) -> BoxFuture<'a, ()> {
        let memory = self.memory();
        Box::pin(async move { memory.changed(name, seen).await })
    }
}

impl Revoked {
    /// A hook that notes the access token of the login that ended.
    pub(crate) fn hook(&self) -> impl Fn(EndedLogin) -> Ready<()> + Send + Sync + 'static {
        let tokens = self.0.clone();
        move |end| {
            let token = end.credential().map(|token| token.access_token().to_owned());
            assert!(matches!(end.reason(), EndReason::Logout));
            tokens.lock().unwrap().extend(token);
            ready(())
        }
    }

    pub(crate) fn tokens(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
