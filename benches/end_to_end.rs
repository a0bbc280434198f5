//! What does the layer cost a real client?
//!
//! hyper's client and server talk over loopback, with HTTP/1.1 and HTTP/2, on one runtime of two
//! threads. Client, server and kernel share the cores, so time that one of them uses is lost for
//! the others. The stacks over the client are
//!
//! - this crate's layer;
//! - tower-http's `AddAuthorization`, which sends the same bytes without the layer;
//! - the floor: the work that no layer can avoid if it keeps a copy for a replay;
//! - `AddAuthorization` again, with connections of its own, which shows the variation between equal
//!   stacks.
//!
//! The stacks take turns, and send a slice of a few hundred to two thousand requests in each. The
//! table shows the medians of the stack without the layer, and the median ratios to it within a
//! turn.

mod support;

use std::{convert::Infallible, fmt, net::SocketAddr, time::Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Body, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use support::{
    floor::Floor,
    page::Table,
    race::{Effort, Race, median},
    request::{Head, TOKEN, full, token},
    stack::{authorize, refresh_layer},
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::JoinSet,
};
use tower::{BoxError, Layer, Service, ServiceExt};

/// The page with the tables of all benches of this package.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/README.md");

const THREADS: usize = 2;
const HEAD: Head = Head::Own(4);
/// The body of a response.
const BODY: &[u8] = &[b'x'; 256];
const TURNS: usize = 100;

const SCENARIOS: [Scenario; 4] = [
    Scenario { wire: Wire::Http1, clients: 1, in_flight: 1, slice: 400 },
    Scenario { wire: Wire::Http1, clients: 1, in_flight: 64, slice: 2_048 },
    Scenario { wire: Wire::Http2, clients: 1, in_flight: 64, slice: 2_048 },
    Scenario { wire: Wire::Http2, clients: 64, in_flight: 64, slice: 2_048 },
];

#[derive(Clone, Copy)]
enum Wire {
    Http1,
    Http2,
}

#[derive(Clone, Copy)]
struct Scenario {
    wire: Wire,
    clients: usize,
    in_flight: usize,
    /// The number of requests that a stack sends in a turn.
    slice: usize,
}

/// The server that requests are sent to.
struct Upstream {
    uri: Uri,
}

/// The figures of a stack in one slice.
struct Slice {
    /// Requests per second.
    throughput: f64,
    /// The median and the 99th percentile of the latency, in seconds.
    p50: f64,
    p99: f64,
}

/// A stack over hyper's client.
trait Stack:
    Service<Request<Full<Bytes>>, Response = Response<Incoming>, Error: fmt::Debug, Future: Send>
    + Clone
    + Send
    + 'static
{
}

fn main() {
    let effort = Effort::from_args();
    if effort == Effort::List {
        return;
    }
    println!();
    println!(
        "Requests without the layer, and as ratios to that with it, through the floor, and without it once more"
    );
    println!("({}; client and server on the same {THREADS} threads)", effort.caption());
    println!();
    let columns = [
        &["", "requests/s", "layer", "floor", "again"][..],
        &["p50", "layer", "floor"],
        &["p99", "layer", "floor"],
    ];
    let mut table = Table::new("end_to_end", &columns.concat());
    for scenario in SCENARIOS {
        table.row(row(scenario, effort));
    }
    table.publish(PAGE, effort.is_measured());
}

fn row(scenario: Scenario, effort: Effort) -> Vec<String> {
    let runtime = runtime();
    let slices = race(&runtime, scenario, effort).samples(effort.turns(TURNS));
    let (layer, without, floor, again) = (&slices[0], &slices[1], &slices[2], &slices[3]);
    let value = |of: fn(&Slice) -> f64| median(without.iter().map(of));
    let ratio = |stack: &[Slice], of: fn(&Slice) -> f64| {
        let ratios = stack.iter().zip(without).map(|(own, base)| of(own) / of(base));
        format!("{:.3}", median(ratios))
    };
    let mut row = vec![scenario.to_string(), format!("{:.0}", value(|slice| slice.throughput))];
    row.extend([layer, floor, again].map(|stack| ratio(stack, |slice| slice.throughput)));
    for of in [|slice: &Slice| slice.p50, |slice: &Slice| slice.p99] {
        row.push(format!("{:.0} µs", value(of) * 1e6));
        row.extend([layer, floor].map(|stack| ratio(stack, of)));
    }
    row
}

fn race(runtime: &Runtime, scenario: Scenario, effort: Effort) -> Race<'_, Slice> {
    let Scenario { wire, clients, .. } = scenario;
    let upstream = Upstream::start(runtime, wire);
    let layer = refresh_layer(token());
    let layered = (0..clients).map(|_| layer.layer(client(wire))).collect();
    let floor = (0..clients).map(|_| Floor::new(client(wire), TOKEN)).collect();
    let without = || (0..clients).map(|_| authorize(client(wire))).collect();
    Race::of(sampler(runtime, &upstream, scenario, effort, layered))
        .against(sampler(runtime, &upstream, scenario, effort, without()))
        .against(sampler(runtime, &upstream, scenario, effort, floor))
        .against(sampler(runtime, &upstream, scenario, effort, without()))
}

