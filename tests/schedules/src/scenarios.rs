//! The scenarios. Each one is run from its start under every schedule.

use std::time::Duration;

use tokio::{model, runtime::Runtime, task::yield_now};
use tower_refresh::{
    ErrorKind,
    session::{EndReason, Phase},
};

use crate::world::{Answer, FIRST, World, token};

pub struct Scenario {
    pub name: &'static str,
    body: fn(),
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        pub const SCENARIOS: &[Scenario] = &[$(Scenario {
            name: stringify!($name),
            body: $name,
        }),*];
    };
}

scenarios![
    g01_a_rejected_herd_causes_one_flight,
    g03_a_late_rejection_causes_no_second_flight,
    g04_a_logout_fences_the_flight,
    g04_a_login_fences_the_flight_of_the_last_one,
    g04_a_replacement_fences_the_flight,
    g05_a_panic_of_the_refresher_settles_the_flight,
    g05_a_silent_refresher_is_timed_out,
    g05_a_runtime_that_shuts_down_settles_its_flights,
    g05_the_end_of_the_pause_between_attempts_wakes_the_flight,
    g06_a_caller_that_leaves_cancels_no_flight,
    g06_callers_that_all_leave_cancel_no_flight,
    g08_all_waiters_get_the_failure,
    g08_a_flight_that_follows_another_is_settled_by_itself,
    g09_a_refusal_ends_the_login_once,
    g09_a_logout_without_a_flight_stops_the_requests,
    g09_a_caller_that_knows_of_the_end_sends_nothing,
    g10_the_hook_gets_the_credential_of_a_fenced_flight,
    g01_acquire_and_requests_share_the_first_flight,
    g02_a_watcher_sees_the_last_state,
    g05_waiters_beyond_the_limit_fail_and_leave_no_permit,
    g05_keep_fresh_ends_with_the_session,
];

impl Scenario {
    pub fn run(&self) {
        model::reset();
        // The jitter of the back-off is the only random number of the session.
        fastrand::seed(0);
        (self.body)();
    }
}

fn renew(_: usize) -> Answer {
    Answer::Renew
}

fn g01_a_rejected_herd_causes_one_flight() {
    herd(3, 1);
}

fn g03_a_late_rejection_causes_no_second_flight() {
    herd(2, 2);
}

/// Some tasks that send some requests each.
fn herd(tasks: usize, each: usize) {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        let session = world.session(renew);
        let senders: Vec<_> = (0..tasks)
            .map(|task| {
                let (world, mut client) = (world.clone(), world.client(&session));
                tokio::spawn(async move {
                    for request in 0..each {
                        let sent = world.send(&mut client, task * each + request).await;
                        assert_eq!(sent, Ok(()), "g8: each waiter is replayed");
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.await.expect("the sender is not cancelled");
        }
        world.settle(&[&runtime], &session).await;
        assert_eq!(world.refreshes(), 1, "g1: one refresh for the herd");
        assert_eq!(session.state().flights_started(), 1, "g1: one flight for the herd");
    });
}

fn g04_a_logout_fences_the_flight() {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        let session = world.session(renew);
        let senders = [0, 1].map(|task| {
            let (world, mut client) = (world.clone(), world.client(&session));
            tokio::spawn(async move {
                for request in 0..2 {
                    let sent = world.send(&mut client, task * 2 + request).await;
                    assert!(matches!(sent, Ok(()) | Err(ErrorKind::LoggedOut)), "{sent:?}");
                }
            })
        });
        drop(world.end("ann", || session.logout()));
        let after = world.send(&mut world.client(&session), 9).await;
        assert_eq!(after, Err(ErrorKind::LoggedOut), "g9: the end is the end");
        for sender in senders {
            sender.await.expect("the sender is not cancelled");
        }
        world.settle(&[&runtime], &session).await;
        let state = session.state();
        assert!(state.credential().is_none(), "g4: a fenced flight changes nothing");
        assert!(matches!(state.phase(), Phase::LoggedOut(EndReason::Logout)));
        assert_eq!(world.hooks().len(), 1, "g9: the hook runs once");
        assert!(world.refreshes() <= 1, "g1: one refresh at most");
    });
}

