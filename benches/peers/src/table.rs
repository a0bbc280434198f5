use std::{fmt::Display, iter, ops::Range, time::Duration};

use crate::{
    effort::Effort,
    fresh::Times,
    herd::Outcome,
    support::page::Table,
    trouble::{NO_REFRESH, Trouble},
};

/// The versions of the peers.
const LOCK: &str = include_str!("../Cargo.lock");

/// The page with the tables.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

const HERD: [&str; 6] =
    ["peer", "refreshes", "got 200", "the others", "all done after", "the next one"];
const FRESH: [&str; 2] = ["added to a fresh request", "without the peer"];
/// The tables of troubles: name, title, and [troubles](Trouble::ALL).
const TROUBLE: [(&str, &str, Range<usize>); 4] = [
    ("peers, callers", "Callers and users while the refresh runs", 0..4),
    ("peers, failures", "A refresh that fails", 4..8),
    ("peers, answers", "Rejections and tokens that a herd does not expect", 8..11),
    ("peers, uploads", "Uploads that are rejected half-way", 11..13),
];

pub(crate) struct Row {
    pub(crate) krate: &'static str,
    pub(crate) part: &'static str,
    /// Herds whose token the upstream had revoked.
    pub(crate) revoked: Vec<Outcome>,
    /// Herds whose client knew that it had no usable token.
    pub(crate) expired: Vec<Outcome>,
    /// The facts of each trouble.
    pub(crate) trouble: Vec<String>,
    pub(crate) fresh: Times,
}

pub(crate) fn publish(effort: Effort, rows: &[Row]) {
    if effort == Effort::Once {
        println!("Everything once and small, to check that it runs: not a measurement.\n");
    }
    let n = effort.herd();
    println!(
        "{n} requests rejected together, because their token was revoked; and a request whose token is valid:\n"
    );
    let mut table = Table::new("peers, rejected", &[&HERD[..], &FRESH].concat());
    for row in rows {
        let Times { bare, added } = row.fresh;
        let fresh = [format!("{added:.0} ns"), format!("{bare:.0} ns")];
        table.row(row.herds(&row.revoked).into_iter().chain(fresh));
    }
    table.publish(PAGE, effort == Effort::Full);
    println!(
        "{n} requests sent together by a client that has no token, or one that has expired by its clock:\n"
    );
    let mut table = Table::new("peers, expired", &HERD);
    for row in rows {
        table.row(row.herds(&row.expired));
    }
    table.publish(PAGE, effort == Effort::Full);
    for (name, title, range) in TROUBLE {
        println!("{title}:\n");
        let names = Trouble::ALL[range.clone()].iter().map(|trouble| trouble.name());
        let columns: Vec<_> = iter::once("peer").chain(names).collect();
        let mut table = Table::new(name, &columns).of_text();
        for row in rows.iter().filter(|row| row.trouble.iter().any(|facts| facts != NO_REFRESH)) {
            table.row(iter::once(row.name()).chain(row.trouble[range.clone()].iter().cloned()));
        }
        table.publish(PAGE, effort == Effort::Full);
    }
}

/// The figure of all runs, as a range if they differ.
fn range<T: Ord + Display>(runs: &[Outcome], figure: impl Fn(&Outcome) -> T) -> String {
    let mut figures: Vec<_> = runs.iter().map(figure).collect();
    figures.sort();
    match figures.as_slice() {
        [least, .., greatest] if least != greatest => format!("{least}–{greatest}"),
        [figure, ..] => figure.to_string(),
        [] => String::new(),
    }
}

/// The counts of the requests that did not get 200.
fn others(runs: &[Outcome]) -> String {
    let counts = [
        ("got the 401", range(runs, |run| run.rejected)),
        ("got an error", range(runs, |run| run.failed)),
        ("got nothing", range(runs, |run| run.lost)),
    ];
    let counts = counts.iter().filter(|(_, count)| count != "0");
    let counts: Vec<_> = counts.map(|(what, count)| format!("{count} {what}")).collect();
    if counts.is_empty() { "–".into() } else { counts.join(", ") }
}

/// The median duration.
fn took(runs: &[Outcome]) -> Duration {
    let mut took: Vec<_> = runs.iter().map(|run| run.took).collect();
    took.sort();
    took[took.len() / 2]
}

/// The version of a crate in the lock file.
fn version(krate: &str) -> &'static str {
    LOCK.split_once(&format!("name = \"{krate}\"\nversion = \""))
        .and_then(|(_, rest)| rest.split_once('"'))
        .map_or("?", |(version, _)| version)
}

// === impl Row ===

impl Row {
    fn name(&self) -> String {
        format!("{} {}: {}", self.krate, version(self.krate), self.part)
    }

    fn herds(&self, runs: &[Outcome]) -> [String; 6] {
        let peer = self.name();
        let refreshes = range(runs, |run| run.refreshes);
        let answered = range(runs, |run| run.answered);
        let others = others(runs);
        let took = format!("{} ms", took(runs).as_millis());
        let next = range(runs, |run| run.next.as_u16());
        [peer, refreshes, answered, others, took, next]
    }
}
