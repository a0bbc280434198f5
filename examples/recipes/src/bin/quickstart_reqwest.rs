//! The quickstart for reqwest, as the page of recipes shows it.
//!
//! ```sh
//! cargo add tower-refresh --features oauth2,reqwest
//! cargo add reqwest tower
//! cargo add tokio --features macros,rt-multi-thread
//! ```
#![cfg_attr(rustfmt, rustfmt_skip)]

use tower::Layer;
use tower_refresh::oauth2::{ClientAuth, ClientCredentialsGrant, EndpointUrl, TokenEndpoint};
use tower_refresh::{BoxError, Origin, RefreshLayer, Session, reqwest::{ClientService, SendThrough}};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let http = ClientService::new(reqwest::Client::builder())?;
    let url = EndpointUrl::new("https://login.example.com/oauth/token")?;
    let tokens = TokenEndpoint::new(http.clone(), url, ClientAuth::basic("my-service", "s3cr3t"));
    let session = Session::builder(ClientCredentialsGrant::new(tokens)).acquire_on_demand(true).build();
    let api = RefreshLayer::new(session, Origin::from_static("https://api.example.com")).layer(http.clone());
    let user = http.client().get("https://api.example.com/user").send_through(&api).await?;
    println!("{}", user.error_for_status()?.text().await?);
    Ok(())
}
