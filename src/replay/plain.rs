use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::mem;

/// A body of at most one frame of data, and of a size hint that needs no keeping: what nearly every request has. Each
/// attempt has a clone of it.
#[derive(Clone)]
pub(super) enum Plain {
    Over(Framing),
    One(Bytes, Framing),
}

/// What the size hint of the caller's body said at the start.
#[derive(Clone, Copy)]
pub(super) enum Framing {
    /// How long it is.
    Exact,
    /// Nothing.
    Unknown,
}

// === impl Framing ===

impl Framing {
    /// `None` for a hint that says something else of a body of that length.
    pub(super) fn of(hint: &SizeHint, len: usize) -> Option<Self> {
        match (hint.lower(), hint.upper()) {
            (lower, Some(upper)) if lower == upper && upper == len as u64 => Some(Self::Exact),
            (0, None) => Some(Self::Unknown),
            _ => None,
        }
    }

    fn hint(self, len: usize) -> SizeHint {
        match self {
            Self::Exact => SizeHint::with_exact(len as u64),
            Self::Unknown => SizeHint::default(),
        }
    }
}

// === impl Plain ===

impl Plain {
    pub(super) fn next(&mut self) -> Option<Frame<Bytes>> {
        let Self::One(data, framing) = self else { return None };
        let frame = Frame::data(mem::take(data));
        *self = Self::Over(*framing);
        Some(frame)
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Over(_))
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Over(framing) => framing.hint(0),
            Self::One(data, framing) => framing.hint(data.len()),
        }
    }
}
