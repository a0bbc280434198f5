//! The state machine of a session: plain data and pure transitions, without I/O, tasks or locks.

pub(super) mod clock;
pub(super) mod held;
pub(super) mod limit;
pub(super) mod outcome;
pub(super) mod outstanding;
pub(super) mod rules;
pub(super) mod state;
pub(super) mod timing;
pub(super) mod transition;

#[cfg(test)]
mod tests;
