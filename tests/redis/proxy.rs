//! A proxy between a client and a server, whose connections can fall silent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::{self, Instant},
};

pub(crate) struct Proxy {
    pub(crate) port: u16,
    faults: Arc<ProxyFaults>,
}

#[derive(Default)]
struct ProxyFaults {
    /// The connections with lower numbers swallow everything.
    silent_below: AtomicU64,
    /// The connections with lower numbers are closed in place of their next answer.
    cut_below: AtomicU64,
    accepted: AtomicU64,
    /// How long each answer is held back, in milliseconds.
    delay: AtomicU64,
}

// === impl Proxy ===

impl Proxy {
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let faults = Arc::new(ProxyFaults::default());
        let shared = faults.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(forward(from_client, to_server, shared.clone(), number, false));
                tokio::spawn(forward(from_server, to_client, shared.clone(), number, true));
            }
        });
        Self { port, faults }
    }

    pub(crate) fn client(&self) -> redis::Client {
        redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap()
    }

    /// The connections so far swallow everything from now on, as those to a machine that is gone.
    pub(crate) fn silence(&self) {
        let accepted = self.faults.accepted.load(Ordering::SeqCst);
        self.faults.silent_below.store(accepted, Ordering::SeqCst);
    }

    /// The connections so far lose the answers that are on their way, and are closed.
    pub(crate) fn cut(&self) {
        let accepted = self.faults.accepted.load(Ordering::SeqCst);
        self.faults.cut_below.store(accepted, Ordering::SeqCst);
    }

    pub(crate) fn delay_answers(&self, delay: Duration) {
        self.faults.delay.store(delay.as_millis().try_into().unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.faults.accepted.load(Ordering::SeqCst)
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    faults: Arc<ProxyFaults>,
    number: u64,
    is_answer: bool,
) {
    // The pieces on their way: a slow line, not a slow server.
    let (sender, mut pieces) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let delay = if is_answer { faults.delay.load(Ordering::SeqCst) } else { 0 };
            let arrives = Instant::now() + Duration::from_millis(delay);
            drop(sender.send((arrives, buffer[..length].to_vec())));
        }
        drop(sender);
    };
    let write = async {
        while let Some((arrives, piece)) = pieces.recv().await {
            time::sleep_until(arrives).await;
            if is_answer && number < faults.cut_below.load(Ordering::SeqCst) {
                drop(to.shutdown().await);
                return;
            }
            let is_silent = number < faults.silent_below.load(Ordering::SeqCst);
            if !is_silent && to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
