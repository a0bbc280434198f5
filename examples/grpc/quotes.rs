//! The quotes that the server sells.

use std::time::{Duration, Instant};

use tokio::{sync::mpsc, time};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Status, Streaming};

use crate::messages::{Quote, Symbol};

const TICK: Duration = Duration::from_millis(20);

pub(crate) fn get(symbol: &Symbol) -> Quote {
    Quote { symbol: symbol.name.clone(), cents: symbol.name.bytes().map(u64::from).sum() }
}

/// A quote for every tick, until the token has expired.
pub(crate) fn watch(
    symbol: Symbol,
    expiry: Instant,
) -> impl Stream<Item = Result<Quote, Status>> + Send {
    let (quotes, received) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut ticks = time::interval(TICK);
        while quotes.send(Ok(get(&symbol))).await.is_ok() {
            ticks.tick().await;
            if Instant::now() >= expiry {
                let _ = quotes.send(Err(Status::unauthenticated("the token has expired"))).await;
                break;
            }
        }
    });
    ReceiverStream::new(received)
}

/// A quote for every symbol.
pub(crate) fn ask(symbols: Streaming<Symbol>) -> impl Stream<Item = Result<Quote, Status>> + Send {
    symbols.map(|symbol| symbol.map(|symbol| get(&symbol)))
}
