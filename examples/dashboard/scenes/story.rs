//! The five scenes. They follow one another: each finds the session as the one before has left it.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tower::BoxError;

use crate::{
    client::{AuthService, Dashboard, Naive},
    report::{Report, with_causes},
    scenes::{
        errand::Errand,
        herd::{Herd, is_end_of_login},
        steady::{self, Steady},
    },
    server::{Backend, PASSWORD, USER, Wire},
};

/// How long a hook may take.
const HOOK: Duration = Duration::from_secs(20);

pub(crate) struct Story<A: AuthService> {
    requests: usize,
    backend: Backend,
    dashboard: Dashboard<A>,
}

impl<A: AuthService> Story<A> {
    pub(crate) async fn begin(requests: usize, wire: &'static dyn Wire) -> Result<Self, BoxError> {
        let backend = Backend::start(u32::try_from(requests)?, wire).await?;
        let dashboard = dashboard(&backend, steady::AHEAD)?;
        dashboard.login(USER, PASSWORD).await?;
        Ok(Self { requests, backend, dashboard })
    }

    /// The access token has expired, and everybody finds out at once.
    pub(crate) async fn expired(&self) -> Result<Report, BoxError> {
        let n = self.requests;
        self.backend.expire_access_tokens(n);
        let before = self.backend.traffic();
        let herd = self.herd().await?;
        let seen = self.backend.traffic() - before;
        Ok(Report::new(format!("{n} requests at once, the access token has expired"))
            .check("requests answered (200, right body)", herd.answered, n)
            .check("401s that the API sent", seen.api_rejections, n)
            .check("refreshes", seen.refreshes, 1)
            .check("requests sent again", seen.api_requests.saturating_sub(n), n)
            .time("time", herd.took)
            .strays(herd.strays)
            .moral(
                "The first rejection started a refresh, the others waited for it, and every request was\n\
                 sent again, with its body and the new token. The callers noticed nothing.",
            ))
    }

    /// The same without the layer.
    pub(crate) async fn naive(&self) -> Result<Report, BoxError> {
        let n = self.requests;
        let naive = Naive::<A>::new(&self.backend.auth_url, self.backend.clock.clone())?;
        naive.login(USER, PASSWORD).await?;
        self.backend.expire_access_tokens(n);
        self.backend.hold_refresh_answers(n);
        let before = self.backend.traffic();
        let herd = Herd::run(n, &self.backend.api_url, |request| {
            let naive = naive.clone();
            async move { naive.send(request).await }
        })
        .await?;
        let seen = self.backend.traffic() - before;
        Ok(Report::new(format!("{n} requests at once, the naive way: whoever gets a 401 refreshes"))
            .check("requests answered (200, right body)", herd.answered, 0)
            .check("401s that the API sent", seen.api_rejections, n + 1)
            .check("refreshes", seen.refreshes, n)
            .check("refreshes refused: token already used", seen.refreshes_refused, n - 1)
            .check("times the user was thrown out", seen.logouts, n)
            .check("still logged in", yes(naive.is_logged_in()), "no")
            .time("time", herd.took)
            .strays(herd.strays)
            .moral(
                "They all refreshed with the same refresh token, and it is good for one use. The auth service\n\
                 took the second use for a theft and revoked the session, the one new token included.",
            ))
    }

