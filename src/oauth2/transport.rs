use std::{
    error::Error,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use ::oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use bytes::Buf;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use tokio::{
    runtime::Handle,
    time::{error::Elapsed, timeout},
};
use tower_service::Service;

use crate::{
    error::BoxError,
    middleware::extension::Anonymous,
    oauth2::{
        error::{Failure, Unreadable},
        form::Form,
    },
    refresher::BoxFuture,
};

/// The user's HTTP client, of whatever type it is.
pub(super) trait Transport: Send + Sync {
    fn send(
        &self,
        request: Request<Form>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Answered, NoAnswer>>;
}

/// Answers the user's question: whether this error of the HTTP client says that nothing was
/// written.
pub(super) type UnsentIf = Arc<dyn Fn(&(dyn Error + 'static)) -> bool + Send + Sync>;

/// A mutex, so that a service need not be `Sync`; locked for a clone alone.
struct Over<S>(Mutex<S>);

/// A response, as far as it could be read.
pub(super) struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Result<Vec<u8>, Unreadable>,
}

/// An error of the service.
pub(super) enum NoAnswer {
    /// It was never given the request.
    Unready(BoxError),
    Failed(BoxError),
}

/// One request of the `oauth2` crate's.
pub(super) struct Call<'a> {
    pub(super) transport: &'a dyn Transport,
    pub(super) uri: &'a Uri,
    pub(super) limit: usize,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) unsent_if: Option<&'a UnsentIf>,
    pub(super) head: OnceLock<(StatusCode, HeaderMap)>,
}

pub(super) fn over<S, B>(service: S) -> Arc<dyn Transport>
where
    S: Service<Request<Form>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    Arc::new(Over(Mutex::new(service)))
}

// === impl Over ===

impl<S, B> Transport for Over<S>
where
    S: Service<Request<Form>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn send(
        &self,
        request: Request<Form>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Answered, NoAnswer>> {
        let mut service = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(|error| NoAnswer::Unready(error.into()))?;
            let response =
                service.call(request).await.map_err(|error| NoAnswer::Failed(error.into()))?;
            let (head, body) = response.into_parts();
            let body = read(pin!(body), limit).await;
            Ok(Answered { status: head.status, headers: head.headers, body })
        })
    }
}

/// Reads a body of at most `limit` bytes. An empty frame counts as a byte, so that endless ones
/// end.
async fn read<B>(mut body: Pin<&mut B>, limit: usize) -> Result<Vec<u8>, Unreadable>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let too_long = || Unreadable::TooLong { limit };
    if usize::try_from(body.size_hint().lower()).map_or(true, |least| least > limit) {
        return Err(too_long());
    }
    let mut content = Vec::new();
    let mut left = limit;
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|error| Unreadable::Broken(error.into()))?;
        let Ok(mut data) = frame.into_data() else { continue };
        left = left.checked_sub(data.remaining().max(1)).ok_or_else(too_long)?;
        while data.has_remaining() {
            let chunk = data.chunk();
            let length = chunk.len();
            content.extend_from_slice(chunk);
            data.advance(length);
        }
    }
    Ok(content)
}

// === impl Call ===

impl<'c> AsyncHttpClient<'c> for Call<'_> {
    type Error = Failure;
    type Future = BoxFuture<'c, Result<HttpResponse, Failure>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

impl Call<'_> {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Failure> {
        let (mut head, content) = request.into_parts();
        head.uri = self.uri.clone();
        if let Some(value) = head.headers.get_mut(header::AUTHORIZATION) {
            value.set_sensitive(true);
        }
        head.extensions.insert(Anonymous);
        let (form, gate) = Form::new(content);

        let mut sending = self.transport.send(Request::from_parts(head, form), self.limit);
        let sent = match self.connecting(&mut sending).await {
            Ok(sent) => sent,
            Err(elapsed) if gate.shut() => return Err(Failure::Unsent(elapsed.into())),
            Err(_) => sending.await,
        };
        let Answered { status, headers, body } = sent.map_err(|error| match error {
            NoAnswer::Unready(error) => Failure::Unsent(error),
            NoAnswer::Failed(error) if gate.shut() || self.says_unsent(&error) => {
                Failure::Unsent(error)
            }
            NoAnswer::Failed(error) => Failure::Unanswered(error),
        })?;
        let _ = self.head.set((status, headers));
        let body = match body {
            Ok(body) => body,
            // What was to be read is a token.
            Err(unreadable) if status.is_success() => {
                return Err(Failure::Unreadable(status, unreadable));
            }
            Err(_) => Vec::new(),
        };
        let mut response = Response::new(body);
        // The one status of RFC 6749 that has a token in it, for the parser to look for one; and no
        // content type: if it is the JSON of a token, it is one.
        *response.status_mut() = if status.is_success() { StatusCode::OK } else { status };
        Ok(response)
    }

    /// The output of this future, if it comes within the time for a connection.
    async fn connecting<F: Future>(&self, sending: F) -> Result<F::Output, Elapsed> {
        match self.connect_timeout {
            Some(limit) if Handle::try_current().is_ok() => timeout(limit, sending).await,
            _ => Ok(sending.await),
        }
    }

    fn says_unsent(&self, error: &BoxError) -> bool {
        self.unsent_if.is_some_and(|says| says(&**error))
    }
}
