//! reqwest: requests of its builder through the layer.
//!
//! ```sh
//! cargo add tower-refresh --features reqwest
//! cargo add reqwest tower
//! ```

use reqwest::Client;
use tower::Layer;
use tower_refresh::{Origin, Refresh, RefreshLayer, Session, reqwest::ClientService};

/// Requests are sent with `client.get_ref().client().get(url).send_through(&client).await`.
pub fn client(session: Session, api: Origin) -> reqwest::Result<Refresh<ClientService>> {
    let http = ClientService::new(Client::builder())?;
    Ok(RefreshLayer::new(session, api).layer(http))
}
