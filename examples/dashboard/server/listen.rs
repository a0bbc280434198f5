//! A hyper server on loopback.

use std::{convert::Infallible, io, net::Ipv4Addr};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::server::traffic::Meter;

/// More than any body of a request here.
const BODY: u32 = 1 << 10;

/// Serves on a free port until the runtime ends, and returns the URL of the server.
///
/// HTTP/2, as between a browser and a real dashboard, and so that the whole herd shares one
/// connection: over HTTP/1 each of 20 000 requests in flight needs a connection of its own, and
/// each connection two file descriptors here.
pub(crate) async fn listen<F, Fut>(herd: u32, meter: Meter, answer: F) -> io::Result<String>
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let service = service_fn(move |request| {
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut server = http2::Builder::new(TokioExecutor::new());
    server
        // All of the herd has to be in flight before a gate opens, ...
        .max_concurrent_streams(herd)
        // ... with its bodies. To share a window that is too small for them they would be cut into
        // very small frames, which looks like an attack, and h2 then closes the connection.
        .initial_connection_window_size(herd.saturating_mul(BODY).max(1 << 20));
    tokio::spawn(async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                // Its clients notice, and the scene fails.
                Err(error) => {
                    return eprintln!("dashboard: the server can't accept connections: {error}");
                }
            };
            meter.count(|traffic| traffic.connections += 1);
            // Only a matter of speed.
            _ = stream.set_nodelay(true);
            let connection = server.serve_connection(TokioIo::new(stream), service.clone());
            // When it breaks, its client notices, and the scene counts what that costs.
            tokio::spawn(connection);
        }
    });
    Ok(url)
}
