//! This side: a client that wears the layer, and one that does what most people write by hand.

mod auth;
mod dashboard;
mod http;
mod naive;

pub(crate) use self::dashboard::Dashboard;
pub(crate) use self::naive::Naive;
