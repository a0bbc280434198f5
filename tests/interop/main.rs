//! gRPC calls to a grpcio server. `tests/interop/grpcio.sh` installs grpcio and runs this test.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a test may unwrap, and uses a part of its client"
)]

#[path = "../grpc/client.rs"]
mod client;

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use client::{EchoClient, KINDS, LONG, Layered, call, expected, layered_with, note};
use http::uri::PathAndQuery;
use tokio_stream::StreamExt;
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use tower_refresh::{RefreshContext, Session, Token, grpc::TrailersLayer, refresher_fn};

/// An interceptor aborts before it sends headers. A handler aborts before its headers, after them,
/// or after a message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Python: run tests/interop/grpcio.sh"]
async fn calls_rejected_by_grpcio_are_replayed_after_one_refresh() {
    let (_server, endpoint) = GrpcioServer::start();
    let server = endpoint.connect().await.expect("the server listens");
    let everything = async {
        for kind in KINDS {
            for place in ["interceptor", "handler", "headers"] {
                for _ in 0..20 {
                    rejected_before_a_message(&server, kind, place).await;
                }
                println!("{kind}, rejected by the {place}: replayed");
            }
        }
        rejected_after_a_message(&server).await;
        two_hundred_at_once(&server).await;
    };
    tokio::time::timeout(Duration::from_secs(120), everything).await.expect("the test hangs");
}

async fn rejected_before_a_message(server: &Channel, kind: &str, place: &str) {
    let (mut client, _, refreshes) = client_with_expired_token(server).await;
    let answer = call(&mut client, kind, place).await;
    assert_eq!(answer.unwrap(), expected(kind), "{kind}, {place}");
    assert_eq!(refreshes.load(SeqCst), 1, "{kind}, {place}");
}

async fn rejected_after_a_message(server: &Channel) {
    for kind in ["server streaming", "bidirectional"] {
        let (mut client, session, refreshes) = client_with_expired_token(server).await;
        let mut request = Request::new(note("a"));
        request.metadata_mut().insert("x-reject", "message".parse().unwrap());
        let mut stream = match kind {
            "bidirectional" => {
                client.talk(request.map(tokio_stream::once)).await.unwrap().into_inner()
            }
            _ => client.repeat(request).await.unwrap().into_inner(),
        };
        let mut messages = 0;
        let status = loop {
            match stream.next().await.expect("the stream ends with a status") {
                Ok(_) => messages += 1,
                Err(status) => break status,
            }
        };
        assert_eq!(messages, if kind == "bidirectional" { 1 } else { 2 });
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unauthenticated, "expired, says the message")
        );

        session.subscribe().wait_for(|state| state.flights_settled() == 1).await.unwrap();
        assert_eq!(call(&mut client, "unary", "handler").await.unwrap(), expected("unary"));
        assert_eq!(refreshes.load(SeqCst), 1);
        println!(
            "{kind}, rejected after a message: the caller got the status, and the next call was sent after a refresh"
        );
    }
}

async fn two_hundred_at_once(server: &Channel) {
    let (client, _, refreshes) = client_with_expired_token(server).await;
    let calls: Vec<_> = (0..200)
        .map(|number| {
            let mut client = client.clone();
            let place = ["interceptor", "handler", "headers"][number % 3];
            tokio::spawn(async move { call(&mut client, "unary", place).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), expected("unary"));
    }
    assert_eq!(refreshes.load(SeqCst), 1);
    println!("200 unary calls with an expired token: 200 answers, 1 refresh");
}

/// A grpcio server process. It exits when its input closes, at the latest with this process.
struct GrpcioServer(Child);

impl GrpcioServer {
    fn start() -> (Self, Endpoint) {
        let python = env::var("GRPCIO_PYTHON").expect("needs Python: run tests/interop/grpcio.sh");
        let mut server = Command::new(python)
            .arg("tests/interop/server.py")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("GRPCIO_PYTHON is the interpreter of the virtual environment");
        let mut port = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let uri = format!("http://127.0.0.1:{}", port.trim());
        (Self(server), Endpoint::from_shared(uri).unwrap())
    }
}

impl Drop for GrpcioServer {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

async fn client_with_expired_token(
    server: &Channel,
) -> (EchoClient<Layered>, Session, Arc<AtomicUsize>) {
    accept(server, "at-1").await;
    let refreshes = Arc::new(AtomicUsize::new(0));
    let counted = refreshes.clone();
    let refresher = refresher_fn(move |_: RefreshContext| {
        counted.fetch_add(1, SeqCst);
        async { Ok(Token::bearer("at-1")?) }
    });
    let session = Session::new(Token::bearer("at-0").unwrap(), refresher);
    let trailers = TrailersLayer::new().grace(LONG);
    let client = EchoClient::new(layered_with(server.clone(), &session, trailers));
    (client, session, refreshes)
}

async fn accept(server: &Channel, token: &str) {
    let mut control = tonic::client::Grpc::new(server.clone());
    control.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Control/Accept");
    let accepted = control.unary(Request::new(note(token)), path, ProstCodec::default()).await;
    let accepted: client::Note = accepted.unwrap().into_inner();
    assert_eq!(accepted.text, token);
}
