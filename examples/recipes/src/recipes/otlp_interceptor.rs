//! OTLP over gRPC: its exporter has a channel of its own, which no layer fits around.

use tonic::{Request, Status, metadata::MetadataValue};
use tower_refresh::{Session, Token};

/// An interceptor for `SpanExporter::builder().with_tonic().with_interceptor(..)`.
///
/// An interceptor can neither wait nor see answers. So a task keeps the token fresh by its expiry,
/// and a rejection is not noticed: a token without an expiry needs a client with a layer.
pub fn interceptor(
    session: Session,
) -> impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone + Send + Sync + 'static {
    tokio::spawn(session.keep_fresh());
    move |mut request| {
        let token = session.credential().ok_or_else(|| Status::unauthenticated("not logged in"))?;
        request.metadata_mut().insert("authorization", metadata(&token)?);
        Ok(request)
    }
}

fn metadata(token: &Token) -> Result<MetadataValue<tonic::metadata::Ascii>, Status> {
    let value = MetadataValue::try_from(token.authorization().as_bytes());
    let mut value = value.map_err(|error| Status::internal(error.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}
