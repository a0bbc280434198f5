//! Shared parts of the fuzz targets.
//!
//! A target compares the library with a second, straightforward implementation, or with the value
//! from which the text was made. `cargo +nightly fuzz run NAME` runs one, and `.ci/fuzz` all.

mod body;
pub mod date;

pub use body::{Frames, Part};
use tokio::runtime::{Builder, Runtime};

/// Runs a future on a runtime of its thread. Its clock is paused, so that no time limit ends on a
/// busy machine: a future that can go on does.
pub fn block_on<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime needs only memory");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}
