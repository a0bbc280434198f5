//! The scenes. Every number comes from the servers' counters or from the callers' results, except
//! the number of waiting requests, which only the session knows.

pub(crate) mod api_call;
pub(crate) mod herd;
mod steady;
mod story;

pub(crate) use self::story::{Played, Story};
