use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// The size hint that the caller's body gave at the start, less the data that one attempt has sent
/// since.
#[derive(Clone)]
pub(super) struct Remaining {
    start: SizeHint,
    sent: u64,
}

// === impl Remaining ===

impl Remaining {
    pub(super) fn new(start: SizeHint) -> Self {
        Self { start, sent: 0 }
    }

    pub(super) fn at_start(&self) -> &SizeHint {
        &self.start
    }

    pub(super) fn count(&mut self, frame: &Frame<Bytes>) {
        let len = frame.data_ref().map_or(0, Bytes::len);
        self.sent = self.sent.saturating_add(len as u64);
    }

    pub(super) fn hint(&self) -> SizeHint {
        let lower = self.start.lower().saturating_sub(self.sent);
        let upper = self.start.upper().map(|upper| upper.saturating_sub(self.sent));
        let was_exact = self.start.exact().is_some();

        let mut hint = SizeHint::new();
        hint.set_lower(lower);
        // Both ends of a range meet at nothing. An exact hint would be true there, but the caller's
        // body never gave one, and an exact hint is a `content-length`.
        if let Some(upper) = upper.filter(|upper| was_exact || *upper > lower) {
            hint.set_upper(upper);
        }
        hint
    }
}
