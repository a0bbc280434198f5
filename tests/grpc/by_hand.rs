//! Tests against an HTTP/2 server that the test drives frame by frame. The server pauses for two
//! round trips of PING, after which the client has seen every earlier frame.

use std::time::Duration;

use bytes::Bytes;
use h2::{Ping, PingPong, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{Code, Status, body::Body, client::GrpcService, transport::Endpoint};
use tower::BoxError;
use tower_refresh::{Session, grpc::TrailersLayer};

use crate::{
    client::{EchoClient, LONG, Layered, Note, layered_with, note},
    in_time,
    issuer::Issuer,
};

#[tokio::test]
async fn trailers_some_time_after_the_headers_are_replayed() {
    in_time(async {
        for empty_data_frame in [false, true] {
            let issuer = Issuer::default();
            let (mut server, client) =
                start(&issuer.expired_session(), TrailersLayer::new().grace(LONG)).await;
            let call = unary(&client);

            let mut first = server.next().await;
            assert_eq!(first.bearer(), "Bearer at-0");
            let mut stream = first.send_headers();
            server.pause().await;
            if empty_data_frame {
                stream.send_data(Bytes::new(), false).unwrap();
                server.pause().await;
            }
            assert!(!call.is_finished());
            stream.send_trailers(trailers("16")).unwrap();

            let mut second = server.next().await;
            assert_eq!(second.bearer(), "Bearer at-1");
            let mut stream = second.send_headers();
            server.pause().await;
            stream.send_data(encoded("answer"), false).unwrap();
            server.pause().await;
            stream.send_trailers(trailers("0")).unwrap();
            assert_eq!(call.await.unwrap().unwrap(), "answer");
            assert_eq!(issuer.refreshes(), 1);
        }
    })
    .await;
}

#[tokio::test]
async fn trailers_after_a_message_reach_the_caller_and_the_next_call_refreshes_first() {
    in_time(async {
        let issuer = Issuer::default();
        let (mut server, client) = start(&issuer.session(), TrailersLayer::new()).await;
        let call = unary(&client);
        let mut stream = server.next().await.send_headers();
        server.pause().await;
        stream.send_data(encoded("answer"), false).unwrap();
        server.pause().await;
        issuer.expire();
        stream.send_trailers(trailers("16")).unwrap();
        assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unauthenticated);

        let call = unary(&client);
        let mut next = server.next().await;
        assert_eq!(next.bearer(), "Bearer at-1");
        let mut stream = next.send_headers();
        stream.send_data(encoded("answer"), false).unwrap();
        stream.send_trailers(trailers("0")).unwrap();
        assert_eq!(call.await.unwrap().unwrap(), "answer");
        assert_eq!(issuer.refreshes(), 1);
    })
    .await;
}

#[tokio::test]
async fn headers_reach_a_client_that_sends_nothing_before_them() {
    in_time(async {
        let issuer = Issuer::default();
        let layer = TrailersLayer::new().grace(Duration::from_secs(3600));
        let (mut server, mut client) = start(&issuer.session(), layer).await;
        let (say, said) = mpsc::unbounded_channel();
        let (has_headers, headers) = oneshot::channel();
        let dialogue = tokio::spawn(async move {
            let said = tonic::Request::new(UnboundedReceiverStream::new(said));
            let mut heard = client.talk(said).await?.into_inner();
            has_headers.send(()).unwrap();
            let answer = heard.next().await.expect("it is not over")?;
            assert!(heard.next().await.is_none());
            Ok::<_, Status>(answer.text)
        });
        let mut arrived = server.next().await;
        let mut stream = arrived.send_headers();
        headers.await.expect("the headers were delivered before any other frame");

        say.send(note("ping")).unwrap();
        assert_eq!(arrived.request.body_mut().data().await.unwrap().unwrap(), encoded("ping"));
        stream.send_data(encoded("pong"), false).unwrap();
        server.pause().await;
        stream.send_trailers(trailers("0")).unwrap();
        assert_eq!(dialogue.await.unwrap().unwrap(), "pong");
        drop(say);
    })
    .await;
}

