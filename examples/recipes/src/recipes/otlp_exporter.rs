//! OTLP over HTTP: the layer as the HTTP client of the exporter.
//!
//! ```sh
//! cargo add tower-refresh async-trait bytes http http-body-util opentelemetry-http tower
//! cargo add hyper-util --features client-legacy,http1,tokio
//! cargo add opentelemetry-otlp --features http-proto,trace
//! ```

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use tower_refresh::{Origin, Session};

use crate::recipes::hyper_util_client::{self, Api};

/// A client of hyper-util as the exporter wants it.
#[derive(Debug)]
struct Collector(Api);

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let response = self.0.request(request.map(Full::new)).await?;
        let (head, body) = response.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}

pub fn exporter(
    session: Session,
    api: Origin,
    url: &str,
) -> Result<SpanExporter, ExporterBuildError> {
    let collector = Collector(hyper_util_client::client(session, api));
    SpanExporter::builder().with_http().with_http_client(collector).with_endpoint(url).build()
}
