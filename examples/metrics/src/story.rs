//! A story that moves every series: what can happen to a session, once each.

use std::{sync::atomic::Ordering, time::Duration};

use http::StatusCode;
use tokio::{task::JoinHandle, time::sleep};
use tower::{BoxError, ServiceExt};
use tower_refresh::{
    Session,
    extension::NoReplay,
    observe::{Observer, tracing::TracingObserver},
    session::SessionBuilder,
    sessions::Sessions,
    store::Stored,
};
use tracing::Instrument;

use crate::world::{Answer, Auth, Client, Flaky, Upstream, get, token};

/// The parts that all scenes use.
struct Stage<'a, M> {
    auth: Auth,
    upstream: Upstream,
    metrics: M,
    tracing: &'a TracingObserver,
}

/// Tells the story. All of its sessions are dropped at the end.
pub(crate) async fn tell(
    metrics: impl Observer + Clone,
    tracing: &TracingObserver,
) -> Result<(), BoxError> {
    let stage = Stage { auth: Auth::new(), upstream: Upstream::default(), metrics, tracing };
    stage.a_herd_is_rejected().await?;
    stage.the_application_refreshes_and_renews().await?;
    stage.the_auth_server_is_down().await?;
    stage.the_upstream_rejects_new_tokens().await?;
    stage.requests_are_late_marked_and_dropped().await?;
    stage.logins_begin_and_end().await?;
    stage.a_registry_is_full().await?;
    stage.replicas_share_a_store().await?;
    stage.the_store_is_in_trouble().await?;
    // Hooks and savers end in tasks of their own.
    sleep(Duration::from_millis(50)).await;
    Ok(())
}