    /// The session was revoked on the server: no refresh helps.
    pub(crate) async fn refused(&self) -> Result<Report, BoxError> {
        let n = self.requests;
        self.backend.expire_access_tokens(n);
        self.backend.revoke_sessions();
        let before = self.backend.traffic();
        let herd = self.herd().await?;
        // The callers don't wait for the hook, so this does. One that never runs shows in the
        // count.
        _ = timeout(HOOK, self.backend.wait_for_logout(before)).await;
        let seen = self.backend.traffic() - before;

        let before = self.backend.traffic();
        let start = Instant::now();
        let next = self.dashboard.send(Errand::nth(0).request(&self.backend.api_url)?).await;
        let took = start.elapsed();
        let extra = self.backend.traffic() - before;
        let (fails_as_it_should, error) = match next {
            Ok(response) => (false, format!("none, but {}", response.status())),
            Err(error) => (is_end_of_login(&error), with_causes(&*error)),
        };
        Ok(Report::new(format!("{n} requests at once, the token has expired and the session was revoked"))
            .check("requests answered", herd.answered, 0)
            .check("requests told to log in again", herd.logged_out, n)
            .check("refreshes", seen.refreshes, 1)
            .check("refreshes refused: session revoked", seen.refreshes_refused, 1)
            .check("requests sent again", seen.api_requests.saturating_sub(n), 0)
            .check("times the application was logged out", seen.logouts, 1)
            .check("user still shown", yes(self.dashboard.shows_a_user()), "no")
            .check("the next request is told the same", yes(fails_as_it_should), "yes")
            .check("connections and requests that it cost", extra.total(), 0)
            .time("time until it failed", took)
            .strays(herd.strays)
            .moral(format!(
                "One refusal was enough for everybody: the application was logged out once, and what comes\n\
                 later fails at once and reaches no server. The error says why:\n  {error}",
            )))
    }

    /// A new login makes everything work again.
    pub(crate) async fn back(&self) -> Result<Report, BoxError> {
        let n = self.requests;
        self.dashboard.login(USER, PASSWORD).await?;
        let before = self.backend.traffic();
        let herd = self.herd().await?;
        let seen = self.backend.traffic() - before;
        Ok(Report::new(format!("logged in again, {n} requests at once"))
            .check("requests answered (200, right body)", herd.answered, n)
            .check("401s that the API sent", seen.api_rejections, 0)
            .check("refreshes", seen.refreshes, 0)
            .check("times the application was logged out", seen.logouts, 0)
            .check("user shown", yes(self.dashboard.shows_a_user()), "yes")
            .time("time", herd.took)
            .strays(herd.strays)
            .moral("Nothing had to be rebuilt: the same client, the same layer, a new login."))
    }

    /// It is renewed before it expires, and everybody goes on.
    pub(crate) async fn ahead(&self) -> Result<Report, BoxError> {
        let n = self.requests;
        let before = self.backend.traffic();
        let ahead = Steady::run(n, &self.backend, &self.dashboard).await?;
        let seen = self.backend.traffic() - before;
        let too_late = dashboard::<A>(&self.backend, Duration::ZERO)?;
        let too_late = Steady::run(n, &self.backend, &too_late).await?;

        let (every, margin) = (steady::EVERY.as_secs() / 60, steady::AHEAD.as_secs() / 60);
        let (lifetimes, expiries) = (steady::LIFETIMES, steady::ROUNDS / steady::ROUNDS_TO_EXPIRY);
        let title = format!(
            "{n} requests every {every} minutes, tokens are renewed {margin} minutes ahead"
        );
        Ok(Report::new(title)
            .check("requests answered (200, right body)", ahead.answered, n * steady::ROUNDS)
            .check("401s that the API sent", seen.api_rejections, 0)
            .check("refreshes, one for each token's lifetime", seen.refreshes, lifetimes)
            .check("requests that waited for a refresh", ahead.waited, 0)
            .check("answered while a refresh was in flight", ahead.meanwhile, n * lifetimes)
            .check("waited in the same, not renewed ahead", too_late.waited, n * expiries)
            .time("time (the clock is moved, nobody sleeps)", ahead.took)
            .strays(ahead.strays.into_iter().chain(too_late.strays).collect())
            .moral(
                "The first request of a token's last minutes started its renewal, and nobody waited for it: the\n\
                 old token is still good. Without `refresh_ahead` it is renewed when it has expired, and all wait.",
            ))
    }

    async fn herd(&self) -> Result<Herd, BoxError> {
        Herd::run(self.requests, &self.backend.api_url, |request| {
            let dashboard = self.dashboard.clone();
            async move { dashboard.send(request).await }
        })
        .await
    }
}

fn dashboard<A: AuthService>(
    backend: &Backend,
    refresh_ahead: Duration,
) -> Result<Dashboard<A>, BoxError> {
    Dashboard::new(&backend.api_url, &backend.auth_url, backend.clock.clone(), refresh_ahead)
}

fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}
