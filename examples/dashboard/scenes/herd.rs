//! Many requests at once.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::task::JoinSet;
use tower::BoxError;
use tower_refresh::{Error, ErrorKind, RefreshError};

use crate::{report::with_causes, scenes::errand::Errand};

/// What the callers got back.
#[derive(Default)]
pub(crate) struct Herd {
    /// 200, and the right body.
    pub(crate) answered: usize,
    /// Told to log in again, by an error or by a 401.
    pub(crate) logged_out: usize,
    /// Everything else: there should be nothing.
    pub(crate) strays: Vec<String>,
    pub(crate) took: Duration,
}

impl Herd {
    /// Sends that many requests at the same time and waits for all of them.
    pub(crate) async fn run<F, Fut>(
        requests: usize,
        api_url: &str,
        send: F,
    ) -> Result<Self, BoxError>
    where
        F: Fn(Request<Full<Bytes>>) -> Fut,
        Fut: Future<Output = Result<Response<Bytes>, BoxError>> + Send + 'static,
    {
        let start = Instant::now();
        let mut calls = JoinSet::new();
        for number in 0..requests {
            let errand = Errand::nth(number);
            let call = send(errand.request(api_url)?);
            calls.spawn(async move { (errand, call.await) });
        }
        let mut herd = Self::default();
        while let Some(call) = calls.join_next().await {
            let (errand, result) = call?;
            herd.count(&errand, result);
        }
        herd.took = start.elapsed();
        Ok(herd)
    }

    fn count(&mut self, errand: &Errand, result: Result<Response<Bytes>, BoxError>) {
        match result {
            Ok(response) if errand.is_done_by(&response) => self.answered += 1,
            Ok(response) if response.status() == StatusCode::UNAUTHORIZED => self.logged_out += 1,
            Ok(response) => self.strays.push(format!("{} with another body", response.status())),
            Err(error) if is_end_of_login(&error) => self.logged_out += 1,
            Err(error) => self.strays.push(with_causes(&*error)),
        }
    }
}

/// How a caller learns from the layer that somebody has to log in again. (The naive client hands
/// the refusal itself on.)
pub(crate) fn is_end_of_login(error: &BoxError) -> bool {
    error.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::LoggedOut)
        || error.downcast_ref::<RefreshError>().is_some_and(RefreshError::is_terminal)
}
