//! Shared code of the benches.

#![allow(dead_code, reason = "every bench includes this module and uses a part of it")]

pub(crate) mod floor;
pub(crate) mod overlap;
pub(crate) mod page;
pub(crate) mod poll;
pub(crate) mod race;
pub(crate) mod request;
pub(crate) mod retry;
#[cfg(feature = "store")]
pub(crate) mod sink;
pub(crate) mod stack;
pub(crate) mod upstream;
