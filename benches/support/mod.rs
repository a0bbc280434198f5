//! What the benches share.

#![allow(dead_code, reason = "every bench includes this module, and none uses all of it")]

pub(crate) mod floor;
pub(crate) mod overlap;
pub(crate) mod page;
pub(crate) mod poll;
pub(crate) mod race;
pub(crate) mod request;
pub(crate) mod retry;
pub(crate) mod stack;
pub(crate) mod upstream;
