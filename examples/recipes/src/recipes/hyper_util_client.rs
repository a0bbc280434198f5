//! hyper-util: its client is the inner service.
//!
//! ```sh
//! cargo add tower-refresh bytes http-body-util tower
//! cargo add hyper-util --features client-legacy,http1,tokio
//! ```

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::Layer;
use tower_refresh::{Origin, Refresh, RefreshLayer, ReplayBody, Session};

/// The type of the client, for the field of a struct.
pub type Api = Refresh<Client<HttpConnector, ReplayBody<Full<Bytes>>>>;

/// Requests are sent with `client.request(request).await`.
pub fn client(session: Session, api: Origin) -> Api {
    let http = Client::builder(TokioExecutor::new()).build_http();
    RefreshLayer::new(session, api).layer(http)
}
