//! An upstream, an auth server and a store, in memory, with faults on demand.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::Full;
use tokio::sync::watch;
use tower::{Layer, service_fn, util::BoxCloneSyncService};
use tower_refresh::{
    BoxError, Origins, RefreshContext, RefreshError, RefreshLayer, Refresher, ReplayBody, Session,
    Token,
    refresher::BoxFuture,
    store::{Leased, Memory, Record, Store, StoreError, Swapped, Version},
};

pub(crate) type Client = BoxCloneSyncService<Request<Full<Bytes>>, Response<Full<Bytes>>, BoxError>;

/// Begins each token. No metric and no log line may hold it.
pub(crate) const SECRET: &str = "canary-secret";

/// The behaviour of the auth server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Token,
    Unavailable,
    /// The connection is refused, so that the refresh has certainly not happened.
    Refused,
    Revoked,
    /// No answer: the refresher is pending.
    Silent,
}

/// An auth server. Clones are handles to the same one.
#[derive(Clone)]
pub(crate) struct Auth {
    answer: watch::Sender<Answer>,
    issued: Arc<AtomicU64>,
}

/// An upstream that accepts one token. Clones are handles to the same one.
#[derive(Clone, Default)]
pub(crate) struct Upstream {
    accepts: Arc<Mutex<String>>,
    accepts_newest: Arc<AtomicBool>,
}

/// A store that fails on demand, and forgets its lease.
#[derive(Clone, Default)]
pub(crate) struct Flaky {
    memory: Arc<Memory>,
    pub(crate) is_down: Arc<AtomicBool>,
    pub(crate) is_read_only: Arc<AtomicBool>,
    pub(crate) is_leased_elsewhere: Arc<AtomicBool>,
    /// Whether a lease was refused.
    pub(crate) has_refused: Arc<AtomicBool>,
}

pub(crate) fn token(number: u64) -> Token {
    Token::bearer(format!("{SECRET}-at-{number}"))
        .expect("the text is a token")
        .with_refresh_token(format!("{SECRET}-rt-{number}"))
}

pub(crate) fn get() -> Request<Full<Bytes>> {
    Request::get("https://api.example.com/").body(Full::default()).expect("the request is valid")
}

impl Auth {
    pub(crate) fn new() -> Self {
        Self { answer: watch::Sender::new(Answer::Token), issued: Arc::new(AtomicU64::new(100)) }
    }

    pub(crate) fn answer(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }

    /// Whether a refresher waits for the answer.
    pub(crate) fn is_asked(&self) -> bool {
        self.answer.receiver_count() > 0
    }
}

impl Refresher for Auth {
    fn refresh(&self, _: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        Box::pin(async move {
            tracing::debug!("the auth server is asked");
            tokio::task::yield_now().await;
            let mut answers = self.answer.subscribe();
            let is_audible = |answer: &Answer| !matches!(answer, Answer::Silent);
            let answer = *answers.wait_for(is_audible).await.map_err(RefreshError::transient)?;
            match answer {
                Answer::Token => Ok(token(self.issued.fetch_add(1, Ordering::Relaxed))),
                Answer::Unavailable => Err(RefreshError::transient("503 from the auth server")),
                Answer::Refused => Err(RefreshError::unprocessed("connection refused")),
                Answer::Revoked => Err(RefreshError::terminal("invalid_grant")),
                Answer::Silent => unreachable!("the answer is awaited"),
            }
        })
    }
}

impl Upstream {
    /// Accepts this token alone.
    pub(crate) fn accept(&self, token: &Token) {
        self.accepts_newest.store(false, Ordering::Relaxed);
        *self.accepted() = token.access_token().to_owned();
    }

    /// Rejects every token.
    pub(crate) fn reject_all(&self) {
        self.accepts_newest.store(false, Ordering::Relaxed);
        self.accepted().clear();
    }

    /// Accepts the tokens of the auth server, and no token that the application made.
    pub(crate) fn accept_refreshed(&self) {
        self.accepts_newest.store(true, Ordering::Relaxed);
    }

    /// A client of this upstream.
    pub(crate) fn client(&self, session: &Session) -> Client {
        let upstream = self.clone();
        let layer = RefreshLayer::new(session.clone(), Origins::any());
        BoxCloneSyncService::new(layer.layer(service_fn(
            move |request: Request<ReplayBody<Full<Bytes>>>| {
                let upstream = upstream.clone();
                async move {
                    let token = request.headers()[AUTHORIZATION].to_str().unwrap_or("").to_owned();
                    tokio::task::yield_now().await;
                    let mut response = Response::new(Full::default());
                    if !upstream.accepts(&token) {
                        *response.status_mut() = StatusCode::UNAUTHORIZED;
                    }
                    Ok::<_, BoxError>(response)
                }
            },
        )))
    }

    fn accepts(&self, authorization: &str) -> bool {
        let token = authorization.trim_start_matches("Bearer ");
        if self.accepts_newest.load(Ordering::Relaxed) {
            return token.starts_with(&format!("{SECRET}-at-1"));
        }
        *self.accepted() == token
    }

    fn accepted(&self) -> std::sync::MutexGuard<'_, String> {
        self.accepts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flaky {
    async fn check(&self) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        if self.is_down.load(Ordering::Relaxed) {
            return Err(StoreError::unavailable("connection refused"));
        }
        Ok(())
    }
}

impl Store for Flaky {
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            self.check().await?;
            self.memory.load(name).await
        })
    }

    fn swap<'a>(
        &'a self,
        name: &'a str,
        seen: Option<Version>,
        next: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Swapped, StoreError>> {
        Box::pin(async move {
            self.check().await?;
            if self.is_read_only.load(Ordering::Relaxed) {
                return Err(StoreError::denied("read-only file system"));
            }
            self.memory.swap(name, seen, next).await
        })
    }

    fn lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Leased, StoreError>> {
        Box::pin(async move {
            self.check().await?;
            if self.is_leased_elsewhere.load(Ordering::Relaxed) && !ttl.is_zero() {
                self.has_refused.store(true, Ordering::Relaxed);
                return Ok(Leased::Busy(ttl));
            }
            self.memory.lease(name, holder, ttl).await
        })
    }
}
