use std::env;

use bytes::Bytes;
use kube_client::{
    Config,
    client::ConfigExt,
    config::{AuthInfo, ExecConfig, ExecInteractiveMode},
};
use tower::{BoxError, Layer};

use crate::{
    issuer::FirstToken,
    peer::{Client, Environment, Peer},
    request::URL,
    stack::{self, ServiceClient, UpstreamRequest, UpstreamService},
    upstream::Upstream,
};

/// The layer for a kubeconfig with a credential plugin, as the large providers use it. The plugin
/// is this program: see [`exec_plugin`](crate::endpoint::exec_plugin).
pub(crate) struct Kube;

// === impl Kube ===

impl Peer for Kube {
    const CRATE: &'static str = "kube-client";
    const PART: &'static str = "`AuthLayer`, `exec`";
    const REFRESHES_AFTER: FirstToken = FirstToken::Expired;
    const ASKS_IN_PROCESS: bool = false;

    type Request = UpstreamRequest;
    type Upload = UpstreamRequest;

    fn request() -> UpstreamRequest {
        stack::request()
    }

    fn upload(content: Bytes) -> UpstreamRequest {
        stack::upload(content)
    }

    async fn client(environment: &Environment) -> Result<impl Client<UpstreamRequest>, BoxError> {
        let plugin = ExecConfig {
            api_version: Some("client.authentication.k8s.io/v1".into()),
            command: Some(
                env::current_exe()?.to_str().ok_or("the path of this program is not UTF-8")?.into(),
            ),
            args: Some(vec!["--exec-plugin".into(), environment.endpoint.address().to_string()]),
            env: None,
            drop_env: None,
            install_hint: None,
            interactive_mode: Some(ExecInteractiveMode::Never),
            provide_cluster_info: false,
            cluster: None,
            other: Default::default(),
        };
        let mut config = Config::new(URL.parse()?);
        config.auth_info = AuthInfo { exec: Some(plugin), ..AuthInfo::default() };
        // `auth_layer` runs the plugin for the first time, and blocks until it exits.
        let layer = tokio::task::spawn_blocking(move || config.auth_layer()).await??;
        let layer = layer.ok_or("the plugin returned no token")?;
        Ok(ServiceClient(layer.layer(UpstreamService::new(environment.upstream.clone()))))
    }

    fn bare(upstream: Upstream) -> impl Client<UpstreamRequest> {
        ServiceClient(UpstreamService::new(upstream))
    }
}
