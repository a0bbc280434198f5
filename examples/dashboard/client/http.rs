//! The HTTP client below both: hyper-util's.

use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

pub(crate) type HttpClient<B> = Client<HttpConnector, B>;

/// A client that speaks HTTP/2. Over cleartext the version cannot be negotiated, so it is set. A
/// real client has an HTTPS connector here, and negotiates.
pub(crate) fn http_client<B>() -> HttpClient<B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    let mut connector = HttpConnector::new();
    // Without it, small requests wait for the acknowledgement of earlier ones.
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).http2_only(true).build(connector)
}