fn g04_a_login_fences_the_flight_of_the_last_one() {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        world.accept("bob-1");
        let session = world.session(renew);
        let senders = [0, 1].map(|task| {
            let (world, mut client) = (world.clone(), world.client(&session));
            tokio::spawn(async move {
                for request in 0..2 {
                    let sent = world.send(&mut client, task * 2 + request).await;
                    assert!(matches!(sent, Ok(()) | Err(ErrorKind::LoginChanged)), "{sent:?}");
                }
            })
        });
        world.end("ann", || session.login(token("bob-1")));
        for sender in senders {
            sender.await.expect("the sender is not cancelled");
        }
        world.settle(&[&runtime], &session).await;
        let last = session.credential().expect("bob is logged in");
        assert_eq!(last.access_token(), "bob-1", "g4: a fenced flight changes nothing");
        assert!(world.hooks().is_empty(), "g9: no hook for a login that another one replaces");
    });
}

fn g04_a_replacement_fences_the_flight() {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        world.accept("ann-2");
        let session = world.session(renew);
        let login = session.state().login();
        let senders = [0, 1].map(|number| {
            let (world, mut client) = (world.clone(), world.client(&session));
            tokio::spawn(async move { world.send(&mut client, number).await })
        });
        session.replace(login, token("ann-2")).expect("ann is still logged in");
        let generation = session.state().generation();
        for sender in senders {
            let sent = sender.await.expect("the sender is not cancelled");
            assert_eq!(sent, Ok(()), "g8: waiters go on with the replacement");
        }
        world.settle(&[&runtime], &session).await;
        assert_eq!(session.state().generation(), generation, "g4: the late result is dropped");
        let last = session.credential().expect("ann is logged in");
        assert_eq!(last.access_token(), "ann-2", "g4: the late result is dropped");
    });
}

fn g05_a_panic_of_the_refresher_settles_the_flight() {
    failing(|_| Answer::Panic, ErrorKind::RefreshFailed);
}

fn g08_all_waiters_get_the_failure() {
    failing(|_| Answer::Fail, ErrorKind::RefreshFailed);
}

/// A herd whose refresh fails.
fn failing(answer: fn(usize) -> Answer, kind: ErrorKind) {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        let session = world.session(answer);
        let senders = [0, 1, 2].map(|number| {
            let (world, mut client) = (world.clone(), world.client(&session));
            tokio::spawn(async move { world.send(&mut client, number).await })
        });
        for sender in senders {
            let sent = sender.await.expect("the sender is not cancelled");
            assert_eq!(sent, Err(kind), "g8: one answer for all");
        }
        world.settle(&[&runtime], &session).await;
        assert_eq!(world.refreshes(), 1, "g3: a failure answers late rejections too");
        let last = session.credential().expect("g5: a failure ends no login");
        assert_eq!(last.access_token(), FIRST);
    });
}

fn g05_a_silent_refresher_is_timed_out() {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        let session = world.session(|_| Answer::Hang);
        let senders = [0, 1].map(|number| {
            let (world, mut client) = (world.clone(), world.client(&session));
            tokio::spawn(async move { world.send(&mut client, number).await })
        });
        while session.state().flights_started() == 0 || world.refreshes() == 0 {
            yield_now().await;
        }
        model::advance(Duration::from_secs(30));
        for sender in senders {
            let sent = sender.await.expect("the sender is not cancelled");
            assert_eq!(sent, Err(ErrorKind::RefreshFailed), "g5: the time-out settles the flight");
        }
        world.settle(&[&runtime], &session).await;
    });
}

fn g05_a_runtime_that_shuts_down_settles_its_flights() {
    let runtime = Runtime::new();
    let other = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        let session = world.session(renew);
        let on_other = {
            let (world, mut client) = (world.clone(), world.client(&session));
            other.spawn(async move { world.send(&mut client, 0).await })
        };
        let here = {
            let (world, mut client) = (world.clone(), world.client(&session));
            tokio::spawn(async move { world.send(&mut client, 1).await })
        };
        other.shut_down();
        if let Ok(sent) = on_other.await {
            assert!(matches!(sent, Ok(()) | Err(ErrorKind::RefreshFailed)), "{sent:?}");
        }
        let sent = here.await.expect("its runtime still runs");
        assert!(matches!(sent, Ok(()) | Err(ErrorKind::RefreshFailed)), "{sent:?}");
        world.settle(&[&runtime, &other], &session).await;
        assert!(session.credential().is_some(), "g5: a shut-down ends no login");
    });
}

fn g05_the_end_of_the_pause_between_attempts_wakes_the_flight() {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        let session =
            world.session(|turn| if turn == 1 { Answer::Unprocessed } else { Answer::Renew });
        let senders = [0, 1].map(|number| {
            let (world, mut client) = (world.clone(), world.client(&session));
            tokio::spawn(async move { world.send(&mut client, number).await })
        });
        while world.refreshes() < 2 {
            yield_now().await;
            model::advance(Duration::from_millis(200));
        }
        for sender in senders {
            assert_eq!(sender.await.expect("the sender is not cancelled"), Ok(()));
        }
        world.settle(&[&runtime], &session).await;
        assert_eq!(session.state().flights_started(), 1, "g1: two attempts of one flight");
    });
}

