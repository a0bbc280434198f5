//! tower-refresh in the clients of other crates.
