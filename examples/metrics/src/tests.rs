//! The names in the docs of the features `metrics` and `tracing` are those that a real exporter and
//! a real subscriber get, and no secret is in either.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, its helpers too")]

mod capture;
mod docs;
mod spans;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use metrics_exporter_prometheus::PrometheusBuilder;
use prometheus_parse::{Scrape, Value};
use tower_refresh::observe::{Event, Observer, metrics::MetricsObserver, tracing::TracingObserver};
use tracing_subscriber::{Registry, layer::SubscriberExt};

use crate::{
    story,
    tests::{
        capture::{Capture, Record},
        docs::{Documented, documented_events, documented_metrics, kinds, promql},
    },
    world::SECRET,
};

/// The observer of the metrics, and the `Debug` output of each event.
#[derive(Clone)]
struct Noted {
    metrics: MetricsObserver,
    texts: Arc<Mutex<Vec<String>>>,
}

impl Observer for Noted {
    fn on(&self, event: &Event<'_>) {
        self.metrics.on(event);
        let text = format!("{:?}\n{event:?}\n{event:#?}", event.kind());
        self.texts.lock().unwrap().push(text);
    }
}

/// The metrics and the log of the story.
fn told() -> (String, Capture) {
    let (text, capture, _) = told_by(PrometheusBuilder::new());
    (text, capture)
}

/// The metrics by this exporter, the log, and the `Debug` output of each event.
fn told_by(exporter: PrometheusBuilder) -> (String, Capture, Vec<String>) {
    let (capture, recorder) = (Capture::default(), exporter.build_recorder());
    let (handle, texts) = (recorder.handle(), Arc::<Mutex<Vec<String>>>::default());
    let subscriber = Registry::default().with(capture.clone());
    tracing::subscriber::with_default(subscriber, || {
        metrics::with_local_recorder(&recorder, || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let noted = Noted { metrics: MetricsObserver::new(), texts: texts.clone() };
            runtime.block_on(story::tell(noted, &TracingObserver::new())).unwrap();
        });
    });
    let texts = texts.lock().unwrap().clone();
    (handle.render(), capture, texts)
}

fn scrape(text: &str) -> Scrape {
    Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap()
}

/// The name of a metric without the suffix of a summary.
fn base(name: &str) -> &str {
    name.strip_suffix("_sum").or(name.strip_suffix("_count")).unwrap_or(name)
}

#[test]
fn every_documented_metric_is_exported_with_its_type_and_labels_and_no_other_is() {
    let (text, _) = told();
    let documented: BTreeMap<String, Documented> = documented_metrics()
        .into_iter()
        .map(|documented| (documented.name.replace('.', "_"), documented))
        .collect();
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for sample in scrape(&text).samples {
        let name = base(&sample.metric).to_owned();
        let documented =
            documented.get(&name).unwrap_or_else(|| panic!("{name} is not documented"));
        let is_of_type = match sample.value {
            Value::Counter(_) => documented.kind == "counter",
            Value::Gauge(_) => documented.kind == "gauge",
            // The sum and the count of a summary have no type of their own in the text.
            Value::Summary(_) | Value::Untyped(_) | Value::Histogram(_) => {
                documented.kind == "histogram"
            }
        };
        assert!(is_of_type, "{name}: {:?}", sample.value);
        let labels = labels.entry(name).or_default();
        for (label, value) in sample.labels.iter().filter(|(label, _)| *label != "quantile") {
            let label = if label == "error_type" { "error.type" } else { label };
            let words = docs::words(label);
            assert!(words.contains(value), "{label}={value} is not documented: {words:?}");
            labels.insert(label.to_owned());
        }
    }
    for (name, documented) in documented {
        let seen = labels.get(&name).unwrap_or_else(|| panic!("the story does not move {name}"));
        assert_eq!(seen, &documented.labels, "{name}");
        let help = format!("# HELP {name} {}", documented.meaning);
        assert!(text.contains(&help), "no {help:?} in\n{text}");
    }
}

