//! The quickstart for reqwest-middleware, as the page of recipes shows it.
//!
//! ```sh
//! cargo add tower-refresh --features oauth2,reqwest-middleware
//! cargo add reqwest reqwest-middleware
//! cargo add tokio --features macros,rt-multi-thread
//! ```
#![cfg_attr(rustfmt, rustfmt_skip)]

use tower_refresh::oauth2::{ClientAuth, ClientCredentialsGrant, EndpointUrl, TokenEndpoint};
use tower_refresh::reqwest::{ClientService, RefreshMiddleware};
use tower_refresh::{BoxError, Origin, RefreshLayer, Session};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let http = ClientService::new(reqwest::Client::builder())?;
    let url = EndpointUrl::new("https://login.example.com/oauth/token")?;
    let tokens = TokenEndpoint::new(http.clone(), url, ClientAuth::basic("my-service", "s3cr3t"));
    let session = Session::builder(ClientCredentialsGrant::new(tokens)).acquire_on_demand(true).build();
    let layer = RefreshLayer::new(session, Origin::from_static("https://api.example.com"));
    let refresh = RefreshMiddleware::new(layer).follow_redirects(10);
    let api = reqwest_middleware::ClientBuilder::new(http.client().clone()).with(refresh).build();
    println!("{}", api.get("https://api.example.com/user").send().await?.text().await?);
    Ok(())
}
