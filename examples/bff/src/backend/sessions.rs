use std::{sync::Arc, time::Duration};

use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower_refresh::{
    BoxError, Session,
    oauth2::{ClientAuth, EndpointUrl, RefreshTokenGrant, Revocation, TokenEndpoint},
    sessions::Sessions,
};

use crate::backend::{provider::ProviderSettings, session_key::SessionKey, status::StatusBoard};

/// A browser that sends nothing for this time is logged out.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// A browser has to log in again after this time.
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// The number of calls of one browser that wait for its refresh.
const MAX_WAITERS: usize = 100;
/// The time that a browser waits for the revocation when it logs out.
const REVOCATION_TIMEOUT: Duration = Duration::from_secs(3);

/// A session for each browser. Its refreshes go to the auth server, and the end of its login
/// revokes the grant.
///
/// Sessions have no name, since their keys are secrets. A login beyond the capacity is refused, and
/// ends no other one.
pub(super) fn sessions(
    provider: &ProviderSettings,
    revocation: Revocation,
    capacity: usize,
    board: Arc<StatusBoard>,
) -> Result<Sessions<SessionKey>, BoxError> {
    let http = Client::builder(TokioExecutor::new()).build_http();
    let url = EndpointUrl::new(&provider.token)?;
    let tokens = TokenEndpoint::new(http, url, client(provider));
    let template = Session::builder(RefreshTokenGrant::new(tokens))
        .max_waiters(MAX_WAITERS)
        .on_login_end(revocation.into_hook())
        .observer(board)
        .template();
    Ok(Sessions::builder(template)
        .idle_timeout(IDLE_TIMEOUT)
        .lifetime(LIFETIME)
        .capacity(capacity)
        .build())
}

/// Revokes tokens at the auth server.
pub(super) fn revocation(provider: &ProviderSettings) -> Result<Revocation, BoxError> {
    let http = Client::builder(TokioExecutor::new()).build_http();
    let url = EndpointUrl::new(&provider.revocation)?;
    Ok(Revocation::new(http, url, client(provider)).timeout(REVOCATION_TIMEOUT))
}

fn client(provider: &ProviderSettings) -> ClientAuth {
    ClientAuth::basic(&provider.client_id, provider.client_secret.as_str())
}
