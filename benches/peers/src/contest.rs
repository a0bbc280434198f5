use tokio::runtime::Runtime;
use tower::BoxError;

use crate::{
    fresh::{self, Pair, Times},
    herd::{self, Outcome},
    peer::{First, Peer},
    table::{self, Row},
};

/// The effort of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// A measurement.
    Full,
    /// Everything once, as a test.
    Once,
}

/// The peers that have run their herds and wait for the measurement of fresh requests.
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
    fresh: Pair,
}

// === impl Effort ===

impl Effort {
    pub(crate) fn herd(self) -> usize {
        if self == Self::Full { 1_000 } else { 20 }
    }

    fn runs(self) -> usize {
        if self == Self::Full { 3 } else { 1 }
    }

    fn turns(self) -> usize {
        if self == Self::Full { 1_500 } else { 1 }
    }
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
            revoked: herds(First::Good)?,
            expired: herds(First::Expired)?,
            fresh: self.runtime.block_on(Pair::new::<P>(self.runtime.handle()))?,
        });
        Ok(())
    }

    pub(crate) fn run(mut self) {
        let mut pairs: Vec<_> = self.entries.iter_mut().map(|entry| &mut entry.fresh).collect();
        let times = fresh::race(&mut pairs, self.effort.turns());
        let row = |(entry, fresh): (Entry, Times)| Row {
            krate: entry.krate,
            part: entry.part,
            revoked: entry.revoked,
            expired: entry.expired,
            fresh,
        };
        let rows: Vec<_> = self.entries.into_iter().zip(times).map(row).collect();
        table::publish(self.effort, &rows);
    }
}
