//! What observers are told of a registry.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time;
use tower_refresh::{
    ErrorKind, Session,
    extension::Anonymous,
    observe::{Event, EventKind, Observer, observer_fn},
    sessions::Sessions,
};

use crate::{
    layer::{of, proxy},
    support::{ask, get, kind, manual_refresher, token},
};

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
async fn a_login_that_a_time_limit_ends_says_which_one() {
    const SHORT: Duration = Duration::from_secs(60);
    const LONG: Duration = Duration::from_secs(3600);
    for (idle, lifetime, expected) in [(SHORT, LONG, "idle"), (LONG, SHORT, "lifetime")] {
        let (told, (refresher, _flights)) = (Told::default(), manual_refresher());
        let ends = told.clone();
        let observer = observer_fn(move |event: &Event<'_>| {
            if let EventKind::LoginEnded { how, .. } = event.kind() {
                ends.lock().unwrap().push(how.as_str().to_owned());
            }
        });
        let template = Session::builder(refresher).observer(observer).template();
        let sessions = Sessions::builder(template).idle_timeout(idle).lifetime(lifetime).build();
        tokio::spawn(sessions.maintain());
        sessions.login(&"ann".to_owned(), token("at-1")).await.unwrap();
        time::sleep(2 * SHORT).await;
        assert_eq!(take(&told), [expected]);
    }
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

/// An observer that notes refused requests: the kind of the error, and whether a session refused.
fn refusals() -> (impl Observer, Told) {
    let told = Told::default();
    let lines = told.clone();
    let observer = observer_fn(move |event: &Event<'_>| {
        if let EventKind::RequestRefused { login, error, .. } = event.kind() {
            let by = if event.session_id().is_some() { "session" } else { "layer" };
            lines.lock().unwrap().push(format!("{by}: {}, {login}", error.kind().as_str()));
        }
    });
    (observer, told)
}

#[tokio::test(start_paused = true)]
async fn each_request_that_fails_without_a_session_is_refused_once() {
    let (observer, told) = refusals();
    let (refresher, _flights) = manual_refresher();
    let template = Session::builder(refresher).observer(observer).template();
    let sessions = Sessions::builder(template)
        .capacity(1)
        .load(|user: String| async move {
            match &*user {
                "broken" => Err("the database is down".into()),
                "nobody" => Ok(None),
                _ => Ok(Some((user, token("at-1")))),
            }
        })
        .build();
    let (proxy, mut upstream) = proxy(&sessions);
    let failed = async |request| kind(ask(&proxy, request).await.unwrap());

    assert_eq!(failed(get("https://api.example.com/")).await, ErrorKind::NoSession);
    assert_eq!(take(&told), ["layer: no_session, 0"]);
    for _ in 0..2 {
        assert_eq!(failed(of("broken")).await, ErrorKind::StorageFailed);
        assert_eq!(take(&told), ["layer: storage_failed, 0"]);
    }
    // A session that is there refuses by itself.
    assert_eq!(failed(of("nobody")).await, ErrorKind::LoggedOut);
    assert_eq!(take(&told), ["session: logged_out, 0"]);

    // A request in flight holds the only place.
    let request = ask(&proxy, of("ann"));
    let arrived = upstream.next().await;
    assert_eq!(failed(of("bob")).await, ErrorKind::Overloaded);
    assert_eq!(take(&told), ["layer: overloaded, 0"]);
    arrived.accept();
    drop(request.await.unwrap());

    // A request that needs no session is not refused, and carries no trace of the layer.
    let mut request = get("https://api.example.com/");
    request.extensions_mut().insert(Anonymous);
    let request = ask(&proxy, request);
    let arrived = upstream.next().await;
    assert_eq!(arrived.request.extensions().len(), 1, "the mark of this test");
    arrived.accept();
    drop(request.await.unwrap());
    assert_eq!(take(&told), [""; 0]);
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
