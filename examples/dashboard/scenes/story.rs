//! The five scenes. Each starts with the session that the scene before has left.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tower::BoxError;

use crate::{
    client::{AuthService, Dashboard, Naive},
    log::Log,
    report::{Report, with_causes},
    scenes::{
        api_call::ApiCall,
        herd::{Herd, Span, is_end_of_login},
        steady::{self, Steady},
    },
    server::{
        Backend, PASSWORD, USER, Wire,
        link::{Exchange, Link},
    },
};

/// The time limit of a hook.
const HOOK: Duration = Duration::from_secs(20);

pub(crate) struct Story<A: AuthService> {
    requests: usize,
    backend: Backend,
    dashboard: Dashboard<A>,
}

/// A scene with one herd.
pub(crate) struct Played {
    pub(crate) report: Report,
    pub(crate) spans: Vec<Span>,
    /// Empty on loopback.
    pub(crate) exchanges: Vec<Exchange>,
}

impl<A: AuthService> Story<A> {
    pub(crate) async fn begin(
        requests: usize,
        wire: &'static dyn Wire,
        link: Link,
        log: Option<Log>,
    ) -> Result<Self, BoxError> {
        let backend = Backend::start(u32::try_from(requests)?, wire, link).await?;
        let dashboard = dashboard(&backend, steady::AHEAD, log)?;
        dashboard.login(USER, PASSWORD).await?;
        Ok(Self { requests, backend, dashboard })
    }

    /// The access token has expired, and all requests are rejected together.
    pub(crate) async fn expired(&self) -> Result<Played, BoxError> {
        let n = self.requests;
        self.backend.expire_access_tokens(n);
        let before = self.backend.traffic();
        let herd = self.herd().await?;
        let seen = self.backend.traffic() - before;
        let report = Report::new(format!("{n} requests at once, with an expired access token"))
            .check("requests answered (200, right body)", herd.answered, n)
            .check("401s that the API sent", seen.api_rejections, n)
            .check("refreshes", seen.refreshes, 1)
            .check("requests sent again", seen.api_requests.saturating_sub(n), n)
            .time("time", herd.took)
            .strays(&herd.strays)
            .conclusion(
                "The first rejection started a refresh, and the other requests waited for it. Each was\n\
                 sent again with its body and the new token. The callers got normal responses.",
            );
        Ok(Played { report, spans: herd.spans, exchanges: self.backend.take_exchanges() })
    }

    /// The herd of [`expired`](Self::expired) without the layer.
    pub(crate) async fn naive(&self) -> Result<Played, BoxError> {
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
        let title = format!("{n} requests at once, by hand: each rejected request refreshes");
        let report = Report::new(title)
            .check("requests answered (200, right body)", herd.answered, 0)
            .check("401s that the API sent", seen.api_rejections, n + 1)
            .check("refreshes", seen.refreshes, n)
            .check("refreshes refused: token already used", seen.refreshes_refused, n - 1)
            .check("times the user was logged out", seen.logouts, n)
            .check("still logged in", yes(naive.is_logged_in()), "no")
            .time("time", herd.took)
            .strays(&herd.strays)
            .conclusion(
                "All requests refreshed with the same refresh token, which can be used once. The auth\n\
                 service took the second use for a theft and revoked the session, including the one\n\
                 new token.",
            );
        Ok(Played { report, spans: herd.spans, exchanges: self.backend.take_exchanges() })
    }

