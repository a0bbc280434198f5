//! A hyper server on loopback.

use std::{convert::Infallible, io, net::Ipv4Addr};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::server::traffic::Meter;

/// Larger than any request body in this example.
const BODY: u32 = 1 << 10;

/// Serves on a free port until the runtime ends, and returns the URL of the server.
///
/// The server speaks HTTP/2, as a real dashboard does, so that all requests share one connection.
/// Over HTTP/1 each of 20 000 concurrent requests needs its own connection, and each connection two
/// file descriptors in this process.
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
        // All requests have to be in flight before a gate opens.
        .max_concurrent_streams(herd)
        // Their bodies have to fit as well. A smaller window would split them into tiny frames, and
        // h2 closes a connection with too many of those, as a defence.
        .initial_connection_window_size(herd.saturating_mul(BODY).max(1 << 20));
    tokio::spawn(async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                // Requests to this server then fail, and so does the scene.
                Err(error) => {
                    return eprintln!("dashboard: the server can't accept connections: {error}");
                }
            };
            meter.count(|traffic| traffic.connections += 1);
            // Without it the server is slower, nothing else.
            _ = stream.set_nodelay(true);
            let connection = server.serve_connection(TokioIo::new(stream), service.clone());
            // A broken connection fails its requests, and the scene counts those.
            tokio::spawn(connection);
        }
    });
    Ok(url)
}
