use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{
    Extensions, HeaderValue, Request, Response, StatusCode, Version, header::AUTHORIZATION,
    request::Parts,
};
use tower::Service;

/// The work that no layer can avoid if it keeps a copy for a replay. It takes the request apart,
/// copies its head in the cheapest way that this crate has found, clones its body, inserts a
/// header, puts the request together again, and reads the status of the response. It can neither
/// replay nor refresh.
#[derive(Clone)]
pub(crate) struct Floor<S> {
    inner: S,
    authorization: HeaderValue,
    shared: Arc<str>,
}

/// Panics on a rejection, where a layer would start a refresh.
pub(crate) struct FloorFuture<F, B> {
    inner: F,
    replay_copy: (Vec<u8>, Version, Extensions, B, Arc<str>),
}

// === impl Floor ===

impl<S> Floor<S> {
    pub(crate) fn new(inner: S, token: &str) -> Self {
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {token}")).expect("visible ASCII");
        authorization.set_sensitive(true);
        Self { inner, authorization, shared: Arc::from("in place of a session") }
    }
}

impl<S, B, ResBody> Service<Request<B>> for Floor<S>
where
    S: Service<Request<B>, Response = Response<ResBody>, Future: Unpin>,
    B: Clone + Unpin,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = FloorFuture<S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let replay_copy =
            (copy(&head), head.version, head.extensions.clone(), body.clone(), self.shared.clone());
        head.headers.insert(AUTHORIZATION, self.authorization.clone());
        FloorFuture { inner: self.inner.call(Request::from_parts(head, body)), replay_copy }
    }
}

fn copy(head: &Parts) -> Vec<u8> {
    let authority = head.uri.authority().map_or("", |authority| authority.as_str());
    let path_and_query = head.uri.path_and_query().map_or("", |path| path.as_str());
    let start = [head.method.as_str(), authority, path_and_query];
    let len: usize = start.iter().map(|part| part.len()).sum();
    let mut text = Vec::with_capacity(len + head.headers.len() * 64);
    for part in start {
        text.extend_from_slice(part.as_bytes());
    }
    for (name, value) in &head.headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(value.as_bytes());
    }
    text
}

// === impl FloorFuture ===

impl<F, B, ResBody, E> Future for FloorFuture<F, B>
where
    F: Future<Output = Result<Response<ResBody>, E>> + Unpin,
    B: Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let response = ready!(Pin::new(&mut self.inner).poll(cx))?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let (text, version, ..) = &self.replay_copy;
            panic!("{} bytes of {version:?} would be replayed", text.len());
        }
        Poll::Ready(Ok(response))
    }
}
