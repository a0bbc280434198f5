use http_body::SizeHint;

/// What the size hint of the caller's body said at the start, where that needs no keeping: nearly
/// always.
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

    pub(super) fn hint(self, len: usize) -> SizeHint {
        match self {
            Self::Exact => SizeHint::with_exact(len as u64),
            Self::Unknown => SizeHint::default(),
        }
    }
}
