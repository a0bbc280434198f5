use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::{task::JoinSet, time::timeout};
use tower::BoxError;

use crate::{
    issuer::FirstToken,
    peer::{Client, Environment, Peer},
};

/// The time after which unanswered requests count as lost.
const LIMIT: Duration = Duration::from_secs(30);

/// The outcome of one herd.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) refreshes: usize,
    /// Requests that got 200.
    pub(crate) answered: usize,
    /// Requests that got 401.
    pub(crate) rejected: usize,
    /// Requests that got an error or another status.
    pub(crate) failed: usize,
    /// Requests without a response after [`LIMIT`].
    pub(crate) lost: usize,
    pub(crate) took: Duration,
    /// The status of one more request, sent after the herd.
    pub(crate) next: StatusCode,
}

/// Sends `n` requests at once through clones of one client, each in a task of its own.
///
/// If the first token is [`Valid`](FirstToken::Valid), the client has used it once before the
/// upstream revokes it, and cannot know that it is revoked. Otherwise the client has sent no
/// request, and has no token or an expired one.
pub(crate) async fn run<P: Peer>(n: usize, first: FirstToken) -> Result<Outcome, BoxError> {
    let environment = Environment::new(n, first).await?;
    let mut client = P::client(&environment).await?;
    if first == FirstToken::Valid {
        let status = client.send(P::request()).await?;
        if status != StatusCode::OK {
            return Err(format!("{} got {status} for a valid token", P::CRATE).into());
        }
    }
    environment.upstream.revoke();
    environment.issuer.begin_herd();

    let start = Instant::now();
    let mut requests = JoinSet::new();
    for _ in 0..n {
        let mut client = client.clone();
        requests.spawn(async move { client.send(P::request()).await });
    }
    let mut outcome = Outcome {
        refreshes: 0,
        answered: 0,
        rejected: 0,
        failed: 0,
        lost: 0,
        took: Duration::ZERO,
        next: StatusCode::OK,
    };
    let all = async {
        while let Some(result) = requests.join_next().await {
            match result? {
                Ok(StatusCode::OK) => outcome.answered += 1,
                Ok(StatusCode::UNAUTHORIZED) => outcome.rejected += 1,
                Ok(_) | Err(_) => outcome.failed += 1,
            }
        }
        Ok::<_, BoxError>(())
    };
    if let Ok(result) = timeout(LIMIT, all).await {
        result?;
    }
    outcome.lost = requests.len();
    outcome.took = start.elapsed();
    outcome.refreshes = environment.issuer.refreshes();
    outcome.next = timeout(LIMIT, client.send(P::request())).await??;
    Ok(outcome)
}
