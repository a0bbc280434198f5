use std::thread;

use tokio::runtime::Runtime;
use tower::BoxError;

use crate::{
    effort::Effort,
    fresh::{self, Pair, Times},
    herd::{self, Outcome},
    issuer::FirstToken,
    peer::Peer,
    table::{self, Row},
    trouble,
};

/// The peers, with the outcomes of their herds. Their fresh requests are measured together.
pub(crate) struct Contest {
    effort: Effort,
    entries: Vec<Entry>,
    runtime: Runtime,
}

struct Entry {
    krate: &'static str,
    part: &'static str,
    revoked: Vec<Outcome>,
    expired: Vec<Outcome>,
    /// Runs the troubles.
    trouble: fn(Effort) -> Result<Vec<String>, BoxError>,
    fresh: Pair,
}

// === impl Contest ===

impl Contest {
    pub(crate) fn new(effort: Effort) -> Result<Self, BoxError> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { effort, entries: Vec::new(), runtime })
    }

    pub(crate) fn enter<P: Peer>(&mut self) -> Result<(), BoxError> {
        eprintln!("{}: {}", P::CRATE, P::PART);
        let herds = |first| -> Result<Vec<_>, BoxError> {
            let run = |_| self.runtime.block_on(herd::run::<P>(self.effort.herd(), first));
            (0..self.effort.runs()).map(run).collect()
        };
        self.entries.push(Entry {
            krate: P::CRATE,
            part: P::PART,
            revoked: herds(FirstToken::Valid)?,
            expired: herds(FirstToken::Expired)?,
            trouble: trouble::run_all::<P>,
            fresh: self.runtime.block_on(Pair::new::<P>(self.runtime.handle()))?,
        });
        Ok(())
    }

    pub(crate) fn run(mut self) -> Result<(), BoxError> {
        let mut pairs: Vec<_> = self.entries.iter_mut().map(|entry| &mut entry.fresh).collect();
        let times = fresh::race(&mut pairs, self.effort.turns());
        let troubles = self.troubles()?;
        let row = |((entry, fresh), trouble): ((Entry, Times), Vec<String>)| Row {
            krate: entry.krate,
            part: entry.part,
            revoked: entry.revoked,
            expired: entry.expired,
            trouble,
            fresh,
        };
        let rows: Vec<_> = self.entries.into_iter().zip(times).zip(troubles).map(row).collect();
        table::publish(self.effort, &rows);
        Ok(())
    }

    /// The facts of all peers. Each peer has a thread, because most of the time is spent waiting.
    fn troubles(&self) -> Result<Vec<Vec<String>>, BoxError> {
        eprintln!("trouble");
        let effort = self.effort;
        thread::scope(|scope| {
            let threads: Vec<_> = self
                .entries
                .iter()
                .map(|entry| entry.trouble)
                .map(|run| scope.spawn(move || run(effort)))
                .collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().map_err(|_| "a thread has panicked")?
            };
            threads.into_iter().map(join).collect()
        })
    }
}
