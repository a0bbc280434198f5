use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// The size hint of a body that is had whole, in its two common forms, which take no memory.
#[derive(Clone, Copy)]
pub(super) enum Framing {
    /// The caller's body gave its exact length: the request has a `content-length`.
    Exact,
    /// The caller's body gave no hint.
    Unknown,
}

/// The size hint that the caller's body gave at the start, less the data that one attempt has sent
/// since.
#[derive(Clone)]
pub(super) struct RemainingHint {
    start: SizeHint,
    sent: u64,
}

// === impl Framing ===

impl Framing {
    /// `None` if the hint has another form, or is wrong about the length.
    pub(super) fn of(hint: &SizeHint, len: usize) -> Option<Self> {
        match (hint.lower(), hint.upper()) {
            (lower, Some(upper)) if lower == upper && upper == len as u64 => Some(Self::Exact),
            (0, None) => Some(Self::Unknown),
            _ => None,
        }
    }

    pub(super) fn hint(self, len: usize) -> SizeHint {
        match self {
            Self::Exact => SizeHint::with_exact(len as u64),
            Self::Unknown => SizeHint::default(),
        }
    }
}

// === impl RemainingHint ===

impl RemainingHint {
    pub(super) fn new(start: SizeHint) -> Self {
        Self { start, sent: 0 }
    }

    pub(super) fn count(&mut self, frame: &Frame<Bytes>) {
        let len = frame.data_ref().map_or(0, Bytes::len);
        self.sent = self.sent.saturating_add(len as u64);
    }

    pub(super) fn get(&self) -> SizeHint {
        let lower = self.start.lower().saturating_sub(self.sent);
        let upper = self.start.upper().map(|upper| upper.saturating_sub(self.sent));
        let was_exact = self.start.exact().is_some();

        let mut hint = SizeHint::new();
        hint.set_lower(lower);
        // When all of the data is sent, both ends of a range are zero. That is an exact hint, and
        // an exact hint becomes a `content-length`, which the caller's body never asked for.
        if let Some(upper) = upper.filter(|upper| was_exact || *upper > lower) {
            hint.set_upper(upper);
        }
        hint
    }
}
