//! What observers are told of a registry.

use std::sync::{Arc, Mutex};

use tower_refresh::{
    ErrorKind, Session,
    observe::{Event, EventKind, observer_fn},
    sessions::Sessions,
};

use crate::support::{manual_refresher, token};

type Told = Arc<Mutex<Vec<String>>>;

/// A registry with this capacity, and the events of its sessions with their names.
fn observed(capacity: usize) -> (Sessions<String>, Told) {
    let (told, (refresher, _flights)) = (Told::default(), manual_refresher());
    let lines = told.clone();
    let observer = observer_fn(move |event: &Event<'_>| {
        let what = match event.kind() {
            EventKind::SessionCreated { .. } => "created".to_owned(),
            EventKind::SessionDropped { .. } => "dropped".to_owned(),
            EventKind::SessionEvicted { .. } => "evicted".to_owned(),
            EventKind::SessionsFull { capacity, .. } => format!("full at {capacity}"),
            _ => return,
        };
        let is_of_a_session = event.session_id().is_some();
        assert_eq!(is_of_a_session, !matches!(event.kind(), EventKind::SessionsFull { .. }));
        lines.lock().unwrap().push(format!("{} {what}", event.session_name().unwrap_or("-")));
    });
    let template = Session::builder(refresher).observer(observer).template();
    let sessions = Sessions::builder(template).name(String::clone).capacity(capacity).build();
    (sessions, told)
}

fn take(told: &Told) -> Vec<String> {
    std::mem::take(&mut told.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_session_that_makes_room_is_evicted_and_then_dropped() {
    let (sessions, told) = observed(1);
    drop(sessions.get(&"ann".to_owned()).await.unwrap());
    assert_eq!(take(&told), ["ann created"]);
    drop(sessions.get(&"bob".to_owned()).await.unwrap());
    let mut lines = take(&told);
    lines.sort();
    assert_eq!(lines, ["ann dropped", "ann evicted", "bob created"]);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_has_no_place_says_so_and_evicts_nothing() {
    let (sessions, told) = observed(1);
    sessions.login(&"ann".to_owned(), token("at-1")).await.unwrap();
    take(&told);
    let refused = sessions.get(&"bob".to_owned()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Overloaded);
    let lines = take(&told);
    assert!(lines.contains(&"- full at 1".to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.ends_with("evicted")), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_removed_session_is_dropped_and_not_evicted() {
    let (sessions, told) = observed(2);
    drop(sessions.get(&"ann".to_owned()).await.unwrap());
    assert!(sessions.remove(&"ann".to_owned()));
    assert_eq!(take(&told), ["ann created", "ann dropped"]);
}

#[tokio::test(start_paused = true)]
async fn an_observer_may_call_the_registry_within_an_eviction() {
    let cell: Arc<std::sync::OnceLock<Sessions<String>>> = Arc::default();
    let within = cell.clone();
    let (refresher, _flights) = manual_refresher();
    let observer = observer_fn(move |_: &Event<'_>| {
        if let Some(sessions) = within.get() {
            assert!(sessions.len() <= 2);
            drop(sessions.peek(&"ann".to_owned()));
        }
    });
    let template = Session::builder(refresher).observer(observer).template();
    let sessions = Sessions::builder(template).capacity(2).build();
    assert!(cell.set(sessions.clone()).is_ok());
    for user in 0..10 {
        drop(sessions.get(&user.to_string()).await.unwrap());
    }
    assert_eq!(sessions.len(), 2);
}
