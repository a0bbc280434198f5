//! reqwest-middleware: the layer as a middleware.
//!
//! ```sh
//! cargo add tower-refresh --features reqwest-middleware
//! cargo add reqwest reqwest-middleware
//! ```

use reqwest::{Client, redirect::Policy};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use tower_refresh::{Origin, RefreshLayer, Session, reqwest::RefreshMiddleware};

/// Requests are sent as usual: `client.get(url).send().await`.
pub fn client(session: Session, api: Origin) -> reqwest::Result<ClientWithMiddleware> {
    let http = Client::builder().redirect(Policy::none()).build()?;
    let refresh = RefreshMiddleware::new(RefreshLayer::new(session, api)).follow_redirects(10);
    Ok(ClientBuilder::new(http).with(refresh).build())
}
