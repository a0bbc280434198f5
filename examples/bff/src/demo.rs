use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{net::TcpListener, task::JoinSet};
use tower_refresh::BoxError;
use url::Url;

use crate::{
    auth_server::{self, Client, Grants},
    backend::{self, BackendSettings, ProviderSettings},
    upstream,
};

/// The settings of a [`Demo`].
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// The port of the back-end. With 0, the system chooses a free one.
    pub port: u16,
    /// The port of the auth server. With 0, the system chooses a free one.
    pub auth_port: u16,
    /// The port of the upstream. With 0, the system chooses a free one.
    pub upstream_port: u16,
    /// The lifetime of access tokens, in whole seconds.
    pub token_lifetime: Duration,
    /// The number of browsers that are logged in at a time.
    pub max_sessions: usize,
    /// The address of the back-end for browsers, if a proxy with TLS is in front of it.
    pub public_url: Option<Url>,
}

/// The back-end, the auth server and the upstream on loopback. Dropping it closes their ports.
#[derive(Debug)]
pub struct Demo {
    address: String,
    auth_address: String,
    servers: JoinSet<std::io::Result<()>>,
}

// === impl DemoOptions ===

impl Default for DemoOptions {
    fn default() -> Self {
        Self {
            port: 0,
            auth_port: 0,
            upstream_port: 0,
            token_lifetime: Duration::from_secs(60),
            max_sessions: 10_000,
            public_url: None,
        }
    }
}

// === impl Demo ===

impl Demo {
    /// Starts the three servers.
    ///
    /// # Errors
    ///
    /// If a port is taken.
    pub async fn start(options: &DemoOptions) -> Result<Self, BoxError> {
        let (backend, port) = bind(options.port).await?;
        let (auth, auth_port) = bind(options.auth_port).await?;
        let (upstream, upstream_port) = bind(options.upstream_port).await?;

        let address = format!("http://127.0.0.1:{port}");
        // Cookies do not tell ports apart. By another name, the auth server is another site, and
        // gets no cookie of the back-end.
        let auth_address = format!("http://localhost:{auth_port}");
        let public = options.public_url.clone().map_or_else(|| address.parse(), Ok)?;
        let client = Client::register(public.join("/callback")?.into());
        let provider = ProviderSettings {
            authorization: format!("{auth_address}/authorize"),
            token: format!("http://127.0.0.1:{auth_port}/token"),
            revocation: format!("http://127.0.0.1:{auth_port}/revoke"),
            client_id: client.id.clone(),
            client_secret: client.secret.clone(),
            redirect_uri: client.redirect_uri.clone(),
        };
        let pages = public.origin().ascii_serialization();
        let auth_hosts =
            ["localhost", "127.0.0.1"].map(|host| format!("{host}:{auth_port}")).into();
        let settings = BackendSettings {
            hosts: vec![public.authority().to_owned(), format!("127.0.0.1:{port}")],
            public,
            provider,
            capacity: options.max_sessions,
            upstream: format!("http://127.0.0.1:{upstream_port}"),
            admin: format!("{auth_address}/admin"),
        };
        let grants = Arc::new(Grants::new(options.token_lifetime));

        let mut servers = JoinSet::new();
        serve(&mut servers, upstream, upstream::router(grants.clone()));
        serve(&mut servers, auth, auth_server::router(client, grants, auth_hosts, &pages)?);
        serve(&mut servers, backend, backend::router(&settings)?);
        Ok(Self { address, auth_address, servers })
    }

    /// The address of the back-end, such as `http://127.0.0.1:8080`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address of the auth server. Its administrator's page is `/admin`.
    pub fn auth_address(&self) -> &str {
        &self.auth_address
    }

    /// Serves until one of the servers fails.
    ///
    /// # Errors
    ///
    /// The error of that server.
    pub async fn run(mut self) -> Result<(), BoxError> {
        while let Some(ended) = self.servers.join_next().await {
            ended??;
        }
        Ok(())
    }
}

async fn bind(port: u16) -> std::io::Result<(TcpListener, u16)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

fn serve(servers: &mut JoinSet<std::io::Result<()>>, listener: TcpListener, router: Router) {
    servers.spawn(async move { axum::serve(listener, router).await });
}
