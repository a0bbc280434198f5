//! The issuer of tokens, which the server and the refresher ask.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tower_refresh::{
    RefreshContext, RefreshError, Session, Token, refresher_fn, session::SessionBuilder,
};

/// Issues the tokens `at-1`, `at-2`, …, of which one is valid at a time.
#[derive(Clone, Default)]
pub struct Issuer(Arc<Inner>);

#[derive(Default)]
struct Inner {
    good: AtomicUsize,
    refreshes: AtomicUsize,
    failure: Mutex<Option<RefreshError>>,
}

// === impl Issuer ===

impl Issuer {
    /// A session with the token `at-0`, which is valid until [`expire`](Self::expire).
    pub fn session(&self) -> Session {
        self.builder().build()
    }

    /// A session without a refresh limit.
    pub fn unlimited_session(&self) -> Session {
        self.builder().refresh_limit(1, Duration::ZERO).build()
    }

    /// A session whose token has expired. The session does not know yet.
    pub fn expired_session(&self) -> Session {
        self.expire();
        self.session()
    }

    pub fn expire(&self) {
        self.0.good.fetch_add(1, SeqCst);
    }

    pub fn fail(&self, failure: RefreshError) {
        *self.0.failure.lock().unwrap() = Some(failure);
    }

    pub fn accepts(&self, authorization: &[u8]) -> bool {
        authorization == format!("Bearer at-{}", self.0.good.load(SeqCst)).as_bytes()
    }

    pub fn refreshes(&self) -> usize {
        self.0.refreshes.load(SeqCst)
    }

    fn builder(&self) -> SessionBuilder {
        let issuer = self.clone();
        let refresher = refresher_fn(move |_: RefreshContext| {
            let answer = issuer.issue();
            async move { answer }
        });
        Session::builder(refresher).credential(Token::bearer("at-0").unwrap())
    }

    fn issue(&self) -> Result<Token, RefreshError> {
        self.0.refreshes.fetch_add(1, SeqCst);
        match &*self.0.failure.lock().unwrap() {
            Some(failure) => Err(failure.clone()),
            None => Ok(Token::bearer(format!("at-{}", self.0.good.load(SeqCst)))?),
        }
    }
}
