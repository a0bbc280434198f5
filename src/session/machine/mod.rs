//! The state machine of a session: plain data and pure transitions. No I/O, no tasks, no locks.

pub(super) mod clock;
pub(super) mod entry;
pub(super) mod limit;
pub(super) mod outcome;
pub(super) mod rules;
pub(super) mod state;
pub(super) mod timing;
pub(super) mod tracker;
pub(super) mod transition;

#[cfg(test)]
mod tests;
