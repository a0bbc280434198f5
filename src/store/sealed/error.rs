use std::{error, fmt};

/// The reason why a record was not opened, as the source of a
/// [`StoreError`](crate::store::StoreError).
///
/// ```
/// use std::error::Error;
/// use tower_refresh::store::{SealError, StoreError};
///
/// fn is_key_missing(error: &StoreError) -> bool {
///     let cause = error.source().and_then(|source| source.downcast_ref());
///     matches!(cause, Some(SealError::UnknownKey(_)))
/// }
/// # assert!(!is_key_missing(&StoreError::corrupt("cut off")));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SealError {
    /// The record is not sealed. The kind of the error is
    /// [`Incompatible`](crate::store::StoreErrorKind::Incompatible).
    NotSealed,
    /// The record is sealed with a key of this id, which is not among the keys. The kind of the
    /// error is [`Incompatible`](crate::store::StoreErrorKind::Incompatible).
    UnknownKey(u32),
    /// The record was altered, comes from another name or from a later version, or is sealed with
    /// another key of the same id. The kind of the error is
    /// [`Corrupt`](crate::store::StoreErrorKind::Corrupt).
    Altered,
}

// === impl SealError ===

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSealed => f.write_str("it is not sealed"),
            Self::UnknownKey(id) => write!(f, "it is sealed with the key {id}, which is unknown"),
            Self::Altered => f.write_str("it was altered, moved, or sealed with another key"),
        }
    }
}

impl error::Error for SealError {}
