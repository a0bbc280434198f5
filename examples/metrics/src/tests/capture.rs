//! A layer of `tracing-subscriber` that keeps everything that it is told.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::{
    Event, Id, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Record as Recorded},
};
use tracing_subscriber::{
    layer::{Context, Layer},
    registry::LookupSpan,
};

#[derive(Clone, Default)]
pub(super) struct Capture(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    events: Vec<Record>,
    spans: Vec<Record>,
}

/// An event, or a span at its end of the story.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    /// The number of a span. Zero for an event.
    pub(super) id: u64,
    pub(super) target: String,
    pub(super) level: String,
    /// The message of an event, or the name of a span.
    pub(super) message: String,
    pub(super) fields: BTreeMap<String, String>,
    /// The span around it.
    pub(super) parent: Option<u64>,
    pub(super) follows: Vec<u64>,
    pub(super) is_closed: bool,
}

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Capture {
    pub(super) fn events(&self) -> Vec<Record> {
        self.kept().events.clone()
    }

    pub(super) fn spans(&self) -> Vec<Record> {
        self.kept().spans.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, id: &Id, change: impl FnOnce(&mut Record)) {
        // The registry uses the number of a closed span again.
        let mut kept = self.kept();
        let mut open = kept.spans.iter_mut().rev();
        change(open.find(|span| span.id == id.into_u64()).expect("the span is known"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Capture {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut span = Record {
            id: id.into_u64(),
            target: attributes.metadata().target().to_owned(),
            level: attributes.metadata().level().to_string(),
            message: attributes.metadata().name().to_owned(),
            parent: context.span(id).and_then(|span| Some(span.parent()?.id().into_u64())),
            ..Record::default()
        };
        attributes.record(&mut Fields(&mut span.fields));
        self.kept().spans.push(span);
    }

    fn on_record(&self, id: &Id, values: &Recorded<'_>, _: Context<'_, S>) {
        self.with(id, |span| values.record(&mut Fields(&mut span.fields)));
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        self.with(id, |span| span.follows.push(follows.into_u64()));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        let record = Record {
            target: event.metadata().target().to_owned(),
            level: event.metadata().level().to_string(),
            message: fields.remove("message").unwrap_or_default(),
            fields,
            parent: context.event_span(event).map(|span| span.id().into_u64()),
            ..Record::default()
        };
        self.kept().events.push(record);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.with(&id, |span| span.is_closed = true);
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        self.0.insert(field.name().to_owned(), text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}
