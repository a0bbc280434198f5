use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::{task::JoinSet, time::timeout};
use tower::BoxError;

use crate::peer::{Client, First, Peer, World};

/// The time after which a request counts as lost.
const LIMIT: Duration = Duration::from_secs(30);

/// The results of one herd.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) refreshes: usize,
    /// Requests with a 200.
    pub(crate) answered: usize,
    /// Requests whose caller got the 401.
    pub(crate) rejected: usize,
    /// Requests with an error or another status.
    pub(crate) failed: usize,
    /// Requests without a result after [`LIMIT`].
    pub(crate) lost: usize,
    pub(crate) took: Duration,
    /// The status of one more request after the herd.
    pub(crate) next: StatusCode,
}

/// Sends `n` requests at once, each from a task of its own, through clones of one client.
///
/// If the first token is [`Good`](First::Good), the client has used it once, and cannot know that
/// the upstream has revoked it. Otherwise the client has sent no request, and has no token or an
/// expired one.
pub(crate) async fn run<P: Peer>(n: usize, first: First) -> Result<Outcome, BoxError> {
    let world = World::new(n, first).await?;
    let mut client = P::client(&world).await?;
    if first == First::Good {
        let status = client.send(P::request()).await?;
        if status != StatusCode::OK {
            return Err(format!("{} got {status} for a good token", P::CRATE).into());
        }
    }
    world.upstream.revoke();
    world.issuer.begin_herd();

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
    outcome.refreshes = world.issuer.refreshes();
    outcome.next = timeout(LIMIT, client.send(P::request())).await??;
    Ok(outcome)
}
