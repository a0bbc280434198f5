//! The endpoint that Prometheus scrapes.

use std::{convert::Infallible, net::SocketAddr};

use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tower_refresh::BoxError;

/// Serves `/metrics` until the program ends.
pub(crate) async fn metrics(
    address: SocketAddr,
    prometheus: PrometheusHandle,
) -> Result<(), BoxError> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (connection, _) = listener.accept().await?;
        let prometheus = prometheus.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let response = scrape(request.uri().path(), &prometheus);
            async { Ok::<_, Infallible>(response) }
        });
        // A scraper that disconnects early ends its own task alone.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
    }
}

fn scrape(path: &str, prometheus: &PrometheusHandle) -> Response<Full<bytes::Bytes>> {
    if path != "/metrics" {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    prometheus.run_upkeep();
    let mut response = Response::new(Full::from(prometheus.render()));
    let content_type = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
