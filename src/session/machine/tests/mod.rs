//! The state machine, without a runtime: `table` has a test for each cell of the table,
//! `properties` takes random walks.

mod key;
mod picture;
mod properties;
mod table;
