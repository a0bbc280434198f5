//! Steady traffic over the lifetimes of several tokens.

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

/// The time between a token's renewal and its expiry.
pub(crate) const AHEAD: Duration = Duration::from_secs(10 * 60);

/// The time between two rounds. A token lives for 60 minutes, so the rounds see it at the age of
/// 18, 36 and 54 minutes. The renewal is due between 50 and 52 minutes, depending on the jitter, so
/// the third round starts it. Without a renewal the fourth round would come at 72 minutes.
pub(crate) const EVERY: Duration = Duration::from_secs(18 * 60);
pub(crate) const ROUNDS_TO_RENEWAL: usize = 3;
pub(crate) const ROUNDS_TO_EXPIRY: usize = 4;

/// By default a session allows five refreshes in 30 seconds of real time, and all rounds together
/// take less than that.
pub(crate) const LIFETIMES: usize = 4;
pub(crate) const ROUNDS: usize = LIFETIMES * ROUNDS_TO_RENEWAL;

/// The results of all rounds together.
#[derive(Default)]
pub(crate) struct Steady {
    /// Requests with a 200 and the right body.
    pub(crate) answered: usize,
    /// Requests that waited for a refresh.
    pub(crate) waited: usize,
    /// Requests that were answered while a refresh was in flight.
    pub(crate) meanwhile: usize,
    /// All other results. There should be none.
    pub(crate) strays: Vec<String>,
    pub(crate) took: Duration,
}

impl Steady {
    /// Logs in and sends `requests` requests in each round.
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
            // No refresh is answered yet, so every request either returns without it or waits for
            // it. This loop looks again after each step of a request.
            while returned.load(Ordering::Relaxed) + session.waiters() < requests {
                step.notified().await;
            }
            let sample = (returned.load(Ordering::Relaxed), session.waiters());
            backend.release_refresh_answers();
            Ok(sample)
        };
        let (herd, (returned, waited)) = try_join!(herd, held)?;
        // Perhaps no request waits for the refresh, and the clock must not advance before its token
        // is there.
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