impl<M: Observer + Clone> Stage<'_, M> {
    fn session(&self, name: &str) -> SessionBuilder {
        self.auth.answer(Answer::Token);
        self.upstream.accept_refreshed();
        Session::builder(self.tracing.instrument_refresher(self.auth.clone()))
            .name(name)
            .backoff(Duration::from_millis(1), Duration::from_millis(1))
            .on_login_end(|_| async {})
            .observer(self.metrics.clone())
            .observer(self.tracing.clone())
    }

    async fn a_herd_is_rejected(&self) -> Result<(), BoxError> {
        let session = self.session("herd").credential(token(0)).build();
        let client = self.upstream.client(&session);
        let requests: Vec<_> = (0..100).map(|_| send(&client)).collect();
        for request in requests {
            assert_eq!(request.await??, StatusCode::OK);
        }
        Ok(())
    }

    async fn the_application_refreshes_and_renews(&self) -> Result<(), BoxError> {
        let on_demand = self.session("on demand").acquire_on_demand(true).build();
        on_demand.acquire().await?;
        on_demand.refresh().await?;
        // A credential that is about to expire.
        let short = token(0).with_expires_in(Duration::from_millis(20));
        let session = self
            .session("renewed")
            .refresh_ahead(Duration::from_millis(19))
            .refresh_limit(1000, Duration::from_millis(1))
            .credential(short)
            .build();
        sleep(Duration::from_millis(15)).await;
        let fresh = tokio::spawn(session.keep_fresh());
        until(|| session.state().flights_settled() > 0).await;
        fresh.abort();
        session.login(token(1));
        Ok(())
    }

    async fn the_auth_server_is_down(&self) -> Result<(), BoxError> {
        let session = self.session("outage").credential(token(0)).build();
        let client = self.upstream.client(&session);
        self.auth.answer(Answer::Unavailable);
        for _ in 0..2 {
            assert!(send(&client).await?.is_err());
            sleep(Duration::from_millis(3)).await;
        }
        // A failure that changed nothing: the flight tries again while requests wait for it.
        self.auth.answer(Answer::Refused);
        assert!(send(&client).await?.is_err());
        Ok(())
    }

    async fn the_upstream_rejects_new_tokens(&self) -> Result<(), BoxError> {
        let session = self.session("wrong audience").credential(token(0)).build();
        let client = self.upstream.client(&session);
        self.upstream.reject_all();
        for _ in 0..2 {
            assert_eq!(send(&client).await??, StatusCode::UNAUTHORIZED);
        }
        Ok(())
    }

    async fn requests_are_late_marked_and_dropped(&self) -> Result<(), BoxError> {
        let session = self.session("requests").credential(token(0)).build();
        let client = self.upstream.client(&session);
        // A newer token arrives while the request is at the upstream.
        let late = send(&client);
        tokio::task::yield_now().await;
        let newer = token(1);
        self.upstream.accept(&newer);
        drop(session.replace(session.state().login(), newer));
        assert_eq!(late.await??, StatusCode::OK);
        // A request that must not be sent twice.
        self.upstream.accept_refreshed();
        let mut marked = get();
        marked.extensions_mut().insert(NoReplay);
        session.login(token(0));
        assert_eq!(client.clone().oneshot(marked).await?.status(), StatusCode::UNAUTHORIZED);
        session.acquire().await?;
        // A caller that does not wait for the end, and a login that overtakes the refresh.
        session.login(token(0));
        self.auth.answer(Answer::Silent);
        let dropped = send(&client);
        until(|| session.waiters() == 1 && self.auth.is_asked()).await;
        dropped.abort();
        drop(dropped.await);
        session.login(token(1));
        self.auth.answer(Answer::Token);
        until(|| !self.auth.is_asked()).await;
        Ok(())
    }

    async fn logins_begin_and_end(&self) -> Result<(), BoxError> {
        let session = self.session("logins").credential(token(0)).build();
        session.login(token(1));
        session.logout().await;
        let client = self.upstream.client(&session);
        assert!(send(&client).await?.is_err());
        session.login(token(0));
        self.auth.answer(Answer::Revoked);
        assert!(send(&client).await?.is_err());
        Ok(())
    }

    async fn a_registry_is_full(&self) -> Result<(), BoxError> {
        let sessions =
            Sessions::<u32>::builder(self.session("user").template()).capacity(1).build();
        drop(sessions.get(&1).await?);
        // Takes the place of a session without a login, and keeps it.
        sessions.login(&2, token(0)).await?;
        assert!(sessions.get(&3).await.is_err());
        Ok(())
    }

    async fn replicas_share_a_store(&self) -> Result<(), BoxError> {
        let store = Flaky::default();
        let (one, other) = (self.replica("one", &store), self.replica("other", &store));
        one.1.login(&one.0, token(0)).await?;
        other.1.open(&other.0).await?;
        one.0.refresh().await?;
        // Another process takes the lease during an exchange.
        self.auth.answer(Answer::Silent);
        let refreshed = one.0.refresh();
        until(|| self.auth.is_asked()).await;
        store.is_leased_elsewhere.store(true, Ordering::Relaxed);
        until(|| store.has_refused.load(Ordering::Relaxed)).await;
        self.auth.answer(Answer::Token);
        drop(refreshed.await);
        Ok(())
    }

    async fn the_store_is_in_trouble(&self) -> Result<(), BoxError> {
        let store = Flaky::default();
        let (session, driver) = self.replica("trouble", &store);
        driver.login(&session, token(0)).await?;
        store.is_down.store(true, Ordering::Relaxed);
        assert!(session.refresh().await.is_err());
        store.is_down.store(false, Ordering::Relaxed);
        session.retry_now();
        // Saved never: the credential is used, and the failure is reported.
        store.is_read_only.store(true, Ordering::Relaxed);
        session.refresh().await?;
        store.is_read_only.store(false, Ordering::Relaxed);
        until(|| driver.is_saved()).await;
        Ok(())
    }

    fn replica(&self, name: &str, store: &Flaky) -> (Session, Stored<Auth, Flaky>) {
        self.auth.answer(Answer::Token);
        let driver = Stored::builder(self.auth.clone(), store.clone(), "shared")
            .lease_ttl(Duration::from_millis(30))
            .build();
        let session = Session::builder(self.tracing.instrument_refresher(driver.clone()))
            .name(name)
            .backoff(Duration::from_millis(1), Duration::from_millis(1))
            .observer(self.metrics.clone())
            .observer(self.tracing.clone())
            .build();
        (session, driver)
    }
}

/// Waits for a condition, for ten seconds at most.
async fn until(is_met: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if is_met() {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("the story does not go on");
}

/// Sends a request in a task and a span of its own.
fn send(client: &Client) -> JoinHandle<Result<StatusCode, BoxError>> {
    let answer = client.clone().oneshot(get());
    let span = tracing::info_span!("request", tower_refresh.wait = tracing::field::Empty);
    tokio::spawn(async { Ok(answer.await?.status()) }.instrument(span))
}
