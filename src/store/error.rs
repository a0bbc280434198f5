use std::{error, fmt, sync::Arc};

use crate::{error::BoxError, store::version::Version};

/// A [`Store`](crate::store::Store) or a [`Codec`](crate::store::Codec) failed.
///
/// Clones share the cause. No text of this crate holds a credential or the name of a record. A
/// cause that a store hands over is shown as the store made it.
///
/// ```
/// use tower_refresh::store::{StoreError, StoreErrorKind};
///
/// let error = StoreError::unavailable("connection refused");
/// assert_eq!(error.kind(), StoreErrorKind::Unavailable);
/// assert_eq!(error.to_string(), "the store is unavailable");
/// ```
#[derive(Clone)]
pub struct StoreError {
    kind: StoreErrorKind,
    source: Option<Arc<dyn error::Error + Send + Sync>>,
    version: Option<Version>,
}

/// The kind of a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store could not be reached, is overloaded, or has no space left. A later attempt may
    /// succeed.
    Unavailable,
    /// The store gave no answer within its deadline. The operation may have happened.
    TimedOut,
    /// Access was denied, or others have access to what should be private.
    Denied,
    /// The store is set up in a way that cannot work. Every attempt fails until that is changed.
    Misconfigured,
    /// The record is damaged: cut off, altered, or not a record at all.
    Corrupt,
    /// The record is sound, and this program cannot read it: another type, or a newer format.
    Incompatible,
    /// The record is larger than a store takes.
    TooLarge,
}

// === impl StoreError ===

impl StoreError {
    /// The store could not be reached, is overloaded, or has no space left.
    pub fn unavailable(cause: impl Into<BoxError>) -> Self {
        Self::new(StoreErrorKind::Unavailable, Some(cause.into()))
    }

    /// Access was denied, or others have access to what should be private.
    pub fn denied(cause: impl Into<BoxError>) -> Self {
        Self::new(StoreErrorKind::Denied, Some(cause.into()))
    }

    /// The store is set up in a way that cannot work.
    pub fn misconfigured(cause: impl Into<BoxError>) -> Self {
        Self::new(StoreErrorKind::Misconfigured, Some(cause.into()))
    }

    /// The record is damaged.
    pub fn corrupt(cause: impl Into<BoxError>) -> Self {
        Self::new(StoreErrorKind::Corrupt, Some(cause.into()))
    }

    /// The record is sound, and this program cannot read it.
    pub fn incompatible(cause: impl Into<BoxError>) -> Self {
        Self::new(StoreErrorKind::Incompatible, Some(cause.into()))
    }

    /// The record is larger than a store takes.
    pub fn too_large(cause: impl Into<BoxError>) -> Self {
        Self::new(StoreErrorKind::TooLarge, Some(cause.into()))
    }

    pub(in crate::store) fn timed_out() -> Self {
        Self::new(StoreErrorKind::TimedOut, None)
    }

    /// Says which version the record has that could not be read: for those who write a store.
    ///
    /// A login and a logout write over it. Where the version is missing, they fail as long as the
    /// record is there.
    pub fn of_version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// The version of the record that could not be read, where the store has said it.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// The kind of the failure.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    pub(in crate::store) fn as_dyn(&self) -> &(dyn error::Error + Send + Sync + 'static) {
        self
    }

    fn new(kind: StoreErrorKind, source: Option<BoxError>) -> Self {
        Self { kind, source: source.map(Arc::from), version: None }
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreError")
            .field("kind", &self.kind)
            .field("source", &self.source)
            .finish()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::Unavailable => "the store is unavailable",
            StoreErrorKind::TimedOut => "the store gave no answer in time",
            StoreErrorKind::Denied => "access to the store was denied",
            StoreErrorKind::Misconfigured => "the store is misconfigured",
            StoreErrorKind::Corrupt => "the stored record is damaged",
            StoreErrorKind::Incompatible => "the stored record cannot be read by this program",
            StoreErrorKind::TooLarge => "the record is too large",
        })
    }
}

impl error::Error for StoreError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

// === impl StoreErrorKind ===

impl StoreErrorKind {
    /// A stable word for logs and metrics, such as `unavailable` or `timed_out`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed_out",
            Self::Denied => "denied",
            Self::Misconfigured => "misconfigured",
            Self::Corrupt => "corrupt",
            Self::Incompatible => "incompatible",
            Self::TooLarge => "too_large",
        }
    }
}
