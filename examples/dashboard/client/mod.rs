//! The client side: a client with the layer, and a client with a refresh written by hand.

pub(crate) mod auth;
mod dashboard;
pub(crate) mod http;
mod naive;
mod service;

pub(crate) use self::{auth::AuthClient, dashboard::Dashboard, naive::Naive, service::AuthService};
