//! A credential, or the cause of an error, whose `Drop` calls the driver.

use std::{
    error, fmt,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::request;
use tokio::time;
use tower_refresh::{
    Credential, RefreshContext, Refresher, Session,
    refresher::BoxFuture,
    refresher_fn,
    store::{Codec, Leased, Memory, Record, Store, StoreError, Stored, Swapped, Version},
};

use crate::support::settle;

type Driver = Stored<Arc<dyn Refresher<Key>>, Arc<Troubled>, Key>;
type Meanwhile = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// Calls the drivers from each `Drop`, and notes whether a lock was held.
#[derive(Default)]
struct Probe {
    call: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
    calls: AtomicUsize,
    is_blocked: AtomicBool,
}

/// A credential.
#[derive(Clone)]
struct Key {
    number: u8,
    probe: Arc<Probe>,
}

struct KeyCodec(Arc<Probe>);

/// A memory that refuses some writes.
struct Troubled {
    memory: Memory,
    failures: AtomicUsize,
    probe: Arc<Probe>,
}

/// The cause of an error of a store.
struct Cause(Arc<Probe>);

/// Two drivers of one record, and their sessions.
struct Replicas {
    store: Arc<Troubled>,
    probe: Arc<Probe>,
    ours: (Driver, Session<Key>),
    theirs: (Driver, Session<Key>),
    /// Runs during the next exchange.
    meanwhile: Arc<Mutex<Option<Meanwhile>>>,
}

impl Replicas {
    fn new() -> Self {
        let (probe, meanwhile) = <(Arc<Probe>, Arc<Mutex<Option<Meanwhile>>>)>::default();
        let store = Arc::new(Troubled {
            memory: Memory::new(),
            failures: AtomicUsize::new(0),
            probe: probe.clone(),
        });
        let refresher: Arc<dyn Refresher<Key>> = Arc::new(refresher_fn({
            let (probe, meanwhile) = (probe.clone(), meanwhile.clone());
            move |context: RefreshContext<Key>| {
                let number = context.current().map_or(0, |key| key.number) + 1;
                let key = Key { number, probe: probe.clone() };
                let meanwhile = meanwhile.lock().unwrap().take();
                async move {
                    if let Some(meanwhile) = meanwhile {
                        meanwhile().await;
                    }
                    Ok(key)
                }
            }
        }));
        let replica = || {
            let codec = KeyCodec(probe.clone());
            let driver =
                Stored::builder_with(refresher.clone(), store.clone(), "ann", codec).build();
            (driver.clone(), Session::builder(driver).build())
        };
        let (ours, theirs) = (replica(), replica());
        let drivers = [ours.0.clone(), theirs.0.clone()];
        let call = Box::new(move || drivers.iter().all(Driver::is_saved));
        assert!(probe.call.set(call).is_ok());
        Self { store, probe, ours, theirs, meanwhile }
    }

    fn key(&self, number: u8) -> Key {
        Key { number, probe: self.probe.clone() }
    }

    /// Lets all tasks end. Some credential was dropped since the last check, under no lock.
    async fn check(&self, step: &str) {
        settle().await;
        assert!(!self.probe.is_blocked.load(Ordering::SeqCst), "{step}");
        assert!(self.probe.calls.swap(0, Ordering::SeqCst) > 0, "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_credential_and_no_error_is_dropped_under_the_lock_of_a_driver() {
    let replicas = Replicas::new();
    let ((ours, our_session), (theirs, their_session)) = (&replicas.ours, &replicas.theirs);
    ours.login(our_session, replicas.key(1)).await.unwrap();
    ours.login(our_session, replicas.key(11)).await.unwrap();
    replicas.check("a login in the place of another one").await;
    theirs.open(their_session).await.unwrap();
    our_session.refresh().await.unwrap();
    replicas.check("an exchange").await;
    theirs.open(their_session).await.unwrap();
    replicas.check("a look that finds a newer credential").await;
    theirs.open(their_session).await.unwrap();
    replicas.check("a look that finds the known credential").await;

    replicas.store.failures.store(2, Ordering::SeqCst);
    our_session.refresh().await.unwrap();
    time::sleep(Duration::from_secs(60)).await;
    replicas.check("a save that fails twice").await;
    theirs.login(their_session, replicas.key(21)).await.unwrap();
    replicas.check("a login in the place of a newer credential").await;
    our_session.refresh().await.unwrap();
    replicas.check("a refresh that finds another login").await;

    let logout = replicas.theirs.clone();
    *replicas.meanwhile.lock().unwrap() = Some(Box::new(move || {
        let (driver, session) = logout;
        Box::pin(async move { driver.logout(&session).await.unwrap() })
    }));
    assert!(our_session.refresh().await.is_err());
    replicas.check("an exchange that loses to a logout").await;

    ours.login(our_session, replicas.key(31)).await.unwrap();
    theirs.open(their_session).await.unwrap();
    let record = replicas.store.memory.load("ann").await.unwrap().unwrap();
    drop(replicas.store.memory.swap("ann", Some(record.version()), None).await.unwrap());
    replicas.check("a login in the place of a tombstone").await;
    theirs.open(their_session).await.unwrap();
    replicas.check("a record that has vanished").await;
    ours.logout(our_session).await.unwrap();
    replicas.check("a logout").await;
}

// === impl Probe ===

impl Probe {
    fn run(self: &Arc<Self>) {
        if self.call.get().is_none() || self.is_blocked.load(Ordering::SeqCst) {
            return;
        }
        self.calls.fetch_add(1, Ordering::SeqCst);
        let (running, is_running) = mpsc::channel::<()>();
        let probe = self.clone();
        // On another thread, so that a lock that is held here fails the test instead of hanging it.
        let calling = thread::spawn(move || {
            probe.call.get().unwrap()();
            drop(running);
        });
        match is_running.recv_timeout(Duration::from_secs(10)) {
            Err(RecvTimeoutError::Timeout) => self.is_blocked.store(true, Ordering::SeqCst),
            _ => calling.join().unwrap(),
        }
    }
}

// === impl Key ===

impl Credential for Key {
    fn apply(&self, _: &mut request::Parts) {}

    fn is_same(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.probe.run();
    }
}

// === impl KeyCodec ===

impl Codec<Key> for KeyCodec {
    fn encode(&self, key: &Key, _: SystemTime) -> Result<Bytes, StoreError> {
        Ok(Bytes::copy_from_slice(&[key.number]))
    }

    fn decode(&self, bytes: &[u8]) -> Result<Key, StoreError> {
        Ok(Key { number: bytes[0], probe: self.0.clone() })
    }
}

// === impl Troubled ===

impl Store for Troubled {
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        self.memory.load(name)
    }

    fn swap<'a>(
        &'a self,
        name: &'a str,
        seen: Option<Version>,
        next: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Swapped, StoreError>> {
        let less = |count: usize| count.checked_sub(1);
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            let cause = Cause(self.probe.clone());
            return Box::pin(async { Err(StoreError::unavailable(cause)) });
        }
        self.memory.swap(name, seen, next)
    }

    fn lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Leased, StoreError>> {
        self.memory.lease(name, holder, ttl)
    }
}

// === impl Cause ===

impl error::Error for Cause {}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cause")
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the write was refused")
    }
}

impl Drop for Cause {
    fn drop(&mut self) {
        self.0.run();
    }
}
