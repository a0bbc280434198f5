//! The story. Every number comes from the servers' counters or from what the callers got back.

mod errand;
mod herd;
mod story;

pub(crate) use self::story::Story;
