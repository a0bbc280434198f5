//! Logins that a store keeps.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use tower_refresh::{
    ErrorKind, RefreshContext, Session,
    refresher::BoxFuture,
    refresher_fn,
    session::{EndReason, Phase},
    sessions::Sessions,
    store::{Leased, Memory, Record, Store, StoreError, Stored, Swapped, Version},
};

use crate::{
    support::{refresh_error, settle_tasks, token},
    users::{Ends, bearer, key, template},
};

/// A replica over this store, whose refreshes count.
fn replica(store: &Arc<Memory>, exchanges: &Arc<AtomicUsize>) -> (Sessions<String>, Ends) {
    let (template, ends) = template();
    let (store, exchanges) = (store.clone(), exchanges.clone());
    let sessions = Sessions::builder(template)
        .name(String::clone)
        .stored(move |user: &String| {
            let (exchanges, user_name) = (exchanges.clone(), user.clone());
            let refresher = refresher_fn(move |_: RefreshContext| {
                let number = exchanges.fetch_add(1, SeqCst) + 1;
                let access_token = format!("{user_name}-{number}");
                async move { Ok(token(&access_token)) }
            });
            Stored::new(refresher, store.clone(), user.as_str())
        })
        .build();
    (sessions, ends)
}

fn world() -> (Arc<Memory>, Arc<AtomicUsize>) {
    (Arc::new(Memory::new()), Arc::default())
}

#[tokio::test(start_paused = true)]
async fn a_login_is_found_again_after_a_restart() {
    let (store, exchanges) = world();
    let (before, _) = replica(&store, &exchanges);
    let session = before.login(&key("ann"), token("anns")).await.unwrap();
    assert_eq!(session.refresh().await.unwrap().access_token(), "ann-1");
    drop((session, before));

    let (after, ends) = replica(&store, &exchanges);
    assert_eq!(bearer(&after.get(&key("ann")).await.unwrap()).as_deref(), Some("ann-1"));
    assert!(after.get(&key("bob")).await.unwrap().credential().is_none());
    assert_eq!(exchanges.load(SeqCst), 1);
    assert!(ends.read().is_empty());
}

#[tokio::test(start_paused = true)]
async fn two_replicas_share_logins_refreshes_and_logouts() {
    let (store, exchanges) = world();
    let (first, ends) = replica(&store, &exchanges);
    let (second, _) = replica(&store, &exchanges);
    let here = first.login(&key("ann"), token("anns")).await.unwrap();
    let there = second.get(&key("ann")).await.unwrap();
    assert_eq!(bearer(&there).as_deref(), Some("anns"));

    assert_eq!(here.refresh().await.unwrap().access_token(), "ann-1");
    assert_eq!(there.refresh().await.unwrap().access_token(), "ann-2");
    first.logout(&key("ann")).await.unwrap();
    assert!(matches!(here.state().phase(), Phase::LoggedOut(EndReason::Logout)));
    // The other replica learns of the end at its next refresh, and exchanges nothing.
    let error = there.refresh().await.unwrap_err();
    assert!(refresh_error(&error).is_terminal());
    assert_eq!(exchanges.load(SeqCst), 2);
    settle_tasks().await;
    assert_eq!(ends.read(), ["ann-1 logout"]);
}

#[tokio::test(start_paused = true)]
async fn g20_a_stored_login_makes_room_and_is_loaded_again() {
    let (store, exchanges) = world();
    let (template, ends) = template();
    let sessions = Sessions::builder(template)
        .capacity(2)
        .stored({
            let store = store.clone();
            move |user: &String| {
                let refresher = refresher_fn(|_: RefreshContext| async { Ok(token("refreshed")) });
                Stored::new(refresher, store.clone(), user.as_str())
            }
        })
        .build();
    for user in ["ann", "bob", "eve"] {
        drop(sessions.login(&key(user), token(user)).await.unwrap());
    }
    assert_eq!(sessions.len(), 2);
    assert!(sessions.peek(&key("ann")).is_none());
    assert_eq!(bearer(&sessions.get(&key("ann")).await.unwrap()).as_deref(), Some("ann"));
    assert!(ends.read().is_empty());
    drop(exchanges);
}

