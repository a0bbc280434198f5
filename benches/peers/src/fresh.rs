use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use http::StatusCode;
use tokio::runtime::Handle;
use tower::BoxError;

use crate::{
    issuer::FirstToken,
    peer::{Client, Environment, Peer},
    upstream::Upstream,
};

/// The number of requests in a sample, small enough for all of them to stay in the caches.
const SAMPLE: u32 = 32;

/// The samplers of a peer and of its bare upstream.
pub(crate) struct Pair {
    bare: Sampler,
    peer: Sampler,
    /// Kept alive for the client.
    _environment: Environment,
}

/// The time of a single request, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) bare: f64,
    /// The time that the peer adds.
    pub(crate) added: f64,
}

type Sampler = Box<dyn FnMut() -> Duration>;

/// Samples all pairs in turns, so that other load on the machine affects all of them alike.
pub(crate) fn race(pairs: &mut [&mut Pair], turns: usize) -> Vec<Times> {
    let mut samples = vec![Vec::with_capacity(turns); pairs.len()];
    for turn in 0..=turns {
        // The first pair of a turn changes, so that no pair always follows the same one and the
        // state of its caches.
        for position in 0..pairs.len() {
            let index = (turn + position) % pairs.len();
            let sample = pairs[index].sample(turn % 2 == 0);
            // The first turn warms up.
            if turn > 0 {
                samples[index].push(sample);
            }
        }
    }
    samples.iter().map(|samples| times(samples)).collect()
}

fn times(samples: &[(Duration, Duration)]) -> Times {
    let nanos = |duration: &Duration| duration.as_secs_f64() * 1e9 / f64::from(SAMPLE);
    let bare = median(samples.iter().map(|(bare, _)| nanos(bare)));
    let added = median(samples.iter().map(|(bare, peer)| nanos(peer) - nanos(bare)));
    Times { bare, added }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

// === impl Pair ===

impl Pair {
    pub(crate) async fn new<P: Peer>(runtime: &Handle) -> Result<Self, BoxError> {
        let environment = Environment::new(0, FirstToken::Valid).await?;
        let client = P::client(&environment).await?;
        let bare = sampler::<P>(runtime.clone(), P::bare(Upstream::open()));
        Ok(Self { bare, peer: sampler::<P>(runtime.clone(), client), _environment: environment })
    }

    fn sample(&mut self, bare_first: bool) -> (Duration, Duration) {
        if bare_first {
            let bare = (self.bare)();
            (bare, (self.peer)())
        } else {
            let peer = (self.peer)();
            ((self.bare)(), peer)
        }
    }
}

/// Sends requests one after another on the current thread.
fn sampler<P: Peer>(runtime: Handle, mut client: impl Client<P::Request>) -> Sampler {
    let mut requests = Vec::new();
    Box::new(move || {
        requests.extend((0..SAMPLE).map(|_| P::request()));
        runtime.block_on(async {
            let start = Instant::now();
            for request in requests.drain(..) {
                let status = client.send(request).await.expect("the request succeeds");
                assert_eq!(black_box(status), StatusCode::OK);
            }
            start.elapsed()
        })
    })
}