fn g06_a_caller_that_leaves_cancels_no_flight() {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        let session = world.session(renew);
        let [leaves, stays] = [0, 1].map(|number| {
            let (world, mut client) = (world.clone(), world.client(&session));
            tokio::spawn(async move { world.send(&mut client, number).await })
        });
        leaves.abort();
        assert_eq!(stays.await.expect("this one is not cancelled"), Ok(()));
        drop(leaves.await);
        world.settle(&[&runtime], &session).await;
        assert_eq!(world.refreshes(), 1, "g6: the other caller's refresh goes on");
    });
}

fn g06_callers_that_all_leave_cancel_no_flight() {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        let session = world.session(renew);
        let senders = [0, 1].map(|number| {
            let (world, mut client) = (world.clone(), world.client(&session));
            tokio::spawn(async move { world.send(&mut client, number).await })
        });
        for sender in &senders {
            sender.abort();
        }
        for sender in senders {
            drop(sender.await);
        }
        world.settle(&[&runtime], &session).await;
        let started = session.state().flights_started();
        assert!(started <= 1, "g1: one flight at most");
        assert_eq!(world.renewed().len() as u64, started, "g6: the flight completes");
        assert_eq!(world.send(&mut world.client(&session), 2).await, Ok(()));
        assert_eq!(world.refreshes(), 1, "g6: its credential is not lost");
    });
}

fn g08_a_flight_that_follows_another_is_settled_by_itself() {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        let session = world.session(renew);
        let refreshers = [0, 1].map(|_| tokio::spawn(session.refresh()));
        let first = session.refresh().await.expect("the issuer renews");
        let second = session.refresh().await.expect("the issuer renews");
        assert_ne!(first.access_token(), FIRST);
        for refresher in refreshers {
            let renewed = refresher.await.expect("no task is cancelled");
            assert_ne!(renewed.expect("the issuer renews").access_token(), FIRST);
        }
        world.settle(&[&runtime], &session).await;
        let last = session.credential().expect("ann is logged in");
        assert_eq!(last.access_token(), world.renewed().last().expect("it was renewed"));
        assert!(session.state().flights_started() >= 1);
        drop(second);
    });
}

fn g09_a_refusal_ends_the_login_once() {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        let session = world.session(|_| Answer::Refuse);
        let senders = [0, 1].map(|task| {
            let (world, mut client) = (world.clone(), world.client(&session));
            tokio::spawn(async move {
                for request in 0..2 {
                    let number = task * 2 + request;
                    let sent = world.send(&mut client, number).await;
                    assert_eq!(sent, Err(ErrorKind::LoggedOut), "g9: the end is the end");
                    world.end("ann", || ());
                    let attempts = world.sent(number).len();
                    assert!(attempts <= 1 - request, "g9: the second request is not sent");
                }
            })
        });
        for sender in senders {
            sender.await.expect("the sender is not cancelled");
        }
        world.settle(&[&runtime], &session).await;
        assert_eq!(world.refreshes(), 1, "g1: one refresh for the herd");
        assert_eq!(world.hooks(), [Some(FIRST.to_owned())], "g9: the hook runs once");
    });
}

/// The upstream accepts every token, so that no flight wakes anything.
fn g09_a_logout_without_a_flight_stops_the_requests() {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        world.accept(FIRST);
        let session = world.session(renew);
        let sender = {
            let (world, mut client) = (world.clone(), world.client(&session));
            tokio::spawn(async move {
                for number in 0..3 {
                    let sent = world.send(&mut client, number).await;
                    assert!(matches!(sent, Ok(()) | Err(ErrorKind::LoggedOut)), "{sent:?}");
                }
            })
        };
        world.end("ann", || session.logout()).await;
        assert_eq!(world.hooks().len(), 1, "g9: the future of the logout waits for the hook");
        sender.await.expect("the sender is not cancelled");
        world.settle(&[&runtime], &session).await;
        assert_eq!(world.refreshes(), 0);
    });
}