fn sampler<'a, S: Stack>(
    runtime: &'a Runtime,
    upstream: &Upstream,
    scenario: Scenario,
    effort: Effort,
    stacks: Vec<S>,
) -> impl FnMut() -> Slice + use<'a, S> {
    let Scenario { in_flight, slice, .. } = scenario;
    let (each, uri) = (effort.choose(slice / in_flight, 1), upstream.uri.clone());
    move || {
        runtime.block_on(async {
            let start = Instant::now();
            let stacks = stacks.iter().cycle().take(in_flight);
            let tasks: JoinSet<_> =
                stacks.map(|stack| send(stack.clone(), uri.clone(), each)).collect();
            let latencies = tasks.join_all().await.into_iter().flatten().collect();
            Slice::new(latencies, start.elapsed().as_secs_f64())
        })
    }
}

/// Sends requests one after another and returns their latencies in seconds.
async fn send<S: Stack>(mut stack: S, uri: Uri, count: usize) -> Vec<f64> {
    let mut latencies = Vec::with_capacity(count);
    for _ in 0..count {
        let mut request = HEAD.request(full(0));
        *request.uri_mut() = uri.clone();
        let start = Instant::now();
        let response = stack.ready().await.expect("a client is always ready").call(request).await;
        let response = response.expect("the server responds");
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.expect("the server sends the whole body");
        latencies.push(start.elapsed().as_secs_f64());
        assert_eq!(body.to_bytes().len(), BODY.len());
    }
    latencies
}

// === Client and server ===

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .expect("a runtime with I/O")
}

fn client<B>(wire: Wire) -> Client<HttpConnector, B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).http2_only(matches!(wire, Wire::Http2)).build(connector)
}

/// Responds with 200 to requests with the token, and with 401 to others.
async fn respond(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let authorization = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let is_known =
        authorization.and_then(|value| value.strip_prefix(b"Bearer ")) == Some(TOKEN.as_bytes());
    let mut response = Response::new(Full::new(Bytes::from_static(BODY)));
    if !is_known {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    Ok(response)
}

// === impl Wire ===

impl Wire {
    async fn serve(self, stream: TcpStream) {
        stream.set_nodelay(true).expect("a connected socket");
        let (io, service) = (TokioIo::new(stream), service_fn(respond));
        // Connections end with the bench.
        let _ = match self {
            Self::Http1 => http1::Builder::new().serve_connection(io, service).await,
            Self::Http2 => {
                http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
            }
        };
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        })
    }
}

// === impl Scenario ===

impl Scenario {
    fn connections(self) -> usize {
        match self.wire {
            // One connection per request in flight.
            Wire::Http1 => self.in_flight,
            Wire::Http2 => self.clients,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = self.connections();
        let s = if connections == 1 { "" } else { "s" };
        write!(f, "{}, {connections} connection{s}, {} in flight", self.wire, self.in_flight)
    }
}

// === impl Upstream ===

impl Upstream {
    /// Accepts connections until the runtime ends.
    fn start(runtime: &Runtime, wire: Wire) -> Self {
        let listener = runtime
            .block_on(TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))))
            .expect("a port on loopback");
        let address = listener.local_addr().expect("the listener is bound");
        runtime.spawn(async move {
            loop {
                let (stream, _) =
                    listener.accept().await.expect("the process may open a few hundred sockets");
                tokio::spawn(wire.serve(stream));
            }
        });
        Self { uri: format!("http://{address}/v1/items?page=2").parse().expect("an absolute URI") }
    }
}

// === impl Slice ===

impl Slice {
    fn new(mut latencies: Vec<f64>, seconds: f64) -> Self {
        latencies.sort_by(f64::total_cmp);
        let quantile = |percent| latencies[latencies.len() * percent / 100];
        Self { throughput: latencies.len() as f64 / seconds, p50: quantile(50), p99: quantile(99) }
    }
}

// === impl Stack ===

impl<S> Stack for S where
    S: Service<
            Request<Full<Bytes>>,
            Response = Response<Incoming>,
            Error: fmt::Debug,
            Future: Send,
        > + Clone
        + Send
        + 'static
{
}
