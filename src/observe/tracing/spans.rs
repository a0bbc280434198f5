use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::Span;

use crate::identity::SessionId;

/// The spans of the flights in progress. Clones share them.
///
/// A subscriber is the user's code, and it is told of each clone and each drop of a span. Both take
/// place outside of the lock: what is cloned under it is an `Arc`.
#[derive(Clone, Debug, Default)]
pub(super) struct FlightSpans(Arc<Mutex<OpenSpans>>);

/// By the session and the number of the flight.
type OpenSpans = HashMap<(SessionId, u64), Arc<Span>>;

// === impl FlightSpans ===

impl FlightSpans {
    pub(super) fn open(&self, session: SessionId, flight: u64, span: Span) {
        let displaced = self.spans().insert((session, flight), Arc::new(span));
        drop(displaced);
    }

    pub(super) fn get(&self, session: SessionId, flight: u64) -> Option<Span> {
        let span = self.spans().get(&(session, flight)).cloned();
        span.map(Arc::unwrap_or_clone)
    }

    /// Takes the span of a flight that has settled.
    pub(super) fn close(&self, session: SessionId, flight: u64) -> Option<Span> {
        let span = self.spans().remove(&(session, flight));
        span.map(Arc::unwrap_or_clone)
    }

    fn spans(&self) -> MutexGuard<'_, OpenSpans> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
