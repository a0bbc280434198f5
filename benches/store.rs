//! What does a store cost beyond the operation below it?
//!
//! The record of one login is loaded, saved, and leased and given back, through each store and
//! through the bare operations that such a store cannot avoid:
//!
//! - files: a read; a temporary file that is written, synced and renamed, and its directory synced;
//!   for a lease, a file that is written, renamed and removed;
//! - Redis, where `REDIS_URL` names a server: `GET`; `SET`; `SET NX PX` and `DEL`.

mod support;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use support::{
    page::Table,
    race::{Effort, Race},
};
use tokio::runtime::Runtime;
use tower_refresh::store::{File, Memory, SealKey, Sealed, Store, Swapped};

/// An operation on the record.
type Operation<'a> = Box<dyn FnMut() + 'a>;

/// A load, a save, and a lease that is taken and given up.
type Operations<'a> = [Operation<'a>; 3];

/// The page with the tables of all benches of this package.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/README.md");

/// The length of a record: a login with an access token of 1 KiB.
const RECORD: usize = 1200;
/// The length of the file of a lease.
const LEASE: usize = 60;
const TTL: Duration = Duration::from_secs(60);
/// Operations in a sample.
const SAMPLE: usize = 8;
const TURNS: usize = 100;

fn main() {
    let effort = Effort::from_args();
    if effort == Effort::List {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    println!("Time of an operation through a store, and its ratio to the bare one");
    println!("({}; {SAMPLE} operations in a sample)", effort.caption());
    println!();
    let columns = ["store", "load", "/ bare", "save", "/ bare", "lease", "/ bare"];
    let mut table = Table::new("store", &columns);
    let seal = || SealKey::new(1, &[1; 32]);

    table.row(row("`Memory`", effort, through(&runtime, Memory::new()), None));
    let memory = Sealed::new(Memory::new(), seal());
    table.row(row("`Sealed<Memory>`", effort, through(&runtime, memory), None));
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("store-bench");
    let file = || File::new(directory.join("store"));
    let operations = through(&runtime, file());
    table.row(row("`File`", effort, operations, Some(bare_files(&directory))));
    let operations = through(&runtime, Sealed::new(file(), seal()));
    table.row(row("`Sealed<File>`", effort, operations, Some(bare_files(&directory))));
    fs::remove_dir_all(directory).expect("the directory can be removed");
    #[cfg(feature = "redis")]
    server::rows(&runtime, effort, &mut table);
    table.publish(PAGE, effort.is_measured());
}

fn row(
    store: &str,
    effort: Effort,
    operations: Operations<'_>,
    bare: Option<Operations<'_>>,
) -> Vec<String> {
    let mut bare = bare.into_iter().flatten();
    let cells = operations.into_iter().flat_map(|operation| {
        let race = Race::of(sampler(operation));
        let race = match bare.next() {
            Some(bare) => race.against(sampler(bare)),
            None => race,
        };
        let standings = race.run(effort.turns(TURNS));
        let micros = standings[0].time.as_secs_f64() * 1e6 / SAMPLE as f64;
        let ratio = standings.get(1).map(|bare| format!("{:.2}", bare.ratio));
        [format!("{micros:.1} µs"), ratio.unwrap_or_else(|| "–".to_owned())]
    });
    [store.to_owned()].into_iter().chain(cells).collect()
}

fn sampler(mut operation: Operation<'_>) -> impl FnMut() -> Duration {
    move || {
        let start = Instant::now();
        for _ in 0..SAMPLE {
            operation();
        }
        start.elapsed()
    }
}

fn through<'a, S: Store>(runtime: &'a Runtime, store: S) -> Operations<'a> {
    let (store, content) = (Rc::new(store), Bytes::from(vec![b'x'; RECORD]));
    let name = format!("bench/{:016x}", fastrand::u64(..));
    let load = {
        let (store, name) = (store.clone(), name.clone());
        move || {
            let record = runtime.block_on(store.load(&name)).expect("a load succeeds");
            assert!(record.is_some());
        }
    };
    let mut save = {
        let (store, name) = (store.clone(), name.clone());
        let mut seen = None;
        move || {
            let swapped = runtime.block_on(store.swap(&name, seen, Some(content.clone())));
            match swapped.expect("a save succeeds") {
                Swapped::Done(version) => seen = Some(version),
                other => panic!("another writer has written {other:?}"),
            }
        }
    };
    let lease = move || {
        for ttl in [TTL, Duration::ZERO] {
            runtime.block_on(store.lease(&name, "bench", ttl)).expect("a lease succeeds");
        }
    };
    save();
    [Box::new(load), Box::new(save), Box::new(lease)]
}