    /// The session was revoked on the server, so the refresh is refused.
    pub(crate) async fn refused(&self) -> Result<Report, BoxError> {
        let n = self.requests;
        self.backend.expire_access_tokens(n);
        self.backend.revoke_sessions();
        let before = self.backend.traffic();
        let herd = self.herd().await?;
        // The callers do not wait for the hook. A hook that does not run shows in the count.
        _ = timeout(HOOK, self.backend.wait_for_logout(before)).await;
        let seen = self.backend.traffic() - before;

        let before = self.backend.traffic();
        let start = Instant::now();
        let next = self.dashboard.send(ApiCall::nth(0).request(&self.backend.api_url)?).await;
        let took = start.elapsed();
        let extra = self.backend.traffic() - before;
        let (fails_as_it_should, error) = match next {
            Ok(response) => (false, format!("none, but {}", response.status())),
            Err(error) => (is_end_of_login(&error), with_causes(&*error)),
        };
        let title = format!("{n} requests at once, with an expired token of a revoked session");
        Ok(Report::new(title)
            .check("requests answered", herd.answered, 0)
            .check("requests told to log in again", herd.logged_out, n)
            .check("refreshes", seen.refreshes, 1)
            .check("refreshes refused: session revoked", seen.refreshes_refused, 1)
            .check("requests sent again", seen.api_requests.saturating_sub(n), 0)
            .check("times the application was logged out", seen.logouts, 1)
            .check("user still shown", yes(self.dashboard.shows_a_user()), "no")
            .check("next request fails with the same error", yes(fails_as_it_should), "yes")
            .check("connections and requests for it", extra.total(), 0)
            .time("time until it failed", took)
            .strays(&herd.strays)
            .conclusion(format!(
                "One refusal answered all requests. The application was logged out once, and later\n\
                 requests fail at once, without reaching a server. Their error says why:\n  {error}",
            )))
    }

    /// A new login.
    pub(crate) async fn back(&self) -> Result<Report, BoxError> {
        let n = self.requests;
        self.dashboard.login(USER, PASSWORD).await?;
        let before = self.backend.traffic();
        let herd = self.herd().await?;
        let seen = self.backend.traffic() - before;
        Ok(Report::new(format!("{n} requests at once, after a new login"))
            .check("requests answered (200, right body)", herd.answered, n)
            .check("401s that the API sent", seen.api_rejections, 0)
            .check("refreshes", seen.refreshes, 0)
            .check("times the application was logged out", seen.logouts, 0)
            .check("user shown", yes(self.dashboard.shows_a_user()), "yes")
            .time("time", herd.took)
            .strays(&herd.strays)
            .conclusion("The client and its layer are still the same. Only the login is new."))
    }

    /// Tokens are renewed before they expire, and no request waits.
    pub(crate) async fn ahead(&self) -> Result<Report, BoxError> {
        let n = self.requests;
        let before = self.backend.traffic();
        let ahead = Steady::run(n, &self.backend, &self.dashboard).await?;
        let seen = self.backend.traffic() - before;
        let too_late = dashboard::<A>(&self.backend, Duration::ZERO, None)?;
        let too_late = Steady::run(n, &self.backend, &too_late).await?;

        let (every, margin) = (steady::EVERY.as_secs() / 60, steady::AHEAD.as_secs() / 60);
        let (lifetimes, expiries) = (steady::LIFETIMES, steady::ROUNDS / steady::ROUNDS_TO_EXPIRY);
        let title = format!(
            "{n} requests every {every} minutes, with tokens renewed {margin} minutes ahead"
        );
        Ok(Report::new(title)
            .check("requests answered (200, right body)", ahead.answered, n * steady::ROUNDS)
            .check("401s that the API sent", seen.api_rejections, 0)
            .check("refreshes, one per token", seen.refreshes, lifetimes)
            .check("requests that waited for a refresh", ahead.waited, 0)
            .check("answered while a refresh was in flight", ahead.meanwhile, n * lifetimes)
            .check("requests that waited without it", too_late.waited, n * expiries)
            .time("time (the clock is advanced)", ahead.took)
            .strays(&[ahead.strays, too_late.strays].concat())
            .conclusion(
                "The first request in a token's last minutes started its renewal. No request waited\n\
                 for it, because the old token was still valid. Without `refresh_ahead`, all requests\n\
                 wait once the token has expired.",
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
    log: Option<Log>,
) -> Result<Dashboard<A>, BoxError> {
    Dashboard::new(&backend.api_url, &backend.auth_url, backend.clock.clone(), refresh_ahead, log)
}

fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}
