//! The state of a connection after many rejections.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::{Request, Status};
use tower_refresh::grpc::TrailersLayer;

use crate::{
    client::{EchoClient, LONG, Layered, Note, layered_with, note},
    echo::{Echo, TOGETHER},
    issuer::Issuer,
};

const REJECTIONS: usize = 10_000;

/// The connection has 64 KiB of window and 256 streams. A 401 has a kilobyte of text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_rejected_calls_leak_neither_streams_nor_window() {
    let test = async {
        let issuer = Issuer::default();
        let server = Echo::listen(&issuer).await;
        let endpoint = server.endpoint().initial_connection_window_size(64 * 1024);
        let session = issuer.unlimited_session();
        let trailers = TrailersLayer::new().grace(LONG);
        let connect =
            || EchoClient::new(layered_with(endpoint.connect_lazy(), &session, trailers.clone()));
        let client = connect();

        let start = Instant::now();
        for _ in 0..REJECTIONS / TOGETHER {
            issuer.expire();
            let herd: JoinSet<_> =
                (0..TOGETHER).map(|number| ask(client.clone(), number)).collect();
            assert!(herd.join_all().await.iter().all(|answer| answer.is_ok()));
        }
        let rejecting = start.elapsed();

        let rejections = server.seen().len() - REJECTIONS;
        println!("{rejections} rejections in {rejecting:?}");
        assert_eq!((rejections, issuer.refreshes()), (REJECTIONS, REJECTIONS / TOGETHER));
        assert_eq!(server.connections(), 1);
        assert_as_fast(&client, &connect()).await;
    };
    tokio::time::timeout(Duration::from_secs(120), test).await.expect("it hangs");
}

async fn ask(mut client: EchoClient<Layered>, number: usize) -> Result<(), Status> {
    let mut request = Request::new(note("a"));
    request
        .metadata_mut()
        .insert("x-reject", ["head", "trailers", "401"][number % 3].parse().unwrap());
    request.metadata_mut().insert("x-together", "1".parse().unwrap());
    client.unary(request).await.map(drop)
}

/// Asserts that transfers on a used connection take about as long as on a new one. A lost part of
/// the window slows each transfer down, and other programs on the machine only some of them, so the
/// fastest ones are compared.
async fn assert_as_fast(used: &EchoClient<Layered>, new: &EchoClient<Layered>) {
    let mut fastest = [Duration::MAX; 2];
    for _ in 0..50 {
        fastest[0] = fastest[0].min(transfer(used.clone()).await);
        fastest[1] = fastest[1].min(transfer(new.clone()).await);
        if fastest[0] < fastest[1] * 2 {
            return;
        }
    }
    panic!("{:?} on the used connection, {:?} on a new one", fastest[0], fastest[1]);
}

async fn transfer(mut client: EchoClient<Layered>) -> Duration {
    let start = Instant::now();
    let chunks = Note { text: "x".repeat(64 * 1024), count: 128 };
    let mut stream = client.repeat(Request::new(chunks)).await.unwrap().into_inner();
    let mut count = 0;
    while let Some(chunk) = stream.next().await {
        chunk.unwrap();
        count += 1;
    }
    assert_eq!(count, 128);
    start.elapsed()
}
