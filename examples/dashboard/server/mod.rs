//! The server side: an API and an auth service, each on its own port.
//!
//! Clients cannot tell them from real servers. The scenes control three things that a real server
//! leaves to chance: the time of day, the moment at which the access token expires, and the order
//! of answers ([`Gate`](gate::Gate)).

mod api;
mod auth;
mod backend;
mod gate;
pub(crate) mod link;
mod listen;
mod traffic;
pub(crate) mod wire;

pub(crate) use self::{
    auth::{PASSWORD, USER},
    backend::Backend,
    wire::{Bearer, Wire},
};
