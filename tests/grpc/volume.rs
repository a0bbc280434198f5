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
        let client = EchoClient::new(layered_with(endpoint.connect_lazy(), &session, trailers));

        let before = fastest_transfer(&client).await;
        let start = Instant::now();
        for _ in 0..REJECTIONS / TOGETHER {
            issuer.expire();
            let herd: JoinSet<_> =
                (0..TOGETHER).map(|number| ask(client.clone(), number)).collect();
            assert!(herd.join_all().await.iter().all(|answer| answer.is_ok()));
        }
        let rejecting = start.elapsed();

        let after = fastest_transfer(&client).await;
        let rejections = server.seen().len() - 2 * TRANSFERS - REJECTIONS;
        println!(
            "{rejections} rejections in {rejecting:?}; a transfer took {before:?} before, {after:?} after"
        );
        assert_eq!((rejections, issuer.refreshes()), (REJECTIONS, REJECTIONS / TOGETHER));
        assert_eq!(server.connections(), 1);
        assert!(after < before * 3, "{before:?} before, {after:?} after");
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

const TRANSFERS: usize = 5;

/// The fastest of several transfers, since the machine runs other programs too.
async fn fastest_transfer(client: &EchoClient<Layered>) -> Duration {
    let mut fastest = Duration::MAX;
    for _ in 0..TRANSFERS {
        let mut client = client.clone();
        let start = Instant::now();
        let chunks = Note { text: "x".repeat(64 * 1024), count: 128 };
        let mut stream = client.repeat(Request::new(chunks)).await.unwrap().into_inner();
        let mut count = 0;
        while let Some(chunk) = stream.next().await {
            chunk.unwrap();
            count += 1;
        }
        assert_eq!(count, 128);
        fastest = fastest.min(start.elapsed());
    }
    fastest
}
