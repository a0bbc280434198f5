use std::{
    error::Error,
    future::poll_fn,
    io, iter,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, response, uri::PathAndQuery,
};
use http_body::Body;
use tower_service::Service;

use crate::{
    cookies::{base, base::InvalidUrl, csrf::Csrf, jar::Jar},
    credential::origin,
    error,
    error::BoxError,
    middleware::extension::Anonymous,
    refresher::BoxFuture,
    replay::drain::Drain,
};

/// A POST to one path of the upstream, with the cookies of a jar.
#[derive(Clone)]
pub(super) struct Exchange {
    send: SendFn,
    pub(super) path: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
    csrf: Option<Csrf>,
    allows_cleartext: bool,
}

/// There is no answer.
pub(super) struct Unanswered {
    /// The service was never called.
    pub(super) is_unsent: bool,
    pub(super) cause: BoxError,
}

type SendFn = Arc<dyn Fn(Request<Bytes>) -> Answering + Send + Sync>;
type Answering = BoxFuture<'static, Result<response::Parts, Unanswered>>;

/// Whether the error says that no connection was made, so that nothing can have been sent.
///
/// By the kinds of `std::io::Error` that mean it, wherever they are in the chain of causes.
pub(super) fn is_unconnected(error: &(dyn Error + 'static)) -> bool {
    iter::successors(Some(error), |error| cause(*error))
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| UNCONNECTED.contains(&error.kind()))
}

/// The source of an I/O error leaves out the error that it was made of.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.map(|inner| inner as _).or_else(|| error.source())
}

const UNCONNECTED: [io::ErrorKind; 5] = [
    io::ErrorKind::ConnectionRefused,
    io::ErrorKind::HostUnreachable,
    io::ErrorKind::NetworkUnreachable,
    io::ErrorKind::NetworkDown,
    io::ErrorKind::AddrNotAvailable,
];

// === impl Exchange ===

impl Exchange {
    pub(super) fn new<S, B, ResBody>(service: S, path: &str) -> Result<Self, InvalidUrl>
    where
        S: Service<Request<B>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: From<Bytes> + 'static,
        ResBody: Body + Send + 'static,
    {
        let path = base::parse_path(path)?;
        // A mutex, so that a service need not be `Sync`; locked for a clone alone.
        let service = Mutex::new(service);
        let send: SendFn = Arc::new(move |request| {
            let service = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Box::pin(exchange(service, request))
        });
        Ok(Self {
            send,
            path,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            csrf: None,
            allows_cleartext: false,
        })
    }

    pub(super) fn header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    pub(super) fn body(&mut self, body: Bytes) {
        self.body = body;
    }

    pub(super) fn csrf(&mut self, csrf: Csrf) {
        self.csrf = Some(csrf);
    }

    pub(super) fn allow_cleartext(&mut self, allow: bool) {
        self.allows_cleartext = allow;
    }

    /// Sends it with what the jar holds now.
    pub(super) async fn run(&self, jar: &Jar) -> Result<response::Parts, Unanswered> {
        let uri = jar.base().endpoint(&self.path);
        if !self.allows_cleartext && origin::is_cleartext(&uri) {
            return Err(Unanswered { is_unsent: true, cause: error::Error::cleartext().into() });
        }
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        // Through a client that wears the session, from whatever task: it is authorised by hand.
        request.extensions_mut().insert(Anonymous);
        let (mut head, ()) = request.into_parts();
        jar.apply_with(self.csrf.as_ref(), &mut head);
        (self.send)(Request::from_parts(head, self.body.clone())).await
    }
}

async fn exchange<S, B, ResBody>(
    mut service: S,
    request: Request<Bytes>,
) -> Result<response::Parts, Unanswered>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
    B: From<Bytes>,
    ResBody: Body,
{
    let unanswered =
        |is_unsent| move |error: S::Error| Unanswered { is_unsent, cause: error.into() };
    poll_fn(|cx| service.poll_ready(cx)).await.map_err(unanswered(true))?;
    let answer = service.call(request.map(B::from)).await.map_err(unanswered(false))?;
    let (head, body) = answer.into_parts();
    skip(body).await;
    Ok(head)
}

/// Reads what has come of a body by now, so that its connection can be used again, and waits for no
/// more of it: nobody needs it, and it may be endless.
async fn skip<B: Body>(body: B) {
    let mut drain = Drain::new(body);
    poll_fn(|cx| {
        // Whether it was all of it makes no difference.
        _ = drain.poll(cx);
        Poll::Ready(())
    })
    .await;
}
