//! What observers are told of a store.

use std::{
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time;
use tower_refresh::{
    Session, Token,
    observe::{Event, EventKind, Observer},
    store::{File, Memory, Store, StoreError, Stored},
};

use crate::support::{Driver, Endpoint, Faults, Faulty, access_token, settle, temporary, token};

/// Writes the events of stores down as lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn take(&self) -> Vec<String> {
        mem::take(&mut self.0.lock().unwrap())
    }

    /// The lines since the last call, without successful operations.
    fn notable(&self) -> Vec<String> {
        self.take().into_iter().filter(|line| !line.ends_with("done")).collect()
    }
}

impl Observer for Lines {
    fn on(&self, event: &Event<'_>) {
        let text = format!("{event:?} {event:#?}");
        assert!(!text.contains("at-1") && !text.contains("rt-1"), "{text}");
        let line = match *event.kind() {
            EventKind::StoreOperationDone { operation, error_type, error, .. } => {
                // The error is the store's own.
                assert_eq!(
                    error.map(|error| error.downcast_ref::<StoreError>().unwrap().kind().as_str()),
                    error_type
                );
                format!("{} {}", operation.as_str(), error_type.unwrap_or("done"))
            }
            EventKind::StoreAdopted { .. } => "adopted".to_owned(),
            EventKind::StoreLeaseLost { .. } => "lease lost".to_owned(),
            EventKind::StoreSaveFailed { error_type, .. } => format!("save failed: {error_type}"),
            EventKind::StoreDegraded { error_type, .. } => format!("degraded: {error_type}"),
            EventKind::StoreRecovered { duration, .. } => format!("recovered after {duration:?}"),
            _ => return,
        };
        assert_eq!(event.session_name(), Some("ann"));
        self.0.lock().unwrap().push(line);
    }
}

fn observed<S: Store>(endpoint: &Endpoint, store: S) -> (Session, Driver<S>, Lines) {
    let (driver, lines) = (Stored::new(endpoint.clone(), store, "record"), Lines::default());
    let session = Session::builder(driver.clone()).name("ann").observer(lines.clone()).build();
    (session, driver, lines)
}

#[tokio::test(start_paused = true)]
async fn each_operation_of_a_refresh_is_an_event() {
    let (session, driver, lines) = observed(&Endpoint::default(), Memory::new());
    driver.login(&session, token(1, true)).await.unwrap();
    assert_eq!(lines.take(), ["load done", "swap done"]);
    session.refresh().await.unwrap();
    settle().await;
    let told = ["load done", "lease done", "load done", "swap done", "lease done"];
    assert_eq!(lines.take(), told);
}

