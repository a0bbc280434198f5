//! The part of Tokio that tower-refresh uses, over the scheduler [shuttle].
//!
//! Every operation that another thread can observe begins with a scheduling point, where shuttle
//! may run any other task. A task of this runtime can therefore be interrupted in the middle of a
//! poll, as a thread of a multi-thread runtime can.
//!
//! Time is virtual and moves only in [`model::advance`]. Runtimes can be shut down. A panic that is
//! part of a scenario ends its task alone. The memory order is sequentially consistent, since
//! shuttle does not model weaker ones.
//!
//! All tasks share one OS thread. While one of them unwinds, locks that others release count as
//! poisoned, so poison means nothing here.

pub mod model;
pub mod runtime;
pub mod sync;
pub mod task;
pub mod time;

#[doc(hidden)]
pub use shuttle;

pub use crate::task::spawn;
