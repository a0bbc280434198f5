//! The network between the clients and the servers.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::sleep;

use crate::scenes::api_call::REQUEST_ID;

/// Loopback as it is, or a network that has round-trip times and keeps a record.
#[derive(Clone)]
pub(crate) enum Link {
    Loopback,
    Recorded(Arc<Mutex<Vec<Exchange>>>),
}

/// A request and its response. `end` is when the response leaves the server, after a delay for the
/// whole round trip.
#[derive(Clone, Copy)]
pub(crate) struct Exchange {
    pub(crate) purpose: Purpose,
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
    pub(crate) status: StatusCode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An attempt of the herd's request with this number.
    Attempt(usize),
    Refresh,
}

// === impl Link ===

impl Link {
    pub(crate) fn recorded() -> Self {
        Self::Recorded(Arc::default())
    }

    /// Answers the request after its time on the network. Logins and logouts take no time and are
    /// not recorded.
    pub(crate) async fn carry<Fut>(
        &self,
        request: Request<Incoming>,
        answer: impl FnOnce(Request<Incoming>) -> Fut,
    ) -> Response<Full<Bytes>>
    where
        Fut: Future<Output = Response<Full<Bytes>>>,
    {
        let (Self::Recorded(exchanges), Some(purpose)) = (self, Purpose::of(&request)) else {
            return answer(request).await;
        };
        let begin = Instant::now();
        let response = answer(request).await;
        let status = response.status();
        sleep(purpose.round_trip(status)).await;
        lock(exchanges).push(Exchange { purpose, begin, end: Instant::now(), status });
        response
    }

    /// Removes and returns the record.
    pub(crate) fn take(&self) -> Vec<Exchange> {
        match self {
            Self::Loopback => Vec::new(),
            Self::Recorded(exchanges) => mem::take(&mut lock(exchanges)),
        }
    }
}

// === impl Purpose ===

impl Purpose {
    fn of(request: &Request<Incoming>) -> Option<Self> {
        if request.uri().path() == "/auth/refresh" {
            return Some(Self::Refresh);
        }
        let id = request.headers().get(REQUEST_ID)?;
        Some(Self::Attempt(id.to_str().ok()?.parse().ok()?))
    }

    /// 60 ms to the auth service, and 40 to 70 ms to the API. Two rejections of sixteen take
    /// another 65 ms, so that they arrive after a refresh that an earlier one has started.
    fn round_trip(self, status: StatusCode) -> Duration {
        let millis = match self {
            Self::Refresh => 60,
            Self::Attempt(number) => {
                let is_late = number % 8 == 5 && status == StatusCode::UNAUTHORIZED;
                40 + number as u64 * 7 % 16 * 2 + if is_late { 65 } else { 0 }
            }
        };
        Duration::from_millis(millis)
    }
}

fn lock(exchanges: &Mutex<Vec<Exchange>>) -> MutexGuard<'_, Vec<Exchange>> {
    exchanges.lock().unwrap_or_else(PoisonError::into_inner)
}
