//! The stores of the crate keep the contract of `Store`.

use std::{path::PathBuf, sync::Arc};

use tower_refresh::store::{File, Memory};

async fn memory() -> Arc<Memory> {
    Arc::new(Memory::new())
}

async fn file() -> File {
    File::new(temporary("conformance"))
}

/// A directory that does not exist yet.
pub(crate) fn temporary(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join("tower-refresh-tests");
    path.join(format!("{name}-{}-{:016x}", std::process::id(), fastrand()))
}

fn fastrand() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};

    RandomState::new().build_hasher().finish()
}

mod in_memory {
    tower_refresh::store::testing::conformance_tests!(super::memory);
}

mod in_files {
    tower_refresh::store::testing::conformance_tests!(super::file);
}
