//! A client that behaves like a browser: its credential is a cookie jar.
//!
//! ```sh
//! cargo add tower-refresh --features cookies
//! cargo add bytes http-body-util tower
//! cargo add hyper-util --features client-legacy,http1,tokio
//! ```

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::Layer;
use tower_refresh::{Origin, Refresh, RefreshLayer, ReplayBody, Session, cookies::Jar};

pub type Api = Refresh<Client<HttpConnector, ReplayBody<Full<Bytes>>>, Jar>;

/// The refresher of the session is a `cookies::RefreshEndpoint`.
pub fn client(session: Session<Jar>, api: Origin) -> Api {
    let http = Client::builder(TokioExecutor::new()).build_http();
    RefreshLayer::new(session, api).layer(http)
}
