//! Many requests at once.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::task::JoinSet;
use tower::BoxError;
use tower_refresh::{Error, ErrorKind, RefreshError};

use crate::{report::with_causes, scenes::api_call::ApiCall};

/// The results of all requests.
#[derive(Default)]
pub(crate) struct Herd {
    /// Requests with a 200 and the right body.
    pub(crate) answered: usize,
    /// Requests that were told to log in again, by an error or by a 401.
    pub(crate) logged_out: usize,
    /// All other results. There should be none.
    pub(crate) strays: Vec<String>,
    pub(crate) took: Duration,
    pub(crate) spans: Vec<Span>,
}

/// The span of one request, as its caller sees it.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) number: usize,
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
    pub(crate) is_answered: bool,
}

impl Herd {
    /// Sends `requests` requests at the same time and waits for all of them.
    pub(crate) async fn run<F, Fut>(
        requests: usize,
        api_url: &str,
        send: F,
    ) -> Result<Self, BoxError>
    where
        F: Fn(Request<Full<Bytes>>) -> Fut,
        Fut: Future<Output = Result<Response<Bytes>, BoxError>> + Send + 'static,
    {
        let begin = Instant::now();
        let mut calls = JoinSet::new();
        for number in 0..requests {
            let api_call = ApiCall::nth(number);
            let call = send(api_call.request(api_url)?);
            calls.spawn(async move {
                let begin = Instant::now();
                let result = call.await;
                (api_call, begin, Instant::now(), result)
            });
        }
        let mut herd = Self::default();
        while let Some(call) = calls.join_next().await {
            let (api_call, begin, end, result) = call?;
            let is_answered = herd.count(&api_call, result);
            herd.spans.push(Span { number: api_call.number, begin, end, is_answered });
        }
        herd.took = begin.elapsed();
        Ok(herd)
    }

    /// Counts the result, and returns whether it is the right answer.
    fn count(&mut self, api_call: &ApiCall, result: Result<Response<Bytes>, BoxError>) -> bool {
        match result {
            Ok(response) if api_call.is_done_by(&response) => {
                self.answered += 1;
                return true;
            }
            Ok(response) if response.status() == StatusCode::UNAUTHORIZED => self.logged_out += 1,
            Ok(response) => self.strays.push(format!("{} with another body", response.status())),
            Err(error) if is_end_of_login(&error) => self.logged_out += 1,
            Err(error) => self.strays.push(with_causes(&*error)),
        }
        false
    }
}

/// Whether the caller has to log in again. The layer says so with an [`Error`]; the client without
/// the layer returns the refusal itself.
pub(crate) fn is_end_of_login(error: &BoxError) -> bool {
    error.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::LoggedOut)
        || error.downcast_ref::<RefreshError>().is_some_and(RefreshError::is_terminal)
}
