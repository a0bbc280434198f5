//! One recipe a client: how its credential is kept fresh.

pub mod axum_proxy;
pub mod axum_sessions;
pub mod cookie_client;
pub mod hyper_util_client;
pub mod jsonrpsee_client;
pub mod kube_client;
pub mod octocrab_client;
pub mod otlp_exporter;
pub mod otlp_interceptor;
pub mod proxy_client;
pub mod reqwest_client;
pub mod reqwest_middleware_client;
pub mod tonic_client;
pub mod tonic_web_client;
pub mod tower_http_stack;
