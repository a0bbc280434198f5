use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::Span;

use crate::identity::SessionId;

/// The spans of the flights in progress. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct FlightSpans(Arc<Mutex<HashMap<(SessionId, u64), Span>>>);

// === impl FlightSpans ===

impl FlightSpans {
    pub(super) fn open(&self, session: SessionId, flight: u64, span: Span) {
        let displaced = self.spans().insert((session, flight), span);
        // Outside of the lock, like the span of `close`: a subscriber is the user's code.
        drop(displaced);
    }

    pub(super) fn get(&self, session: SessionId, flight: u64) -> Option<Span> {
        self.spans().get(&(session, flight)).cloned()
    }

    /// Takes the span of a flight that has settled.
    pub(super) fn close(&self, session: SessionId, flight: u64) -> Option<Span> {
        self.spans().remove(&(session, flight))
    }

    fn spans(&self) -> MutexGuard<'_, HashMap<(SessionId, u64), Span>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
