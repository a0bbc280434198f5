//! tower-refresh in the clients of other crates.
//!
//! Each module of [`recipes`] is one short program part for one client. The [`trial`] is the test
//! that all of them pass.

pub mod recipes;
pub mod trial;
