//! The story. Every number comes from the servers' counters or from what the callers got back; only
//! how many wait, the session alone knows.

mod errand;
mod herd;
mod steady;
mod story;

pub(crate) use self::story::Story;
