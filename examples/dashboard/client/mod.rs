//! This side: a client that wears the layer, and one that does what most people write by hand.

pub(crate) mod auth;
mod dashboard;
pub(crate) mod http;
mod naive;
mod service;

pub(crate) use self::auth::AuthClient;
pub(crate) use self::dashboard::Dashboard;
pub(crate) use self::naive::Naive;
pub(crate) use self::service::AuthService;
