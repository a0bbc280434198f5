//! The other side: an API and an auth service, each on a port of its own.
//!
//! They are as real as the clients can tell. What a real one leaves to chance is under the control
//! of the scenes instead: what time it is, when the access token expires, and in what order answers
//! come ([`Gate`]).

mod api;
mod auth;
mod backend;
mod gate;
mod listen;
mod traffic;
pub(crate) mod wire;

pub(crate) use self::{
    auth::{PASSWORD, USER},
    backend::Backend,
    wire::{Bearer, Wire},
};