/// The outcome of a flight is never newer than the state that a request looks at.
fn g09_a_caller_that_knows_of_the_end_sends_nothing() {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        world.accept(FIRST);
        let session = world.session(renew);
        let caller = {
            let (world, mut client) = (world.clone(), world.client(&session));
            let session = session.clone();
            tokio::spawn(async move {
                let refresh = session.refresh();
                // From here on the client knows the state of the flight.
                let sent = world.send(&mut client, 0).await;
                assert!(matches!(sent, Ok(()) | Err(ErrorKind::LoggedOut)), "{sent:?}");
                if let Err(error) = refresh.await {
                    assert_eq!(error.kind(), ErrorKind::LoggedOut);
                    world.end("ann", || ());
                    let sent = world.send(&mut client, 1).await;
                    assert_eq!(sent, Err(ErrorKind::LoggedOut), "g9: the end is the end");
                }
            })
        };
        drop(session.logout());
        caller.await.expect("the caller is not cancelled");
        world.settle(&[&runtime], &session).await;
    });
}

fn g10_the_hook_gets_the_credential_of_a_fenced_flight() {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        let session = world.session(renew);
        let refresh = tokio::spawn(session.refresh());
        let logout = world.end("ann", || session.logout());
        logout.await;
        // A refresh that the logout overtook fails, and so does one that comes later.
        drop(refresh.await.expect("no task is cancelled"));
        world.settle(&[&runtime], &session).await;
        let newest = world.renewed().pop().unwrap_or_else(|| FIRST.to_owned());
        assert_eq!(world.hooks(), [Some(newest)], "g10: the hook gets the newest credential");
    });
}

fn g01_acquire_and_requests_share_the_first_flight() {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        let session = world.builder(renew).acquire_on_demand(true).build();
        let acquire = tokio::spawn(session.acquire());
        let sender = {
            let (world, mut client) = (world.clone(), world.client(&session));
            tokio::spawn(async move { world.send(&mut client, 0).await })
        };
        let acquired = acquire.await.expect("no task is cancelled").expect("the issuer renews");
        assert_eq!(sender.await.expect("no task is cancelled"), Ok(()));
        world.settle(&[&runtime], &session).await;
        assert_eq!(world.refreshes(), 1, "g1: one flight for both");
        let last = session.credential().expect("there is a login");
        assert_eq!(last.access_token(), acquired.access_token());
    });
}

fn g02_a_watcher_sees_the_last_state() {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        world.accept("bob-1");
        let session = world.session(renew);
        let watch = |world: World, mut watcher: tower_refresh::session::Watcher| {
            tokio::spawn(async move {
                let (mut last, mut generation) = (None, watcher.state().generation());
                world.see(&watcher.state(), &mut last);
                while last.as_deref() != Some("bob-1") {
                    let state = watcher.changed().await.expect("the session lives");
                    assert!(state.generation() >= generation, "g2: generations only grow");
                    generation = state.generation();
                    world.see(&state, &mut last);
                }
            })
        };
        let watcher = watch(world.clone(), session.subscribe());
        let refresh = tokio::spawn(session.refresh());
        session.login(token("bob-1"));
        // A lost wake-up leaves the watcher asleep, which the scheduler reports as a deadlock.
        watcher.await.expect("the watcher is not cancelled");
        let refreshed = refresh.await.expect("no task is cancelled");
        if let Err(error) = refreshed {
            assert_eq!(error.kind(), ErrorKind::LoginChanged);
        }
        world.settle(&[&runtime], &session).await;
    });
}

fn g05_waiters_beyond_the_limit_fail_and_leave_no_permit() {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        let session = world.builder(renew).credential(token(FIRST)).max_waiters(1).build();
        let senders = [0, 1, 2].map(|number| {
            let (world, mut client) = (world.clone(), world.client(&session));
            tokio::spawn(async move { world.send(&mut client, number).await })
        });
        let mut answered = 0;
        for sender in senders {
            match sender.await.expect("the sender is not cancelled") {
                Ok(()) => answered += 1,
                Err(kind) => assert_eq!(kind, ErrorKind::Overloaded),
            }
        }
        assert!(answered >= 1, "one request may always wait");
        world.settle(&[&runtime], &session).await;
        assert_eq!(world.refreshes(), 1, "g1: one refresh");
    });
}

fn g05_keep_fresh_ends_with_the_session() {
    let runtime = Runtime::new();
    runtime.block_on(async {
        let world = World::default();
        let session = world.session(renew);
        let keeper = tokio::spawn(session.keep_fresh());
        let refresh = tokio::spawn(session.refresh());
        drop(session);
        drop(refresh.await.expect("no task is cancelled"));
        keeper.await.expect("a task that waits for a session that is gone never ends");
        while !runtime.is_idle() {
            yield_now().await;
        }
    });
}
