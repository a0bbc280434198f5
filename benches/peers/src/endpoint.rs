//! The issuer over HTTP on loopback, for peers that fetch tokens themselves.

use std::{
    convert::Infallible,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    task::{AbortHandle, JoinSet},
};
use tower::BoxError;

use crate::issuer::{IssueError, Issued, Issuer, LIFETIME};

/// The path that responds as RFC 6749 says.
const TOKEN: &str = "/token";
/// The path that responds with the credential that Kubernetes expects from a plugin.
const EXEC_CREDENTIAL: &str = "/exec-credential";

/// The time-out of the plugin.
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Endpoint {
    address: SocketAddr,
    server: AbortHandle,
}

/// Fetches a token and prints it, like the program that a kubeconfig names under `exec`.
pub(crate) fn exec_plugin(address: &str) -> Result<(), BoxError> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PLUGIN_TIMEOUT))?;
    write!(
        stream,
        "GET {EXEC_CREDENTIAL} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let (head, credential) = response.split_once("\r\n\r\n").ok_or("a response without a body")?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err("the issuer has issued no token".into());
    }
    print!("{credential}");
    Ok(())
}

// === impl Endpoint ===

impl Endpoint {
    pub(crate) async fn serve(issuer: Issuer) -> Result<Self, BoxError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(accept(listener, issuer)).abort_handle();
        Ok(Self { address, server })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn token_url(&self) -> String {
        format!("http://{}{TOKEN}", self.address)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, issuer: Issuer) {
    // Dropping the set with this task closes all connections.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let issuer = issuer.clone();
        let service = service_fn(move |request| respond(issuer.clone(), request));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn respond(
    issuer: Issuer,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let issued = issuer.issue().await;
    let body = match (&issued, request.uri().path()) {
        (Ok(issued), EXEC_CREDENTIAL) => exec_credential(issued),
        (Ok(issued), _) => token(issued),
        (Err(error), _) => format!(r#"{{"error":"{error}"}}"#),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = match issued {
        Ok(_) => StatusCode::OK,
        Err(IssueError::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
        Err(IssueError::Refused) => StatusCode::BAD_REQUEST,
    };
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    Ok(response)
}

pub(crate) fn token(Issued { token, has_expired }: &Issued) -> String {
    let lifetime = if *has_expired { 0 } else { LIFETIME.as_secs() };
    format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{lifetime}}}"#)
}

fn exec_credential(Issued { token, has_expired }: &Issued) -> String {
    let expires_at = if *has_expired { "2000-01-01T00:00:00Z" } else { "2100-01-01T00:00:00Z" };
    format!(
        r#"{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"{token}","expirationTimestamp":"{expires_at}"}}}}"#
    )
}