#[test]
fn the_gauges_are_zero_when_all_sessions_are_gone() {
    let (text, _) = told();
    for name in ["tower_refresh_waiters", "tower_refresh_sessions"] {
        let scraped = scrape(&text);
        let gauge = scraped.samples.iter().find(|sample| sample.metric == name).unwrap();
        assert_eq!(gauge.value, Value::Gauge(0.0), "{name}");
    }
}

#[test]
fn the_alerts_are_valid_and_use_series_that_exist() {
    let (text, _) = told();
    let exported: BTreeSet<_> =
        scrape(&text).samples.iter().map(|sample| sample.metric.clone()).collect();
    let alerts = promql();
    assert_eq!(alerts.len(), 4);
    for alert in alerts {
        promql_parser::parser::parse(&alert).unwrap_or_else(|error| panic!("{alert}: {error}"));
        let names = alert
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|word| word.starts_with("tower_refresh_"));
        for name in names {
            assert!(exported.contains(name), "{name} is not exported");
        }
    }
}

#[test]
fn every_documented_event_is_told_with_its_target_level_and_fields() {
    let (_, capture) = told();
    let documented = documented_events();
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for Record { target, level, message, fields, .. } in capture.events() {
        if !target.starts_with("tower_refresh") {
            continue;
        }
        let known = documented
            .iter()
            .find(|event| event.messages.contains(&message))
            .unwrap_or_else(|| panic!("{message:?} is not documented"));
        assert_eq!(known.target, target, "{message}");
        assert!(known.levels.contains(&level), "{message}: {level} is not in {:?}", known.levels);
        let fields = fields.into_keys().filter(|field| field != "session.name");
        seen.entry(message).or_default().extend(fields);
    }
    for event in documented {
        for message in event.messages {
            let fields = seen.remove(&message).unwrap_or_else(|| panic!("{message} is not told"));
            assert_eq!(fields, event.fields, "{message}");
        }
    }
}

#[test]
fn the_story_has_every_kind_of_event() {
    let (_, _, texts) = told_by(PrometheusBuilder::new());
    let is_word = |c: char| c.is_ascii_alphanumeric();
    let told: BTreeSet<_> =
        texts.iter().filter_map(|text| text.split(|c| !is_word(c)).next()).collect();
    let kinds = kinds();
    assert!(kinds.len() > 20, "{kinds:?}");
    assert_eq!(told, kinds);
}

#[test]
fn no_metric_is_the_namespace_of_another() {
    let names: Vec<_> = documented_metrics().into_iter().map(|metric| metric.name).collect();
    for name in &names {
        let namespace = format!("{name}.");
        let inside: Vec<_> = names.iter().filter(|name| name.starts_with(&namespace)).collect();
        assert!(inside.is_empty(), "{name} has {inside:?}");
    }
}

#[test]
fn an_exporter_with_recommended_naming_adds_the_documented_suffixes() {
    let (text, _, _) = told_by(PrometheusBuilder::new().with_recommended_naming(true));
    let exported: BTreeSet<_> =
        scrape(&text).samples.iter().map(|sample| sample.metric.clone()).collect();
    for documented in documented_metrics() {
        let name = documented.name.replace('.', "_");
        let name = match &*documented.kind {
            "histogram" => format!("{name}_seconds_count"),
            "counter" => format!("{name}_total"),
            _ => name,
        };
        assert!(exported.contains(&name), "no {name} in {exported:?}");
    }
}

#[test]
fn g12_no_secret_is_in_a_metric_in_the_log_or_in_the_debug_output_of_an_event() {
    let (text, capture, texts) = told_by(PrometheusBuilder::new());
    assert!(!text.contains(SECRET));
    assert!(texts.len() > 300);
    for text in texts {
        assert!(!text.contains(SECRET), "{text}");
    }
    for record in capture.events().iter().chain(&capture.spans()) {
        assert!(!format!("{record:?}").contains(SECRET), "{record:?}");
    }
    // The names of sessions are in the log, and in no label.
    assert!(!text.contains("wrong audience"));
    let is_named = |record: &Record| {
        record.fields.get("session.name").is_some_and(|name| name == "wrong audience")
    };
    assert!(capture.events().iter().any(is_named));
}
