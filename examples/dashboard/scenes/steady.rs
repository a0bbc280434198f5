//! Traffic that goes on while token after token comes of age.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Notify, try_join};
use tower::BoxError;

use crate::{
    client::{AuthService, Dashboard},
    scenes::herd::Herd,
    server::{Backend, PASSWORD, USER},
};

/// How long before its expiry a token is renewed.
pub(crate) const AHEAD: Duration = Duration::from_secs(10 * 60);

/// The time between two rounds. They see a token, which lives for 60 minutes, at the age of 18, 36
/// and 54: the third is within the last ten minutes, wherever the jitter has put the renewal (not
/// after 52). Without the renewal a fourth would come at 72.
pub(crate) const EVERY: Duration = Duration::from_secs(18 * 60);
pub(crate) const ROUNDS_TO_RENEWAL: usize = 3;
pub(crate) const ROUNDS_TO_EXPIRY: usize = 4;

/// A session allows for five refreshes in 30 seconds by default. It means real ones, and in those
/// this is over at once.
pub(crate) const LIFETIMES: usize = 4;
pub(crate) const ROUNDS: usize = LIFETIMES * ROUNDS_TO_RENEWAL;

/// What became of the requests, in all rounds together.
#[derive(Default)]
pub(crate) struct Steady {
    /// 200, and the right body.
    pub(crate) answered: usize,
    /// Could not go on before the refresh was answered.
    pub(crate) waited: usize,
    /// Came back although a refresh had begun, and no answer to it had left the auth service.
    pub(crate) meanwhile: usize,
    /// There should be nothing.
    pub(crate) strays: Vec<String>,
    pub(crate) took: Duration,
}

impl Steady {
    /// Logs in and sends that many requests in each round.
    pub(crate) async fn run<A: AuthService>(
        requests: usize,
        backend: &Backend,
        dashboard: &Dashboard<A>,
    ) -> Result<Self, BoxError> {
        let start = Instant::now();
        let mut steady = Self::default();
        dashboard.login(USER, PASSWORD).await?;
        for _ in 0..ROUNDS {
            backend.clock.advance(EVERY);
            steady.round(requests, backend, dashboard).await?;
        }
        steady.took = start.elapsed();
        Ok(steady)
    }

    async fn round<A: AuthService>(
        &mut self,
        requests: usize,
        backend: &Backend,
        dashboard: &Dashboard<A>,
    ) -> Result<(), BoxError> {
        let session = dashboard.session();
        let returned = Arc::new(AtomicUsize::new(0));
        let step = Arc::new(Notify::new());
        let before = backend.traffic();
        backend.hold_refresh_answers(usize::MAX);
        let herd = Herd::run(requests, &backend.api_url, |request| {
            let (dashboard, returned, step) = (dashboard.clone(), returned.clone(), step.clone());
            async move {
                let mut call = pin!(dashboard.send(request));
                poll_fn(|cx| {
                    let polled = call.as_mut().poll(cx);
                    returned.fetch_add(usize::from(polled.is_ready()), Ordering::Relaxed);
                    step.notify_one();
                    polled
                })
                .await
            }
        });
        let held = async {
            // As long as no refresh is answered, a request comes back without it, or it waits. Each
            // does it in a step of its own, so that this looks again after each.
            while returned.load(Ordering::Relaxed) + session.waiters() < requests {
                step.notified().await;
            }
            let sample = (returned.load(Ordering::Relaxed), session.waiters());
            backend.let_refresh_answers_go();
            Ok(sample)
        };
        let (herd, (returned, waited)) = try_join!(herd, held)?;
        // Nobody may wait for the refresh, and the clock must not go on without what it brings.
        session
            .subscribe()
            .wait_for(|state| state.flights_settled() == state.flights_started())
            .await?;

        let seen = backend.traffic() - before;
        self.answered += herd.answered;
        self.waited += waited;
        self.meanwhile += if seen.refreshes > 0 { returned } else { 0 };
        self.strays.extend(herd.strays);
        if herd.logged_out > 0 {
            self.strays.push(format!("{} told to log in again", herd.logged_out));
        }
        Ok(())
    }
}
