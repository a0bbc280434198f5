use tower_refresh::{Error, ErrorKind, RefreshContext, Session, refresher_fn, sessions::Sessions};

use crate::{
    support::{manual_refresher, settle_tasks, token},
    users::{ManualLoads, bearer, builder, key, log_in, refused, template},
};

fn kind(result: Result<Session, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

async fn visit(sessions: &Sessions<String>, name: &str) -> Result<(), Error> {
    sessions.get(&key(name)).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn a_registry_without_places_is_overloaded() {
    let (template, _) = template();
    let sessions = builder(template).capacity(0).build();
    assert_eq!(kind(sessions.get(&key("ann")).await), ErrorKind::Overloaded);
    assert_eq!(kind(sessions.login(&key("ann"), token("at-1")).await), ErrorKind::Overloaded);
    sessions.logout(&key("ann")).await.unwrap();
    assert!(sessions.is_empty() && sessions.remove(&key("ann")));
}

#[tokio::test(start_paused = true)]
async fn the_session_that_was_not_used_for_the_longest_time_makes_room() {
    let (template, _) = template();
    let sessions = builder(template).capacity(3).build();
    for name in ["a", "b", "c"] {
        visit(&sessions, name).await.unwrap();
    }
    visit(&sessions, "a").await.unwrap();
    visit(&sessions, "d").await.unwrap();
    assert_eq!(sessions.len(), 3);
    assert!(sessions.peek(&key("b")).is_none());
    assert!(["a", "c", "d"].iter().all(|name| sessions.peek(&key(name)).is_some()));
}

#[tokio::test(start_paused = true)]
async fn g20_a_login_that_cannot_be_loaded_again_is_never_forgotten() {
    let (template, ends) = template();
    let sessions = builder(template).capacity(2).build();
    drop(log_in(&sessions, "ann").await);
    drop(log_in(&sessions, "bob").await);
    assert_eq!(kind(sessions.get(&key("eve")).await), ErrorKind::Overloaded);
    assert_eq!(kind(sessions.login(&key("eve"), token("eves")).await), ErrorKind::Overloaded);
    assert!(sessions.peek(&key("ann")).unwrap().credential().is_some());
    assert!(sessions.get(&key("bob")).await.unwrap().credential().is_some());
    assert!(ends.read().is_empty());

    sessions.logout(&key("ann")).await.unwrap();
    assert!(sessions.login(&key("eve"), token("eves")).await.is_ok());
    assert!(sessions.peek(&key("ann")).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_login_that_ended_without_the_registry_makes_room() {
    let sessions: Sessions<u32> = Sessions::builder(refused()).capacity(200).build();
    for user in 0..200 {
        drop(sessions.login(&user, token("at-1")).await.unwrap());
    }
    assert_eq!(
        sessions.get(&999).await.unwrap_err().kind(),
        ErrorKind::Overloaded,
        "all are logged in"
    );
    drop(sessions.peek(&117).unwrap().logout());
    assert!(sessions.get(&999).await.is_ok(), "the place of the logged-out session is found");
    assert!(sessions.peek(&117).is_none());
}

/// The sessions that are in use are older than the one that is not.
#[tokio::test(start_paused = true)]
async fn one_free_session_among_many_that_are_held_makes_room() {
    for held in [1, 31, 32, 63, 64, 65, 100, 500] {
        let capacity = held + 1;
        let guests: Sessions<usize> = Sessions::builder(refused()).capacity(capacity).build();
        let loaded: Sessions<usize> = Sessions::builder(refused())
            .load(|user| async move { Ok(Some((user, token("at-1")))) })
            .capacity(capacity)
            .build();
        for sessions in [guests, loaded] {
            let mut handles = Vec::new();
            for user in 0..held {
                handles.push(sessions.get(&user).await.unwrap());
            }
            drop(sessions.get(&held).await.unwrap());
            settle_tasks().await;
            assert!(sessions.get(&capacity).await.is_ok(), "{held} sessions are held");
            assert!(sessions.peek(&held).is_none());
            assert!((0..held).all(|user| sessions.peek(&user).is_some()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn g20_sessions_that_are_held_or_fly_are_not_evicted() {
    let (refresher, mut flights) = manual_refresher();
    let template = Session::builder(refresher).template();
    let sessions = builder(template).capacity(3).build();
    let held = sessions.get(&key("held")).await.unwrap();
    let flies = log_in(&sessions, "flies").await;
    drop(flies.refresh());
    let flight = flights.next().await;
    drop(flies.logout());
    drop(flies);
    visit(&sessions, "free").await.unwrap();
    for name in ["x", "y", "z"] {
        visit(&sessions, name).await.unwrap();
    }
    assert!(sessions.peek(&key("flies")).is_some());
    assert_eq!(sessions.peek(&key("held")).unwrap().name(), held.name());
    held.login(token("second"));
    assert_eq!(bearer(&sessions.peek(&key("held")).unwrap()).as_deref(), Some("second"));
    flight.succeed("late");
    settle_tasks().await;
}

#[tokio::test(start_paused = true)]
async fn g20_a_full_registry_evicts_logins_that_can_be_loaded_again() {
    let (template, ends) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).capacity(2).build();
    for name in ["ann", "bob", "eve"] {
        let caller = tokio::spawn(sessions.get(&key(name)));
        settle_tasks().await;
        loads.find(name);
        assert_eq!(bearer(&caller.await.unwrap().unwrap()).as_deref(), Some(name));
    }
    assert_eq!(sessions.len(), 2);
    assert!(sessions.peek(&key("ann")).is_none(), "the longest idle one");
    assert!(ends.read().is_empty(), "an eviction ends no login");

    let held: Vec<_> = ["bob", "eve"].map(|name| sessions.peek(&key(name)).unwrap()).into();
    assert_eq!(kind(sessions.get(&key("ann")).await), ErrorKind::Overloaded);
    drop(held);
    let caller = tokio::spawn(sessions.get(&key("ann")));
    settle_tasks().await;
    loads.find("ann");
    assert!(caller.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn loads_that_fail_give_their_places_back() {
    let (template, _) = template();
    let loads = ManualLoads::default();
    let sessions = loads.put_into(builder(template)).capacity(1).build();
    for _ in 0..3 {
        let caller = tokio::spawn(sessions.get(&key("ann")));
        settle_tasks().await;
        assert_eq!(kind(sessions.get(&key("bob")).await), ErrorKind::Overloaded);
        loads.answer("ann", Err("down".into()));
        assert_eq!(kind(caller.await.unwrap()), ErrorKind::StorageFailed);
        assert_eq!(sessions.len(), 0);
    }
}

/// An attacker invents keys. Real users, most of whom are idle, stay.
#[tokio::test(start_paused = true)]
async fn keys_that_come_once_each_displace_no_user_and_take_bounded_memory() {
    const USERS: u32 = 5_000;
    const CAPACITY: usize = 6_000;
    let refresher = refresher_fn(|_: RefreshContext| async { Ok(token("at-2")) });
    let sessions = Sessions::<(bool, u32)>::builder(Session::builder(refresher).template())
        .capacity(CAPACITY)
        .build();
    for user in 0..USERS {
        drop(sessions.login(&(true, user), token("at-1")).await.unwrap());
    }
    let held = sessions.get(&(false, u32::MAX)).await.unwrap();
    for number in 0..100_000 {
        drop(sessions.get(&(false, number)).await.expect("guests make room for guests"));
        if number.is_multiple_of(1000) {
            // Users still log in, and out.
            let user = (true, USERS + number / 1000 % 50);
            drop(sessions.login(&user, token("at-1")).await.expect("guests make room for users"));
            sessions.logout(&user).await.unwrap();
        }
        assert!(sessions.len() <= CAPACITY);
    }
    for user in 0..USERS {
        assert!(sessions.peek(&(true, user)).unwrap().credential().is_some());
    }
    held.login(token("at-1"));
    assert!(sessions.peek(&(false, u32::MAX)).unwrap().credential().is_some());
}
