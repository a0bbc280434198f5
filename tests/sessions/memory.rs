//! A bound on the memory that the driver of a store adds to a session.

// The bounds hold for pointers of 64 bits.
#![cfg(target_pointer_width = "64")]

use std::{
    ops::{Add, Sub},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::runtime::Runtime;
use tower_refresh::{
    RefreshContext, Refresher, Session, Token,
    refresher::BoxFuture,
    refresher_fn,
    sessions::{Sessions, SessionsBuilder},
    store::{Leased, Memory, Record, Store, StoreError, Stored, Swapped, Version},
};

use crate::support::settle_tasks;

/// A store that takes no memory: it acknowledges everything, and has nothing.
#[derive(Default)]
struct Sink(AtomicU64);

impl Store for Sink {
    fn load<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn swap<'a>(
        &'a self,
        _: &'a str,
        _: Option<Version>,
        _: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Swapped, StoreError>> {
        let version = Version::from_u64(self.0.fetch_add(1, Relaxed));
        Box::pin(async move { Ok(Swapped::Done(version)) })
    }

    fn lease<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: Duration,
    ) -> BoxFuture<'a, Result<Leased, StoreError>> {
        Box::pin(async { Ok(Leased::Held) })
    }
}

/// The memory of one user that is beyond that of another.
#[derive(Clone, Copy, Debug)]
struct Cost {
    bytes: f64,
    allocations: f64,
}

/// The driver, the name of its record, and the handle that the registry has of it.
const DRIVER: Cost = Cost { bytes: 232.0, allocations: 3.0 };
/// A credential that a refresh brought: the driver and the session do not share the handle.
const REFRESHED: Cost = Cost { bytes: 320.0, allocations: 4.0 };

/// The bytes by which a user may exceed its bound.
const HEADROOM: f64 = 8.0;
const USERS: u64 = 1000;

fn token() -> Token {
    let token = Token::bearer("a".repeat(400))
        .unwrap()
        .with_refresh_token("r".repeat(100))
        .with_expires_in(Duration::from_secs(3600));
    // The first copy of a `HeaderValue` allocates its counter.
    drop(token.clone());
    token
}

fn exchange() -> impl Refresher {
    refresher_fn(|_: RefreshContext| async { Ok(token()) })
}

fn builder() -> SessionsBuilder<u64> {
    // A registry of this capacity has one map, which grows the same way each time.
    Sessions::builder(Session::builder(exchange()).template()).capacity(1000)
}

fn stored(store: impl Store) -> Sessions<u64> {
    let driver = Stored::new(exchange(), store, "");
    builder().stored(move |user| driver.with_name(name(user))).build()
}

/// The name of a record, which has nine bytes.
fn name(user: &u64) -> String {
    format!("user/{user:04}")
}

/// The memory of a user after an action of each, once no task runs any more.
fn of_each(runtime: &Runtime, act: impl AsyncFn(&u64)) -> Cost {
    let act = &act;
    let held = allocation_counter::measure(|| {
        for user in 0..USERS {
            runtime.block_on(async {
                act(&user).await;
                settle_tasks().await;
            });
        }
    });
    let of_each = |total: i64| total as f64 / USERS as f64;
    Cost { bytes: of_each(held.bytes_current), allocations: of_each(held.count_current) }
}

fn login(runtime: &Runtime, sessions: &Sessions<u64>) -> Cost {
    of_each(runtime, async |user| drop(sessions.login(user, token()).await.unwrap()))
}

fn load(runtime: &Runtime, sessions: &Sessions<u64>) -> Cost {
    of_each(runtime, async |user| {
        let session = sessions.get(user).await.unwrap();
        // The first copy, as above.
        drop(Token::clone(&session.credential().unwrap()));
    })
}

fn refresh(runtime: &Runtime, sessions: &Sessions<u64>, store: &Memory) -> Cost {
    of_each(runtime, async |user| {
        drop(sessions.peek(user).unwrap().refresh().await.unwrap());
        // The first copy, as above.
        drop(store.load(&name(user)).await.unwrap());
    })
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn assert_within(cost: Cost, bound: Cost) {
    let is_within =
        cost.bytes <= bound.bytes + HEADROOM && (cost.allocations - bound.allocations).abs() < 0.5;
    assert!(is_within, "{cost:?}, and not {bound:?}");
}

#[test]
fn a_driver_at_rest_after_a_login_takes_few_bytes() {
    let runtime = runtime();
    let plain = login(&runtime, &builder().build());
    let stored = login(&runtime, &stored(Sink::default()));
    assert_within(stored - plain, DRIVER);
}

#[test]
fn a_driver_at_rest_after_a_load_and_a_refresh_takes_few_bytes() {
    let runtime = runtime();
    let memory = Arc::new(Memory::new());
    login(&runtime, &stored(memory.clone()));
    // The first copy of each record allocates its counter.
    load(&runtime, &stored(memory.clone()));

    let plain = builder().load(async |user: u64| Ok(Some((user, token())))).build();
    let in_store = stored(memory.clone());
    let (mut unstored, mut stored) = (load(&runtime, &plain), load(&runtime, &in_store));
    assert_within(stored - unstored, DRIVER);
    unstored = unstored + refresh(&runtime, &plain, &memory);
    stored = stored + refresh(&runtime, &in_store, &memory);
    assert_within(stored - unstored, REFRESHED);
}

// === impl Cost ===

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let allocations = self.allocations + other.allocations;
        Self { bytes: self.bytes + other.bytes, allocations }
    }
}

impl Sub for Cost {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let allocations = self.allocations - other.allocations;
        Self { bytes: self.bytes - other.bytes, allocations }
    }
}
