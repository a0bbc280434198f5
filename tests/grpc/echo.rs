//! A tonic service, written like generated code.

use std::{
    collections::HashSet,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::{
    net::TcpListener,
    sync::{Barrier, mpsc},
    task::JoinHandle,
};
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    server,
    transport::{
        Channel, Endpoint, Server,
        server::{TcpConnectInfo, TcpIncoming},
    },
};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};
use tower_refresh::refresher::BoxFuture;

use crate::{
    client::{Note, note},
    issuer::Issuer,
};

/// The service. An issuer tells which token is valid. The metadata `x-reject` of a call tells how
/// to reject it: `head`, `trailers` or `401`. With `x-together`, calls are rejected once there are
/// [`TOGETHER`] of them.
#[derive(Clone)]
pub struct Echo {
    issuer: Issuer,
    seen: Arc<Mutex<Vec<HeaderMap>>>,
    peers: Arc<Mutex<HashSet<SocketAddr>>>,
    together: Arc<Barrier>,
}

/// A service that is listening.
pub struct Listening {
    uri: String,
    echo: Echo,
    task: JoinHandle<()>,
}

pub const TOGETHER: usize = 100;

type Notes = UnboundedReceiverStream<Result<Note, Status>>;

// === impl Echo ===

impl Echo {
    pub async fn listen(issuer: &Issuer) -> Listening {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let echo = Echo {
            issuer: issuer.clone(),
            seen: Arc::default(),
            peers: Arc::default(),
            together: Arc::new(Barrier::new(TOGETHER)),
        };
        // More than any test needs at a time, but few enough that a test which leaks streams fails.
        let server = Server::builder().max_concurrent_streams(256);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let service = echo.clone();
        let task =
            tokio::spawn(
                async move { server.serve_with_incoming(service, incoming).await.unwrap() },
            );
        Listening { uri, echo, task }
    }

    async fn respond(self, request: http::Request<Body>) -> http::Response<Body> {
        let headers = request.headers().clone();
        self.seen.lock().unwrap().push(headers.clone());
        let peer =
            request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        self.peers.lock().unwrap().extend(peer);
        let authorization =
            headers.get("authorization").map_or(b"".as_slice(), |value| value.as_bytes());
        if !self.issuer.accepts(authorization) {
            if headers.contains_key("x-together") {
                self.together.wait().await;
            }
            let how = headers.get("x-reject").map_or("head", |how| how.to_str().unwrap());
            return reject(how, request).await;
        }
        let mut grpc = server::Grpc::new(ProstCodec::default());
        match request.uri().path() {
            "/test.Echo/Unary" => {
                let unary =
                    |request: Request<Note>| async { Ok(Response::new(request.into_inner())) };
                grpc.unary(service_fn(unary), request).await
            }
            "/test.Echo/Repeat" => {
                let repeat = |request: Request<Note>| async {
                    Ok(Response::new(self.repeat(request.into_inner(), authorization)))
                };
                grpc.server_streaming(service_fn(repeat), request).await
            }
            "/test.Echo/Join" => grpc.client_streaming(service_fn(join), request).await,
            "/test.Echo/Talk" => {
                let talk = |request: Request<Streaming<Note>>| async {
                    Ok(Response::new(self.clone().talk(request.into_inner(), authorization)))
                };
                grpc.streaming(service_fn(talk), request).await
            }
            path => Status::unimplemented(path).into_http(),
        }
    }

    /// For the text `expire`, the token expires at the third answer, and the stream ends.
    fn repeat(&self, note: Note, authorization: &[u8]) -> Notes {
        let (answers, received) = mpsc::unbounded_channel();
        for number in 0..note.count {
            if number == 2 && note.text == "expire" {
                self.issuer.expire();
            }
            if !self.issuer.accepts(authorization) {
                answers.send(Err(Status::unauthenticated("expired in mid-stream"))).unwrap();
                break;
            }
            answers.send(Ok(note.clone())).unwrap();
        }
        UnboundedReceiverStream::new(received)
    }

    fn talk(self, mut notes: Streaming<Note>, authorization: &[u8]) -> Notes {
        let (answers, received) = mpsc::unbounded_channel();
        let authorization = authorization.to_vec();
        tokio::spawn(async move {
            while let Some(Ok(note)) = notes.next().await {
                let accepted = self.issuer.accepts(&authorization);
                let answer =
                    accepted.then_some(note).ok_or_else(|| Status::unauthenticated("expired"));
                if answers.send(answer).is_err() || !accepted {
                    break;
                }
            }
        });
        UnboundedReceiverStream::new(received)
    }
}

async fn join(request: Request<Streaming<Note>>) -> Result<Response<Note>, Status> {
    let mut notes = request.into_inner();
    let mut texts = Vec::new();
    while let Some(note) = notes.next().await {
        texts.push(note?.text);
    }
    Ok(Response::new(note(&texts.join(" "))))
}

async fn reject(how: &str, request: http::Request<Body>) -> http::Response<Body> {
    match how {
        "401" => {
            let page = http_body_util::Full::new(Bytes::from(vec![b'x'; 1024]));
            http::Response::builder()
                .status(StatusCode::UNAUTHORIZED)
                .body(Body::new(page))
                .unwrap()
        }
        // Like a streaming handler, which fails after it has sent its headers.
        "trailers" => {
            let fail = |_: Request<Streaming<Note>>| async {
                let failed = Err::<Note, _>(Status::unauthenticated("expired"));
                Ok(Response::new(tokio_stream::once(failed)))
            };
            server::Grpc::new(ProstCodec::<Note, Note>::default())
                .streaming(service_fn(fail), request)
                .await
        }
        _ => Status::unauthenticated("expired").into_http(),
    }
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move { Ok(echo.respond(request).await) })
    }
}

// === impl Listening ===

impl Listening {
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(self.uri.clone()).unwrap()
    }

    pub fn uri(&self) -> &str {
        &self.uri
    }

    pub fn channel(&self) -> Channel {
        self.endpoint().connect_lazy()
    }

    /// The heads of all calls so far.
    pub fn seen(&self) -> Vec<HeaderMap> {
        self.echo.seen.lock().unwrap().clone()
    }

    /// The number of connections.
    pub fn connections(&self) -> usize {
        self.echo.peers.lock().unwrap().len()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}