#[tokio::test(start_paused = true)]
async fn an_adopted_credential_is_an_event_of_a_refresh_and_of_follow_and_of_open() {
    let (endpoint, memory) = (Endpoint::default(), Arc::new(Memory::new()));
    let (session, driver, lines) = observed(&endpoint, memory.clone());
    let (other, other_driver, other_lines) = observed(&endpoint, memory.clone());
    driver.login(&session, token(1, true)).await.unwrap();
    assert!(other_driver.open(&other).await.unwrap().is_some());
    assert_eq!(other_lines.notable(), ["adopted"]);

    session.refresh().await.unwrap();
    other.acquire().await.unwrap();
    let follow = tokio::spawn(other_driver.follow(&other));
    time::sleep(Duration::from_secs(31)).await;
    assert_eq!(other_lines.notable(), ["adopted"]);
    assert_eq!(access_token(&other), access_token(&session));
    follow.abort();
    assert_eq!(lines.notable(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_adopts_what_another_replica_stored_says_so() {
    let (endpoint, memory) = (Endpoint::default(), Arc::new(Memory::new()));
    let (session, driver, _lines) = observed(&endpoint, memory.clone());
    // Has expired, so that `acquire` refreshes.
    driver.login(&session, token(1, false)).await.unwrap();
    let (other, other_driver, other_lines) = observed(&endpoint, memory.clone());
    session.refresh().await.unwrap();
    drop(other_driver);
    other.acquire().await.unwrap();
    assert_eq!(other_lines.notable(), ["adopted"]);
    assert_eq!(endpoint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_degraded_once_and_recovers_once() {
    let faulty = Faulty::default();
    let (session, driver, lines) = observed(&Endpoint::default(), faulty.clone());
    driver.login(&session, token(1, true)).await.unwrap();
    lines.take();
    faulty.set(Faults { down: true, ..Faults::default() });
    for _ in 0..2 {
        assert!(session.refresh().await.is_err());
        time::sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(lines.take(), ["load unavailable", "degraded: unavailable", "load unavailable"]);
    faulty.set(Faults::default());
    session.refresh().await.unwrap();
    assert_eq!(lines.notable(), ["recovered after 10s"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_degraded_at_the_deadline_of_the_operation() {
    let faulty = Faulty::default();
    let (session, driver, lines) = observed(&Endpoint::default(), faulty.clone());
    driver.login(&session, token(1, true)).await.unwrap();
    lines.take();
    faulty.set(Faults { hangs: true, ..Faults::default() });
    assert!(session.refresh().await.is_err());
    assert_eq!(lines.take(), ["load timed_out", "degraded: timed_out"]);
}

#[tokio::test(start_paused = true)]
async fn a_save_that_failed_several_times_is_one_event() {
    let faulty = Faulty::default();
    let (session, driver, lines) = observed(&Endpoint::default(), faulty.clone());
    driver.login(&session, token(1, true)).await.unwrap();
    lines.take();
    faulty.set(Faults { read_only: true, ..Faults::default() });
    session.refresh().await.unwrap();
    time::sleep(Duration::from_secs(60)).await;
    let count =
        |lines: &[String], what: &str| lines.iter().filter(|line| line.contains(what)).count();
    let saves = |lines: Vec<String>| count(&lines, "save");
    let told = lines.notable();
    assert_eq!(count(&told, "save failed"), 1);
    // It still loads, which is no recovery.
    assert_eq!((count(&told, "degraded"), count(&told, "recovered")), (1, 0), "{told:?}");
    // A login that is not saved is reported as well, although it does not begin.
    assert!(driver.login(&session, token(2, true)).await.is_err());
    assert_eq!(saves(lines.notable()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_process_took_is_lost_once() {
    let endpoint = Endpoint::default();
    let faulty = Faulty::default();
    let (session, driver, lines) = observed(&endpoint, faulty.clone());
    driver.login(&session, token(1, true)).await.unwrap();
    let gate = endpoint.close();
    let refreshed = session.refresh();
    settle().await;
    lines.take();
    faulty.set(Faults { lease_taken: true, ..Faults::default() });
    time::sleep(Duration::from_secs(8)).await;
    assert_eq!(lines.notable(), ["lease lost"]);
    gate.add_permits(1);
    refreshed.await.unwrap();
    assert_eq!(lines.notable(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_runs_out_during_an_exchange_is_lost_once() {
    let (endpoint, faulty) = (Endpoint::default(), Faulty::default());
    let (session, driver, lines) = observed(&endpoint, faulty.clone());
    driver.login(&session, token(1, true)).await.unwrap();
    let gate = endpoint.close();
    let refreshed = session.refresh();
    settle().await;
    lines.take();
    faulty.set(Faults { down: true, ..Faults::default() });
    // The lease is for ten seconds, and is extended every three or four.
    time::sleep(Duration::from_secs(8)).await;
    let lost = |lines: Vec<String>| lines.iter().filter(|line| *line == "lease lost").count();
    assert_eq!(lost(lines.take()), 0);
    time::sleep(Duration::from_secs(12)).await;
    assert_eq!(lost(lines.take()), 1);
    faulty.set(Faults::default());
    gate.add_permits(1);
    refreshed.await.unwrap();
    assert_eq!(lost(lines.take()), 0);
}

#[tokio::test]
async fn a_session_without_an_observer_has_a_store_all_the_same() {
    let driver = Stored::new(Endpoint::default(), File::new(temporary("unobserved")), "ann");
    let session: Session<Token> = Session::builder(driver.clone()).build();
    driver.login(&session, token(1, true)).await.unwrap();
    session.refresh().await.unwrap();
    assert!(driver.is_saved());
}