#[tokio::test(start_paused = true)]
async fn a_logout_of_a_user_who_is_not_in_memory_ends_the_stored_login() {
    let (store, exchanges) = world();
    let (first, _) = replica(&store, &exchanges);
    drop(first.login(&key("ann"), token("anns")).await.unwrap());
    let (second, ends) = replica(&store, &exchanges);
    second.logout(&key("ann")).await.unwrap();
    settle_tasks().await;
    assert_eq!(ends.read(), ["anns logout"]);
    let (third, _) = replica(&store, &exchanges);
    assert!(third.get(&key("ann")).await.unwrap().credential().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_idle_login_ends_in_the_store_too() {
    let (store, exchanges) = world();
    let (template, ends) = template();
    let sessions = Sessions::builder(template)
        .idle_timeout(Duration::from_secs(60))
        .stored({
            let store = store.clone();
            move |user: &String| {
                let refresher = refresher_fn(|_: RefreshContext| async { Ok(token("refreshed")) });
                Stored::new(refresher, store.clone(), user.as_str())
            }
        })
        .build();
    drop(sessions.login(&key("ann"), token("anns")).await.unwrap());
    tokio::time::advance(Duration::from_secs(60)).await;
    let session = sessions.get(&key("ann")).await.unwrap();
    assert!(matches!(session.state().phase(), Phase::LoggedOut(EndReason::Idle)));
    settle_tasks().await;
    assert_eq!(ends.read(), ["anns idle"]);
    let (other, _) = replica(&store, &exchanges);
    assert!(other.get(&key("ann")).await.unwrap().credential().is_none());
    // The next login replaces the end.
    assert!(sessions.login(&key("ann"), token("again")).await.is_ok());
    drop(session);
}

/// A store that refuses to write once it is full.
#[derive(Default)]
struct Disk {
    memory: Memory,
    is_full: AtomicBool,
}

impl Store for Disk {
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        self.memory.load(name)
    }

    fn swap<'a>(
        &'a self,
        name: &'a str,
        expected: Option<Version>,
        content: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Swapped, StoreError>> {
        if self.is_full.load(SeqCst) {
            return Box::pin(async { Err(StoreError::unavailable("full")) });
        }
        self.memory.swap(name, expected, content)
    }

    fn lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<Leased, StoreError>> {
        self.memory.lease(name, holder, time)
    }
}

#[tokio::test(start_paused = true)]
async fn g20_logins_that_are_not_saved_stay_and_hide_no_other_one() {
    const UNSAVED: usize = 100;
    let disk = Arc::new(Disk::default());
    let (template, ends) = template();
    let sessions = Sessions::builder(template)
        .capacity(UNSAVED + 1)
        .stored({
            let disk = disk.clone();
            move |user: &usize| {
                let refresher = refresher_fn(|_: RefreshContext| async { Ok(token("refreshed")) });
                Stored::new(refresher, disk.clone(), user.to_string())
            }
        })
        .build();
    for user in 0..=UNSAVED {
        drop(sessions.login(&user, token("at-1")).await.unwrap());
    }
    disk.is_full.store(true, SeqCst);
    for user in 0..UNSAVED {
        sessions.peek(&user).unwrap().refresh().await.unwrap();
    }
    drop(sessions.peek(&UNSAVED));
    settle_tasks().await;
    assert!(sessions.get(&(UNSAVED + 1)).await.is_ok(), "the login that is saved makes room");
    assert!(sessions.peek(&UNSAVED).is_none());
    assert!(
        (0..UNSAVED)
            .all(|user| { bearer(&sessions.peek(&user).unwrap()).as_deref() == Some("refreshed") })
    );
    assert!(ends.read().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_fails_the_load_and_the_login_and_ends_nothing() {
    /// A store that is down.
    struct Down;

    impl Store for Down {
        fn load<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
            Box::pin(async { Err(StoreError::unavailable("down")) })
        }

        fn swap<'a>(
            &'a self,
            _: &'a str,
            _: Option<Version>,
            _: Option<Bytes>,
        ) -> BoxFuture<'a, Result<Swapped, StoreError>> {
            Box::pin(async { Err(StoreError::unavailable("down")) })
        }

        fn lease<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
            _: Duration,
        ) -> BoxFuture<'a, Result<Leased, StoreError>> {
            Box::pin(async { Err(StoreError::unavailable("down")) })
        }
    }

    let (template, ends) = template();
    let sessions = Sessions::builder(template)
        .stored(|user: &String| {
            let refresher = refresher_fn(|_: RefreshContext| async { Ok(token("refreshed")) });
            Stored::new(refresher, Down, user.as_str())
        })
        .build();
    let error = sessions.get(&key("ann")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFailed);
    let error = sessions.login(&key("ann"), token("anns")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFailed);
    let session: Session = sessions.peek(&key("ann")).unwrap();
    assert!(session.credential().is_none(), "a login that is not saved has not begun");
    assert!(ends.read().is_empty());
}
