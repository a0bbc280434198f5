//! This side: a client that wears the layer, and one that does what most people write by hand.

pub(crate) mod auth;
mod dashboard;
pub(crate) mod http;
mod naive;
mod service;

pub(crate) use self::{auth::AuthClient, dashboard::Dashboard, naive::Naive, service::AuthService};
