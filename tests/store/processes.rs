//! Real processes over one directory.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;
use tower_refresh::store::File;

use crate::{
    fleet::{self, Fleet, Issuer, LIFETIME},
    support::temporary,
};

/// A dead process loses its lease at once, so that a long lease makes no other process wait.
const LONG_LEASE: Duration = Duration::from_secs(30);
/// Longer than a busy machine keeps a process from extending it.
#[cfg(unix)]
const LEASE: Duration = Duration::from_secs(2);

/// Run by a [`Fleet`], in processes of its own.
#[test]
#[ignore = "a part of the other tests"]
fn worker() {
    fleet::work(async |directory| File::new(directory));
}

/// A login in a new directory, and a fleet that shares it.
fn fleet(runtime: &Runtime, name: &str, lease: Duration) -> (PathBuf, Issuer, Fleet) {
    let (directory, issuer) = (temporary(name), Issuer::start(runtime));
    let fleet = Fleet {
        worker: "processes::worker",
        place: directory.to_str().unwrap().to_owned(),
        endpoint: issuer.address.clone(),
        lease,
        lifetime: LIFETIME,
    };
    fleet.log_in(runtime, File::new(&directory));
    (directory, issuer, fleet)
}

#[test]
fn g16_ten_processes_that_start_at_expiry_make_one_exchange() {
    let runtime = Runtime::new().unwrap();
    let (directory, issuer, fleet) = fleet(&runtime, "ten", LONG_LEASE);
    // One expiry, however slowly the processes start.
    let fleet = Fleet { lifetime: Duration::from_secs(3600), ..fleet };
    thread::sleep(LIFETIME);
    let workers: Vec<_> = (0..10).map(|_| fleet.spawn(1)).collect();
    workers.into_iter().for_each(fleet::Worker::expect_success);
    let seen = issuer.seen();
    assert_eq!((seen.exchanges, seen.reused, seen.in_grace), (1, 0, 0), "{seen:?}");
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn g16_eight_processes_that_are_killed_at_random_reuse_no_token_and_lose_no_login() {
    let seed = fleet::seed();
    let runtime = Runtime::new().unwrap();
    let (directory, issuer, fleet) = fleet(&runtime, "killed", LONG_LEASE);
    let killed = fleet.run(8, 400, 5, seed);
    let seen = issuer.seen();
    println!("{seen:?}, {killed} processes were killed");
    assert_eq!(seen.reused, 0, "{seen:?}");
    assert!(seen.in_grace <= killed, "{seen:?}, and {killed} were killed");
    assert!(killed >= 10 && seen.exchanges >= 20, "{seen:?}, and {killed} were killed");
    fs::remove_dir_all(directory).unwrap();
}

/// Whether a process keeps the lock of the record, and is not only passing by.
#[cfg(unix)]
fn is_locked(directory: &Path) -> bool {
    let mut files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let lock = files.find(|path| path.extension().is_some_and(|found| found == "lock")).unwrap();
    let lock = fs::File::open(lock).unwrap();
    (0..50).all(|_| {
        thread::sleep(Duration::from_millis(2));
        lock.try_lock().is_err()
    })
}

#[cfg(unix)]
#[test]
fn g16_a_process_that_is_stopped_for_longer_than_its_lease_ends_no_login() {
    let runtime = Runtime::new().unwrap();
    let (directory, issuer, fleet) = fleet(&runtime, "stopped", LEASE);
    let workers: Vec<_> = (0..3).map(|_| fleet.spawn(300)).collect();
    let start = Instant::now();
    while issuer.seen().exchanges == 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "no worker has started");
        thread::sleep(Duration::from_millis(5));
    }
    workers[0].signal("-STOP");
    // In the midst of a write it would keep the others from writing.
    while is_locked(&directory) {
        workers[0].signal("-CONT");
        thread::sleep(Duration::from_millis(5));
        workers[0].signal("-STOP");
    }
    let before = issuer.seen().exchanges;
    thread::sleep(LEASE * 2);
    let during = issuer.seen().exchanges - before;
    assert!(during > 0, "the other processes go on");
    workers[0].signal("-CONT");
    workers.into_iter().for_each(fleet::Worker::expect_success);
    let seen = issuer.seen();
    println!("{seen:?}");
    // One that was stopped on its way to the endpoint presents what another has used since.
    assert!(seen.in_grace + seen.reused <= 1, "{seen:?}");
    fs::remove_dir_all(directory).unwrap();
}
