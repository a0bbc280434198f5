//! jsonrpsee: the layer as its HTTP middleware.
//!
//! ```sh
//! cargo add tower-refresh http
//! cargo add jsonrpsee --features http-client
//! cargo add tower --features util
//! ```

use http::Request;
use jsonrpsee::{
    core::{
        client::{ClientT, Error},
        http_helpers::HttpError,
    },
    http_client::{HttpBody, HttpClientBuilder, transport},
};
use tower::{BoxError, ServiceBuilder};
use tower_refresh::{Origin, RefreshLayer, ReplayBody, Session};

/// jsonrpsee fixes the error type of its middleware, so the error of the session is boxed in it.
pub fn client(
    session: Session,
    api: Origin,
    url: &str,
) -> Result<impl ClientT + Send + Sync + use<>, Error> {
    let layers = ServiceBuilder::new()
        .map_err(|error: BoxError| match error.downcast::<transport::Error>() {
            Ok(error) => *error,
            Err(error) => transport::Error::Http(HttpError::Stream(error)),
        })
        .layer(RefreshLayer::new(session, api))
        .map_request(|request: Request<ReplayBody<HttpBody>>| request.map(HttpBody::new));
    HttpClientBuilder::new().set_http_middleware(layers).build(url)
}
