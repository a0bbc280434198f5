//! Serves the metrics of a program's sessions as Prometheus text.
//!
//! ```sh
//! cargo run --manifest-path examples/metrics/Cargo.toml
//! curl http://127.0.0.1:9464/metrics
//! ```
//!
//! The example tells a [`story`] that moves every series, and logs it: spans and events of the
//! feature `tracing`, filtered by `RUST_LOG`.

mod serve;
mod story;
mod world;

#[cfg(test)]
mod tests;

use std::{env, net::Ipv4Addr};

use metrics_exporter_prometheus::PrometheusBuilder;
use tower_refresh::{
    BoxError,
    observe::{metrics::MetricsObserver, tracing::TracingObserver},
};
use tracing_subscriber::EnvFilter;

const HELP: &str = "\
Serves the metrics of tower-refresh as Prometheus text, and tells a story that moves every series.

    --once         tell the story, print the metrics, and exit
    --port PORT    serve at http://127.0.0.1:PORT/metrics (default: 9464)
    --help         print this text

RUST_LOG filters the log, for example RUST_LOG=tower_refresh=debug.
";

struct Args {
    once: bool,
    port: u16,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let Some(Args { once, port }) = parse()? else {
        print!("{HELP}");
        return Ok(());
    };
    let filter = env::var("RUST_LOG").unwrap_or_else(|_| "tower_refresh=warn".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .init();
    // The recorder comes first: `MetricsObserver::new` describes the metrics to it.
    let prometheus = PrometheusBuilder::new().install_recorder()?;
    let (metrics, tracing) = (MetricsObserver::new(), TracingObserver::new());
    story::tell(metrics, &tracing).await?;
    if once {
        print!("{}", prometheus.render());
        return Ok(());
    }
    println!("http://127.0.0.1:{port}/metrics");
    serve::metrics((Ipv4Addr::LOCALHOST, port).into(), prometheus).await
}

fn parse() -> Result<Option<Args>, lexopt::Error> {
    use lexopt::prelude::{Long, Short, ValueExt};

    let mut args = Args { once: false, port: 9464 };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("once") => args.once = true,
            Long("port") => args.port = parser.value()?.parse()?,
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Some(args))
}
