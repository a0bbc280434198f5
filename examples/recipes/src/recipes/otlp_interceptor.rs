//! OTLP over gRPC: its exporter has a channel of its own, which no layer fits around.
//!
//! ```sh
//! cargo add tower-refresh futures-util tonic
//! cargo add opentelemetry-otlp --features grpc-tonic,trace
//! cargo add tokio --features rt-multi-thread
//! ```

use futures_util::FutureExt;
use tonic::{Request, Status, metadata::MetadataValue};
use tower_refresh::{Error, ErrorKind, Session, Token};

/// An interceptor for `SpanExporter::builder().with_tonic().with_interceptor(..)`.
///
/// An interceptor can neither wait nor see answers. So a task keeps the token fresh by its expiry,
/// and a rejection is not noticed: a token without an expiry needs a client with a layer. While
/// there is no usable token, a call starts a refresh and fails with UNAVAILABLE, which exporters
/// retry. A program that waits for `session.acquire()` first loses no export at its start.
pub fn interceptor(
    session: Session,
) -> impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone + Send + Sync + 'static {
    tokio::spawn(session.keep_fresh());
    move |mut request| {
        let token = match session.fresh().now_or_never() {
            Some(token) => token.map_err(status)?,
            None => return Err(Status::unavailable("the token is being refreshed")),
        };
        request.metadata_mut().insert("authorization", metadata(&token)?);
        Ok(request)
    }
}

fn status(error: Error) -> Status {
    match error.kind() {
        ErrorKind::LoggedOut => Status::unauthenticated(error.to_string()),
        _ => Status::unavailable(error.to_string()),
    }
}

fn metadata(token: &Token) -> Result<MetadataValue<tonic::metadata::Ascii>, Status> {
    let value = MetadataValue::try_from(token.authorization().as_bytes());
    let mut value = value.map_err(|error| Status::internal(error.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}
