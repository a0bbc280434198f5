//! The messages, written like code that `prost-build` generates.
//!
//! ```proto
//! service Quotes {
//!   rpc Get(Symbol) returns (Quote);
//!   rpc Watch(Symbol) returns (stream Quote);
//!   rpc Ask(stream Symbol) returns (stream Quote);
//! }
//! service Auth {
//!   rpc Refresh(RefreshToken) returns (Tokens);
//! }
//! ```

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Symbol {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Quote {
    #[prost(string, tag = "1")]
    pub(crate) symbol: String,
    #[prost(uint64, tag = "2")]
    pub(crate) cents: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RefreshToken {
    #[prost(string, tag = "1")]
    pub(crate) token: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Tokens {
    #[prost(string, tag = "1")]
    pub(crate) access: String,
    #[prost(string, tag = "2")]
    pub(crate) refresh: String,
}

// === impl Symbol ===

impl Symbol {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }
}
