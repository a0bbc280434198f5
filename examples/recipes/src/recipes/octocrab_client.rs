//! octocrab: the layer below its own middleware.
//!
//! ```sh
//! cargo add tower-refresh http octocrab tower
//! cargo add hyper-util --features client-legacy,http1,tokio
//! ```

use std::convert::Infallible;

use http::Uri;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use octocrab::{AuthState, Octocrab, OctocrabBuilder, service::middleware::base_uri::BaseUriLayer};
use tower::Layer;
use tower_refresh::{Origin, RefreshLayer, Session};

/// octocrab sends paths, which the layer for the base URI completes above the refresh.
///
/// The client has a `Buffer` inside, whose worker is another task. A refresher that sends through
/// this very client marks its requests `Anonymous`. Otherwise they wait for the refresh that they
/// belong to, until its time-out.
pub fn client(session: Session, api: Origin, base: Uri) -> Result<Octocrab, Infallible> {
    let http = Client::builder(TokioExecutor::new()).build_http();
    OctocrabBuilder::new_empty()
        .with_service(RefreshLayer::new(session, api).layer(http))
        .with_layer(&BaseUriLayer::new(base))
        .with_auth(AuthState::None)
        .build()
}
