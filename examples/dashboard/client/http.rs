//! The client below both: plain hyper-util.

use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

pub(crate) type HttpClient<B> = Client<HttpConnector, B>;

/// HTTP/2 has to be asked for, because over cleartext it can't be negotiated. Over TLS it would be,
/// and an HTTPS connector would be here.
pub(crate) fn http_client<B>() -> HttpClient<B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    let mut connector = HttpConnector::new();
    // Small requests would wait for the acknowledgement of the ones before.
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).http2_only(true).build(connector)
}
