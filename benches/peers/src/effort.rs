/// The amount of work of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Enough samples for figures.
    Full,
    /// Everything once, to check that it runs.
    Once,
}

// === impl Effort ===

impl Effort {
    /// The number of requests in a herd.
    pub(crate) fn herd(self) -> usize {
        if self == Self::Full { 1_000 } else { 20 }
    }

    /// The number of herds.
    pub(crate) fn runs(self) -> usize {
        if self == Self::Full { 3 } else { 1 }
    }

    /// The number of samples of a fresh request.
    pub(crate) fn turns(self) -> usize {
        if self == Self::Full { 1_500 } else { 1 }
    }
}
