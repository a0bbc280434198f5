//! The controls of a scenario: scheduling points, the time, and panics that are part of it.

use std::panic::resume_unwind;

use shuttle_engine::runtime::thread;

use crate::time;
pub use crate::time::advance;

/// The payload of a panic that is part of a scenario. Any other panic of a task is a failed check.
pub(crate) struct Deliberate;

/// A scheduling point: another task may run here.
pub fn point() {
    thread::switch_if_not_stopping();
}

/// Puts the clock back to zero. Each execution begins with this.
pub fn reset() {
    time::reset();
}

/// Panics in a way that ends only the task, and that no panic hook reports.
pub fn panic() -> ! {
    resume_unwind(Box::new(Deliberate))
}
