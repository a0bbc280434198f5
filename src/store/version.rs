/// The version of a record. Versions of one name are ordered by time, and none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

// === impl Version ===

impl Version {
    /// The version with this number: for those who write a store.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number of this version: for those who write a store.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}
