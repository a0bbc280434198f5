//! kube: the layer in a stack of one's own, or around kube's stack.
//!
//! ```sh
//! cargo add tower-refresh http http-body-util
//! cargo add hyper-util --features client-legacy,http1,tokio
//! cargo add k8s-openapi --features latest
//! cargo add kube --features ws
//! cargo add tower --features buffer,util
//! ```

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_util::{client::legacy, rt::TokioExecutor};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, ConfigExt},
};
use tower::{
    BoxError, Service, ServiceBuilder, ServiceExt, buffer::BufferLayer, layer::layer_fn, service_fn,
};
use tower_refresh::{Origin, Origins, RefreshLayer, ReplayBody, Session, refresher::BoxFuture};

/// A stack of one's own: the base URI, the refresh, the HTTP client.
pub fn client(session: Session, api: Origin, config: &Config) -> Client {
    let http = legacy::Client::builder(TokioExecutor::new()).build_http();
    let stack = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(RefreshLayer::new(session, api))
        .service(http);
    Client::new(stack, &config.default_namespace)
}

/// Around kube's stack, with its TLS and proxies. That stack cannot be cloned, so a `Buffer` is
/// between. It completes paths below the layer, so the layer is told the origin of paths. kube
/// takes its own type of body, which is made of bytes: kube sends no streams.
pub fn around(session: Session, api: Origin, config: Config) -> kube::Result<Client> {
    let origins = Origins::from(api.clone()).relative_to(api);
    let layers = ServiceBuilder::new()
        .layer(RefreshLayer::new(session, origins))
        .layer(layer_fn(with_whole_bodies))
        .layer(BufferLayer::new(1024))
        .into_inner();
    Ok(ClientBuilder::try_from(config)?.with_layer(&layers).build())
}

fn with_whole_bodies<S, B>(
    stack: S,
) -> impl Service<
    Request<ReplayBody<Body>>,
    Response = Response<B>,
    Error = BoxError,
    Future = BoxFuture<'static, Result<Response<B>, BoxError>>,
> + Clone
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
    B: 'static,
{
    service_fn(move |request: Request<ReplayBody<Body>>| {
        let stack = stack.clone();
        let sending: BoxFuture<'static, _> = Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = Body::from(body.collect().await?.to_bytes());
            stack.oneshot(Request::from_parts(head, body)).await
        });
        sending
    })
}
