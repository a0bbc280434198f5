use std::{error::Error, fmt, future::poll_fn, io, iter, pin::Pin, sync::Arc, time::Duration};

use http::{
    HeaderValue, Request, Response, Version,
    header::{AUTHORIZATION, CONNECTION, COOKIE, Entry},
};
use http_body::Body;
use tokio::{
    runtime::Handle,
    time::{error::Elapsed, timeout},
};
use tower_service::Service;

use crate::{
    error::BoxError,
    exchange::{
        answer::Answer,
        body::{Gate, RequestBody},
        error::ExchangeError,
        transport::{ServiceTransport, Transport, TransportError},
    },
    middleware::extension::Anonymous,
};

/// The HTTP client of an application, as a refresher uses it.
///
/// See the [module docs](crate::exchange) for an example.
#[derive(Clone)]
#[must_use]
pub struct Exchange {
    transport: Arc<dyn Transport>,
    unsent_if: Option<Arc<UnsentIf>>,
    connect_timeout: Duration,
    keeps_alive: bool,
}

/// The user's decision whether an error of the HTTP client means that nothing was sent.
type UnsentIf = dyn Fn(&(dyn Error + 'static)) -> bool + Send + Sync;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The kinds of [`io::Error`] that say that no connection was made.
const UNCONNECTED: [io::ErrorKind; 5] = [
    io::ErrorKind::ConnectionRefused,
    io::ErrorKind::HostUnreachable,
    io::ErrorKind::NetworkUnreachable,
    io::ErrorKind::NetworkDown,
    io::ErrorKind::AddrNotAvailable,
];

fn is_unconnected(error: &(dyn Error + 'static)) -> bool {
    iter::successors(Some(error), |error| cause(*error))
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| UNCONNECTED.contains(&error.kind()))
}

/// The next error of the chain. The `source` of an I/O error skips the error that it was made of.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.map(|inner| inner as _).or_else(|| error.source())
}

// === impl Exchange ===

impl Exchange {
    /// Sends through `http`, any HTTP client that is a Tower service.
    ///
    /// The client must not follow redirects, because requests hold secrets, and must not answer
    /// from a cache. A hyper-util client does neither. A client that uses the session itself is
    /// fine: requests are marked [`Anonymous`].
    pub fn new<S, B>(http: S) -> Self
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self {
            transport: Arc::new(ServiceTransport::new(http)),
            unsent_if: None,
            connect_timeout: CONNECT_TIMEOUT,
            keeps_alive: false,
        }
    }

    /// Limits the time until the HTTP client asks for the body, which it does when it has a
    /// connection. Default: 10 seconds. After that the request has failed, unsent.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Recognises more errors of the HTTP client that say that nothing was sent.
    ///
    /// The [module docs](crate::exchange#was-it-sent) tell which errors are recognised without it.
    /// Return `true` only for an error that rules out *every* attempt of a client that retries by
    /// itself.
    ///
    /// ```
    /// use hyper_util::client::legacy;
    ///
    /// # fn with(exchange: tower_refresh::exchange::Exchange) -> tower_refresh::exchange::Exchange {
    /// exchange.unsent_if(|error| error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect))
    /// # }
    /// ```
    pub fn unsent_if<F>(mut self, is_unsent: F) -> Self
    where
        F: Fn(&(dyn Error + 'static)) -> bool + Send + Sync + 'static,
    {
        self.unsent_if = Some(Arc::new(is_unsent));
        self
    }

    /// Whether a request may use and leave behind a kept-alive connection. Default: false, and each
    /// request has the header `Connection: close`.
    pub fn keep_alive(mut self, keeps_alive: bool) -> Self {
        self.keeps_alive = keeps_alive;
        self
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// The request is marked [`Anonymous`], and its `Authorization` and `Cookie` headers are marked
    /// sensitive.
    ///
    /// # Errors
    ///
    /// If there is no answer.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time. A body that was not asked for by then is not sent
    /// later.
    pub async fn send(&self, request: Request<RequestBody>) -> Result<Answer, ExchangeError> {
        let (mut head, body) = request.into_parts();
        for name in [AUTHORIZATION, COOKIE] {
            if let Entry::Occupied(mut values) = head.headers.entry(name) {
                values.iter_mut().for_each(|value| value.set_sensitive(true));
            }
        }
        if !self.keeps_alive && head.version < Version::HTTP_2 {
            head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        head.extensions.insert(Anonymous);
        let (body, gate) = body.gated();

        let mut sending = self.transport.send(Request::from_parts(head, body));
        let mut sending = Pin::new(&mut sending);
        let sent = match self.connecting(watched(sending.as_mut(), &gate)).await {
            Ok(sent) => sent,
            Err(elapsed) if gate.shut() => return Err(ExchangeError::unsent(elapsed)),
            Err(_) => sending.await,
        };
        match sent {
            Ok(response) => Ok(Answer::new(response)),
            Err(TransportError::NotReady(error)) => Err(ExchangeError::unsent(error)),
            Err(TransportError::Failed(error)) if gate.shut() || self.is_unsent(&*error) => {
                Err(ExchangeError::unsent(error))
            }
            Err(TransportError::Failed(error)) => Err(ExchangeError::unanswered(error)),
        }
    }

    /// The output of `sending`, if it comes within the time for a connection.
    async fn connecting<F: Future>(&self, sending: F) -> Result<F::Output, Elapsed> {
        // Without a runtime there is no timer.
        match Handle::try_current() {
            Ok(_) => timeout(self.connect_timeout, sending).await,
            Err(_) => Ok(sending.await),
        }
    }

    fn is_unsent(&self, error: &(dyn Error + 'static)) -> bool {
        is_unconnected(error) || self.unsent_if.as_ref().is_some_and(|is_unsent| is_unsent(error))
    }
}

/// Polls `sending`, and after each poll that leaves it pending looks after the body.
async fn watched<F: Future>(mut sending: Pin<&mut F>, gate: &Gate) -> F::Output {
    poll_fn(|cx| {
        let polled = sending.as_mut().poll(cx);
        if polled.is_pending() {
            gate.check_dropped();
        }
        polled
    })
    .await
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("connect_timeout", &self.connect_timeout)
            .field("keeps_alive", &self.keeps_alive)
            .finish_non_exhaustive()
    }
}
