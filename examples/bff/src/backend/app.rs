use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{any, get, post},
};
use tower_http::csrf::CsrfLayer;
use tower_refresh::{BoxError, oauth2::Revocation, sessions::Sessions};
use url::Url;

use crate::{
    backend::{
        api::{self, Api},
        cookies::Cookies,
        guard, login, pages,
        provider::{Provider, ProviderSettings},
        session_key::SessionKey,
        sessions,
        status::{self, StatusBoard},
    },
    headers, hosts,
};

/// The parts of the back-end that its handlers share.
#[derive(Clone)]
pub(super) struct Backend {
    pub(super) cookies: Cookies,
    pub(super) provider: Arc<Provider>,
    pub(super) sessions: Sessions<SessionKey>,
    pub(super) revocation: Revocation,
    pub(super) api: Api,
    pub(super) board: Arc<StatusBoard>,
    pub(super) admin: Arc<str>,
}

/// The place of the back-end among the other servers.
pub(crate) struct BackendSettings {
    /// The address that browsers use.
    pub(crate) public: Url,
    /// The hosts of requests: that of the address, and the one that a proxy in front uses.
    pub(crate) hosts: Vec<String>,
    pub(crate) provider: ProviderSettings,
    /// The number of browsers that are logged in at a time.
    pub(crate) capacity: usize,
    /// The origin of the upstream.
    pub(crate) upstream: String,
    /// The administrator's page of the auth server, for a link.
    pub(crate) admin: String,
}

/// Makes the back-end, and spawns the maintenance of its sessions in the current runtime.
pub(crate) fn router(settings: &BackendSettings) -> Result<Router, BoxError> {
    let board = Arc::new(StatusBoard::default());
    let cookies = Cookies::new(&settings.public);
    let revocation = sessions::revocation(&settings.provider)?;
    let sessions = sessions::sessions(
        &settings.provider,
        revocation.clone(),
        settings.capacity,
        board.clone(),
    )?;
    tokio::spawn(sessions.maintain());
    let backend = Backend {
        api: api::stack(&settings.upstream, sessions.clone(), cookies.clone())?,
        cookies,
        provider: Arc::new(Provider::new(&settings.provider)?),
        sessions,
        revocation,
        board,
        admin: settings.admin.as_str().into(),
    };
    let scripted = Router::new()
        .route("/api/{*path}", any(api::forward))
        .route("/logout", post(login::log_out))
        .layer(middleware::from_fn(guard::require_header));
    let routes = Router::new()
        .merge(scripted)
        .route("/login", get(pages::login).post(login::begin))
        .route("/callback", get(login::finish))
        .route("/", get(pages::dashboard))
        .route("/dashboard.js", get(pages::script))
        .route("/style.css", get(pages::style))
        .route("/status", get(status::page))
        .route("/status.json", get(status::json))
        .layer(CsrfLayer::new().add_trusted_origin(settings.public.origin().ascii_serialization())?)
        .with_state(backend);
    let routes = hosts::only(routes, settings.hosts.clone());
    let forms_lead_to: Url = settings.provider.authorization.parse()?;
    Ok(headers::secure(routes, &forms_lead_to.origin().ascii_serialization())?)
}
