//! The quickstart for hyper-util, as the page of recipes shows it.
//!
//! ```sh
//! cargo add tower-refresh --features oauth2
//! cargo add http tower
//! cargo add hyper-util --features client-legacy,http1,tokio
//! cargo add tokio --features macros,rt-multi-thread
//! ```
#![cfg_attr(rustfmt, rustfmt_skip)]

use tower::Layer;
use tower_refresh::oauth2::{ClientAuth, ClientCredentialsGrant, EndpointUrl, TokenEndpoint};
use tower_refresh::{BoxError, Origin, RefreshLayer, Session};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let http = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new());
    let url = EndpointUrl::new("http://localhost:8080/oauth/token")?;
    let tokens = TokenEndpoint::new(http.build_http(), url, ClientAuth::basic("my-service", "s3cr3t"));
    let session = Session::builder(ClientCredentialsGrant::new(tokens)).acquire_on_demand(true).build();
    let api = RefreshLayer::new(session, Origin::from_static("http://localhost:8080")).layer(http.build_http());
    let user = http::Request::get("http://localhost:8080/user").body(String::new())?;
    println!("{}", api.request(user).await?.status());
    Ok(())
}