fn bare_files<'a>(directory: &Path) -> Operations<'a> {
    fs::create_dir_all(directory).expect("a directory can be made");
    let (record, lease) = (directory.join("record"), directory.join("lease"));
    let save = {
        let (directory, record) = (directory.to_owned(), record.clone());
        move || {
            replace(&record, RECORD, true);
            let directory = fs::File::open(&directory).expect("a directory can be opened");
            directory.sync_all().expect("a directory can be synced");
        }
    };
    let load = move || {
        let content = fs::read(&record).expect("the record can be read");
        assert_eq!(content.len(), RECORD);
    };
    let lease = move || {
        replace(&lease, LEASE, false);
        fs::remove_file(&lease).expect("a lease can be removed");
    };
    save();
    [Box::new(load), Box::new(save), Box::new(lease)]
}

fn replace(path: &PathBuf, len: usize, is_synced: bool) {
    let temporary = path.with_extension("tmp");
    let mut file = fs::File::create(&temporary).expect("a file can be made");
    file.write_all(&vec![b'x'; len]).expect("a file can be written");
    if is_synced {
        file.sync_all().expect("a file can be synced");
    }
    fs::rename(&temporary, path).expect("a file can be renamed");
}

#[cfg(feature = "redis")]
mod server {
    use redis::{aio::MultiplexedConnection, cmd};

    use super::*;

    pub(super) fn rows(runtime: &Runtime, effort: Effort, table: &mut Table) {
        let Ok(url) = std::env::var("REDIS_URL") else {
            println!("no rows of Redis: REDIS_URL names no server");
            return;
        };
        let client = redis::Client::open(url).expect("REDIS_URL is a URL of Redis");
        let connection = runtime.block_on(client.get_multiplexed_async_connection());
        let connection = connection.expect("the server answers");
        for (name, is_sealed) in [("`Redis`", false), ("`Sealed<Redis>`", true)] {
            let bare = Some(bare(runtime, &connection));
            let store = tower_refresh::store::Redis::new(client.clone());
            let operations = if is_sealed {
                through(runtime, Sealed::new(store, SealKey::new(1, &[1; 32])))
            } else {
                through(runtime, store)
            };
            table.row(row(name, effort, operations, bare));
        }
    }

    fn bare<'a>(runtime: &'a Runtime, connection: &MultiplexedConnection) -> Operations<'a> {
        let key = format!("bench/{:016x}", fastrand::u64(..));
        let lease_key = format!("{key}/lease");
        let content = vec![b'x'; RECORD];
        let mut of_load = connection.clone();
        let mut of_save = connection.clone();
        let mut of_lease = connection.clone();
        let mut save = {
            let key = key.clone();
            move || {
                let mut set = cmd("SET");
                let set = set.arg(&key).arg(&content).exec_async(&mut of_save);
                runtime.block_on(set).expect("the server answers");
            }
        };
        let load = move || {
            let get = async { cmd("GET").arg(&key).query_async::<Vec<u8>>(&mut of_load).await };
            assert_eq!(runtime.block_on(get).expect("the server answers").len(), RECORD);
        };
        let lease = move || {
            runtime.block_on(async {
                let mut set = cmd("SET");
                set.arg(&lease_key).arg("bench").arg("NX").arg("PX").arg(TTL.as_millis() as u64);
                set.exec_async(&mut of_lease).await.expect("the server answers");
                let mut delete = cmd("DEL");
                delete.arg(&lease_key).exec_async(&mut of_lease).await.expect("the server answers");
            });
        };
        save();
        [Box::new(load), Box::new(save), Box::new(lease)]
    }
}
