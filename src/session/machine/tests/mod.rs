//! Tests of the state machine without a runtime. `table` has a test for each cell of the table,
//! and `properties` compares random walks with a model.

mod key;
mod properties;
mod table;
mod view;
