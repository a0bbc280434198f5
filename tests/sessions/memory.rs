//! A bound on the memory that the driver of a store adds to a session.

// The bounds hold for pointers of 64 bits.
#![cfg(target_pointer_width = "64")]

// A bench measures a million users over the same store.
#[path = "../../benches/support/sink.rs"]
mod sink;

use std::{
    ops::{Add, Sub},
    sync::Arc,
    time::Duration,
};

use sink::Sink;
use tokio::runtime::Runtime;
use tower_refresh::{
    RefreshContext, Refresher, Session, Token, refresher_fn,
    sessions::{Sessions, SessionsBuilder},
    store::{Memory, Store, Stored},
};

use crate::support::settle_tasks;

/// The memory of some users, or by which it differs from that of others.
#[derive(Clone, Copy, Debug)]
struct Cost {
    bytes: i64,
    allocations: i64,
}

/// The driver (168 bytes), and the name of its record: 16 bytes and nine of the name, rounded up to
/// 32. The goal is at most 200 bytes.
const DRIVER: Cost = Cost { bytes: 200, allocations: 2 };

const USERS: i64 = 1000;

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

fn builder() -> SessionsBuilder<i64> {
    // A registry of this capacity has one map, which grows the same way each time.
    Sessions::builder(Session::builder(exchange()).template()).capacity(1000)
}

fn stored(store: impl Store) -> Sessions<i64> {
    let driver = Stored::new(exchange(), store, "");
    builder().stored(move |user| driver.with_name(name(user))).build()
}

/// The name of a record, which has nine bytes.
fn name(user: &i64) -> String {
    format!("user/{user:04}")
}

/// The memory of all users after an action of each, once no task runs any more.
fn of_all(runtime: &Runtime, act: impl AsyncFn(&i64)) -> Cost {
    let act = &act;
    let held = allocation_counter::measure(|| {
        for user in 0..USERS {
            runtime.block_on(async {
                act(&user).await;
                settle_tasks().await;
            });
        }
    });
    Cost { bytes: held.bytes_current, allocations: held.count_current }
}

fn login(runtime: &Runtime, sessions: &Sessions<i64>) -> Cost {
    of_all(runtime, async |user| drop(sessions.login(user, token()).await.unwrap()))
}

fn load(runtime: &Runtime, sessions: &Sessions<i64>) -> Cost {
    of_all(runtime, async |user| {
        let session = sessions.get(user).await.unwrap();
        // The first copy, as above.
        drop(Token::clone(&session.credential().unwrap()));
    })
}

fn refresh(runtime: &Runtime, sessions: &Sessions<i64>, store: &Memory) -> Cost {
    of_all(runtime, async |user| {
        drop(sessions.peek(user).unwrap().refresh().await.unwrap());
        // The first copy, as above.
        drop(store.load(&name(user)).await.unwrap());
    })
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn assert_within(of_all: Cost, bound: Cost) {
    let each = |total: i64| (total + USERS / 2) / USERS;
    let cost = Cost { bytes: each(of_all.bytes), allocations: each(of_all.allocations) };
    let is_within = cost.bytes <= bound.bytes && cost.allocations <= bound.allocations;
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

    let plain = builder().load(async |user: i64| Ok(Some((user, token())))).build();
    let in_store = stored(memory.clone());
    let (mut unstored, mut stored) = (load(&runtime, &plain), load(&runtime, &in_store));
    assert_within(stored - unstored, DRIVER);
    unstored = unstored + refresh(&runtime, &plain, &memory);
    stored = stored + refresh(&runtime, &in_store, &memory);
    assert_within(stored - unstored, DRIVER);
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
