//! The tables in the docs of the two features.

use std::collections::BTreeSet;

const METRICS: &str = include_str!("../../../../src/observe/metrics/mod.rs");
const EVENTS: &str = include_str!("../../../../src/observe/event.rs");
const TRACING: &str = include_str!("../../../../src/observe/tracing/mod.rs");

/// A row of the table of metrics.
pub(super) struct Documented {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) labels: BTreeSet<String>,
    pub(super) meaning: String,
}

/// A row of the table of events.
pub(super) struct DocumentedEvent {
    pub(super) target: String,
    pub(super) levels: BTreeSet<String>,
    pub(super) messages: BTreeSet<String>,
    pub(super) fields: BTreeSet<String>,
}

pub(super) fn documented_metrics() -> Vec<Documented> {
    let rows = rows(METRICS, "| name | type |").into_iter();
    rows.map(|row| Documented {
        name: words_of(&row[0]).pop_first().expect("a row has a name"),
        kind: row[1].clone(),
        labels: words_of(&row[3]),
        meaning: row[4].clone(),
    })
    .collect()
}

/// The values of a label, of all metrics that have it.
pub(super) fn words(label: &str) -> BTreeSet<String> {
    let quoted = format!("`{label}`");
    let rows = rows(METRICS, "| label | values |").into_iter();
    let mut words: BTreeSet<_> =
        rows.filter(|row| row[0].starts_with(&quoted)).flat_map(|row| words_of(&row[1])).collect();
    // The words of these kinds are in the docs of the kinds.
    match label {
        "kind" => words.extend(
            ["login_changed", "refresh_failed", "cleartext", "no_runtime"].map(str::to_owned),
        ),
        "error.type" => words.extend(["denied", "corrupt"].map(str::to_owned)),
        "late" | "replay" => words.extend(["true", "false"].map(str::to_owned)),
        _ => {}
    }
    words
}

pub(super) fn promql() -> Vec<String> {
    let blocks = METRICS.split("//! ```promql\n").skip(1);
    blocks
        .map(|block| {
            let lines = block.lines().take_while(|line| *line != "//! ```");
            lines.map(|line| line.trim_start_matches("//!").trim()).collect::<Vec<_>>().join(" ")
        })
        .collect()
}

pub(super) fn documented_events() -> Vec<DocumentedEvent> {
    let mut target = String::new();
    let mut events = Vec::new();
    for row in rows(TRACING, "| target | level |") {
        if let Some(next) = words_of(&row[0]).pop_first() {
            target = next;
        }
        events.push(DocumentedEvent {
            target: target.clone(),
            levels: words_of(&row[1]),
            messages: split_words(&row[2]),
            fields: words_of(&row[3]),
        });
    }
    events
}

/// The kinds of events.
pub(super) fn kinds() -> BTreeSet<&'static str> {
    let below = EVENTS.lines().skip_while(|line| !line.starts_with("pub enum EventKind"));
    let variants = below.take_while(|line| *line != "}").filter_map(|line| {
        let variant = line.strip_prefix("    ")?.trim_end_matches([' ', '{', ',']);
        variant.starts_with(|c: char| c.is_ascii_uppercase()).then_some(variant)
    });
    variants.collect()
}

/// The cells of the rows below this heading.
fn rows(text: &str, heading: &str) -> Vec<Vec<String>> {
    let lines = text.lines().map(|line| line.trim_start_matches("//!").trim());
    let below = lines.skip_while(|line| !line.starts_with(heading)).skip(2);
    below
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// The texts between backticks.
fn words_of(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Several messages in one pair of backticks are separated by commas.
fn split_words(cell: &str) -> BTreeSet<String> {
    words_of(cell).iter().flat_map(|words| words.split(", ")).map(str::to_owned).collect()
}
