//! A client behind forward proxies, by the environment or by a setting.
//!
//! ```sh
//! cargo add tower-refresh --features client
//! cargo add bytes http http-body-util
//! cargo add hyper-util --features client-legacy,client-proxy,tokio
//! cargo add tower --features util
//! ```

use std::sync::Arc;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_util::client::{
    legacy::connect::{HttpConnector, proxy::Tunnel},
    proxy::matcher::Matcher,
};
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_refresh::{
    Origin, Refresh, RefreshLayer, ReplayBody, Session,
    client::{Https, HttpsClient},
};

pub type Api = Refresh<HttpsClient<ReplayBody<Full<Bytes>>>>;

/// `Matcher::from_env()` reads `HTTPS_PROXY`, `NO_PROXY` and the like, and
/// `Matcher::builder().all("http://proxy:3128").build()` is a setting. Each request goes through a
/// tunnel, so that a proxy sees no credential that the client sends to an `https://` origin.
pub fn client(session: Session, api: Origin, proxies: Matcher) -> Api {
    let proxies = Arc::new(proxies);
    let connector = service_fn(move |to: Uri| {
        let proxy = proxies.intercept(&to);
        async move {
            let mut direct = HttpConnector::new();
            direct.enforce_http(false);
            let Some(proxy) = proxy else {
                return Ok::<_, BoxError>(direct.oneshot(to).await?.into_inner());
            };
            let mut tunnel = Tunnel::new(proxy.uri().clone(), direct);
            if let Some(login) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(login.clone());
            }
            Ok(tunnel.oneshot(to).await?.into_inner())
        }
    });
    RefreshLayer::new(session, api).layer(Https::new().build_over(connector))
}
