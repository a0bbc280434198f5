//! The stores of the crate keep the contract of `Store`.

use std::sync::Arc;

use tower_refresh::store::{File, Memory};

use crate::support::temporary;

async fn memory() -> Arc<Memory> {
    Arc::new(Memory::new())
}

async fn file() -> File {
    File::new(temporary("conformance"))
}

mod in_memory {
    tower_refresh::store::testing::conformance_tests!(super::memory);
}

mod in_files {
    tower_refresh::store::testing::conformance_tests!(super::file);
}

#[cfg(feature = "sealed")]
mod sealed {
    use tower_refresh::store::{SealKey, Sealed};

    use super::*;

    async fn memory() -> Sealed<Arc<Memory>> {
        Sealed::new(super::memory().await, SealKey::new(1, &[1; 32]))
    }

    async fn file() -> Sealed<File> {
        Sealed::new(super::file().await, SealKey::new(1, &[1; 32]))
    }

    mod in_memory {
        tower_refresh::store::testing::conformance_tests!(super::memory);
    }

    mod in_files {
        tower_refresh::store::testing::conformance_tests!(super::file);
    }
}