#[tokio::test]
async fn a_stream_with_a_late_first_message_passes_unchanged() {
    in_time(async {
        let issuer = Issuer::default();
        let (mut server, mut client) = start(&issuer.session(), TrailersLayer::new()).await;
        let (has_headers, headers) = oneshot::channel();
        let call = tokio::spawn(async move {
            let mut stream = client.repeat(tonic::Request::new(note("a"))).await?.into_inner();
            has_headers.send(()).unwrap();
            let mut texts = Vec::new();
            while let Some(note) = stream.next().await {
                texts.push(note?.text);
            }
            Ok::<_, Status>(texts)
        });
        let mut stream = server.next().await.send_headers();
        headers.await.expect("the headers were delivered before any other frame");

        // One message in pieces, one in a single frame, and two in one frame.
        let split = encoded("split");
        for piece in [split.slice(..3), split.slice(3..6), split.slice(6..)] {
            stream.send_data(piece, false).unwrap();
            server.pause().await;
        }
        stream.send_data(encoded("whole"), false).unwrap();
        server.pause().await;
        stream.send_data([encoded("one"), encoded("two")].concat().into(), false).unwrap();
        stream.send_trailers(trailers("0")).unwrap();
        assert_eq!(call.await.unwrap().unwrap(), ["split", "whole", "one", "two"]);
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_reset_after_its_headers_keeps_its_error() {
    in_time(async {
        let mut codes = Vec::new();
        for is_layered in [false, true] {
            let issuer = Issuer::default();
            let (mut server, client) =
                start(&issuer.session(), TrailersLayer::new().grace(LONG)).await;
            let call = match is_layered {
                true => unary(&client),
                false => unary(&EchoClient::new(server.channel())),
            };
            let mut stream = server.next().await.send_headers();
            server.pause().await;
            stream.send_reset(h2::Reason::ENHANCE_YOUR_CALM);
            codes.push(call.await.unwrap().unwrap_err().code());
            assert_eq!(issuer.refreshes(), 0);
        }
        assert_eq!(codes, [Code::ResourceExhausted; 2]);
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_is_rejected_in_progress_is_taken_over() {
    in_time(async {
        let issuer = Issuer::default();
        let (mut server, mut client) = start(&issuer.expired_session(), TrailersLayer::new()).await;
        let (say, said) = mpsc::unbounded_channel();
        let said = UnboundedReceiverStream::new(said);
        let call = tokio::spawn(async move { client.join(tonic::Request::new(said)).await });

        say.send(note("one")).unwrap();
        let mut first = server.next().await;
        assert_eq!(first.request.body_mut().data().await.unwrap().unwrap(), encoded("one"));
        let mut head = response();
        head.headers_mut().insert("grpc-status", HeaderValue::from_static("16"));
        first.respond.send_response(head, true).unwrap();

        let mut second = server.next().await;
        assert_eq!(second.bearer(), "Bearer at-1");
        say.send(note("two")).unwrap();
        drop(say);
        let mut sent = Vec::new();
        while let Some(data) = second.request.body_mut().data().await {
            sent.extend(data.unwrap());
        }
        assert_eq!(sent, [encoded("one"), encoded("two")].concat());
        let mut stream = second.send_headers();
        stream.send_data(encoded("one two"), false).unwrap();
        stream.send_trailers(trailers("0")).unwrap();
        assert_eq!(call.await.unwrap().unwrap().into_inner().text, "one two");
    })
    .await;
}

// === helpers ===

struct ByHand {
    uri: String,
    arrived: mpsc::UnboundedReceiver<Arrived>,
    pings: mpsc::UnboundedReceiver<PingPong>,
    ping: Option<PingPong>,
    task: JoinHandle<()>,
}

/// A call in progress.
struct Arrived {
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
}

async fn start(session: &Session, trailers: TrailersLayer) -> (ByHand, EchoClient<Layered>) {
    let server = ByHand::listen().await;
    let client = EchoClient::new(layered_with(server.channel(), session, trailers));
    (server, client)
}

fn unary<T>(client: &EchoClient<T>) -> JoinHandle<Result<String, Status>>
where
    T: GrpcService<Body, Future: Send, Error: Into<BoxError> + Send> + Clone + Send + 'static,
    T::ResponseBody: http_body::Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
{
    let mut client = client.clone();
    tokio::spawn(async move {
        Ok(client.unary(tonic::Request::new(note("question"))).await?.into_inner().text)
    })
}

fn response() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

fn trailers(status: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static(status))])
}

/// A message in gRPC framing.
fn encoded(text: &str) -> Bytes {
    let message = Note { text: text.to_owned(), count: 1 }.encode_to_vec();
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend(message);
    framed.into()
}

impl ByHand {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let (calls, arrived) = mpsc::unbounded_channel();
        let (connections, pings) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).unwrap();
                let mut connection = h2::server::handshake(socket).await.unwrap();
                let _ = connections.send(connection.ping_pong().expect("it is asked for once"));
                while let Some(Ok((request, respond))) = connection.accept().await {
                    let _ = calls.send(Arrived { request, respond });
                }
            }
        });
        Self { uri, arrived, pings, ping: None, task }
    }

    fn channel(&self) -> tonic::transport::Channel {
        Endpoint::from_shared(self.uri.clone()).unwrap().connect_lazy()
    }

    async fn next(&mut self) -> Arrived {
        self.arrived.recv().await.expect("the client is still there")
    }

    /// Waits until the client has seen every earlier frame. The first PING may overtake a frame,
    /// the second one can't.
    async fn pause(&mut self) {
        if self.ping.is_none() {
            self.ping = self.pings.recv().await;
        }
        let ping = self.ping.as_mut().expect("there is a connection");
        for _ in 0..2 {
            ping.ping(Ping::opaque()).await.unwrap();
        }
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Arrived {
    fn bearer(&self) -> &str {
        self.request.headers()["authorization"].to_str().unwrap()
    }

    fn send_headers(&mut self) -> SendStream<Bytes> {
        self.respond.send_response(response(), false).unwrap()
    }
}
