//! A server that accepts one token at a time, echoes requests, and redirects.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// `unpacked`, compressed by gzip.
const PACKED: [u8; 28] = [
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x2b, 0xcd, 0x2b, 0x48, 0x4c, 0xce,
    0x4e, 0x4d, 0x01, 0x00, 0x96, 0x62, 0x2f, 0xca, 0x08, 0x00, 0x00, 0x00,
];

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    /// The path and the query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    good: String,
    is_open: bool,
    seen: Vec<Seen>,
    /// The redirects from these paths.
    redirects: HashMap<String, (u16, HeaderValue)>,
}

type AnyBody = BoxBody<Bytes, io::Error>;

// === impl Server ===

impl Server {
    /// A server that accepts this token. With an empty one it accepts requests without a token.
    pub(crate) async fn accepting(token: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let good = if token.is_empty() { String::new() } else { format!("Bearer {token}") };
        let state = State { good, ..State::default() };
        let server = Self { address, state: Arc::new(Mutex::new(state)) };
        let served = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = served.clone();
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, Infallible>(server.respond(request).await) }
                });
                tokio::spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let stream = TokioIo::new(stream);
                    builder.serve_connection_with_upgrades(stream, service).await.map_err(drop)
                });
            }
        });
        server
    }

    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// A server that accepts every request.
    pub(crate) async fn open() -> Self {
        let server = Self::accepting("").await;
        server.state.lock().unwrap().is_open = true;
        server
    }

    /// Answers requests for this path with a redirect.
    pub(crate) fn redirect(&self, path: &str, code: u16, location: HeaderValue) {
        self.state.lock().unwrap().redirects.insert(path.to_owned(), (code, location));
    }

    /// The requests with an accepted token, in the order of their arrival.
    pub(crate) fn accepted(&self) -> Vec<Seen> {
        let state = self.state.lock().unwrap();
        let is_good = |seen: &&Seen| bearer(&seen.headers) == state.good;
        state.seen.iter().filter(is_good).cloned().collect()
    }

    /// All requests, in the order of their arrival.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// The tokens of all requests, in the order of their arrival.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.state.lock().unwrap().seen.iter().map(|seen| bearer(&seen.headers).into()).collect()
    }

    async fn respond(&self, mut request: Request<Incoming>) -> Response<AnyBody> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return status(400) };
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let seen = Seen {
            method: head.method.clone(),
            target: target.clone(),
            headers: head.headers,
            body: body.to_bytes(),
        };
        let is_good = {
            let mut state = self.state.lock().unwrap();
            state.seen.push(seen.clone());
            state.is_open || bearer(&seen.headers) == state.good
        };
        if !is_good {
            return status(401);
        }
        let path = target.split('?').next().unwrap_or_default();
        if let Some((code, location)) = self.state.lock().unwrap().redirects.get(path) {
            let mut response = status(*code);
            response.headers_mut().insert("location", location.clone());
            return response;
        }
        // `/302/http://…` redirects there.
        if let Some((code, location)) = target[1..].split_once('/')
            && let Ok(code) = code.parse()
        {
            let mut response = status(code);
            response.headers_mut().insert("location", location.parse().unwrap());
            return response;
        }
        match path {
            "/gzip" => {
                let mut response = whole(Bytes::from_static(&PACKED));
                response.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
                response
            }
            "/set-cookie" => {
                let mut response = status(200);
                response.headers_mut().insert("set-cookie", "flavour=oat".parse().unwrap());
                response
            }
            "/slow-head" => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                status(200)
            }
            // A chunk that arrives, and a next one that does not.
            "/slow-body" => {
                let chunks = stream::unfold(true, |is_first| async move {
                    if !is_first {
                        tokio::time::sleep(Duration::from_secs(3600)).await;
                    }
                    Some((Ok(Frame::data(Bytes::from_static(b"first"))), false))
                });
                Response::new(BodyExt::boxed(StreamBody::new(chunks)))
            }
            // The first request is turned away.
            "/busy-once" if self.accepted().len() == 1 => status(503),
            // A chunk, and then the connection closes.
            "/broken-body" => {
                let chunks = stream::unfold(true, |is_first| async move {
                    if is_first {
                        return Some((Ok(Frame::data(Bytes::from_static(b"first"))), false));
                    }
                    // The server sends what it has while a body is pending.
                    tokio::task::yield_now().await;
                    Some((Err(io::Error::other("the server stops")), false))
                });
                Response::new(BodyExt::boxed(StreamBody::new(chunks)))
            }
            "/404" => status(404),
            // Echoes what the client sends.
            "/upgrade" => {
                tokio::spawn(async move {
                    let mut stream = TokioIo::new(upgrade.await.unwrap());
                    let mut line = [0; 5];
                    stream.read_exact(&mut line).await.unwrap();
                    stream.write_all(&line).await.unwrap();
                });
                let mut response = status(101);
                let protocol = HeaderValue::from_static("echo");
                response.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
                response.headers_mut().insert("upgrade", protocol);
                response
            }
            _ => whole(seen.body),
        }
    }
}

fn bearer(headers: &HeaderMap) -> &str {
    headers.get("authorization").map_or("", |value| value.to_str().unwrap())
}

fn whole(body: Bytes) -> Response<AnyBody> {
    Response::new(Full::new(body).map_err(|never| match never {}).boxed())
}

fn status(code: u16) -> Response<AnyBody> {
    let mut response = whole(Bytes::new());
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}
