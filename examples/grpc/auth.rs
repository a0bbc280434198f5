//! The tokens that the server accepts. A refresh token can be used once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tonic::Status;

use crate::messages::Tokens;

/// The server's side of all sessions. This example has one.
#[derive(Clone)]
pub(crate) struct Auth(Arc<Mutex<Records>>);

struct Records {
    expiries: HashMap<String, Instant>,
    /// The valid refresh token. `None` if the session was revoked.
    refresh: Option<String>,
    issued: usize,
    refreshes: usize,
}

const LIFETIME: Duration = Duration::from_secs(3600);

// === impl Auth ===

impl Auth {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Records {
            expiries: HashMap::new(),
            refresh: None,
            issued: 0,
            refreshes: 0,
        })))
    }

    /// Logs the user in.
    pub(crate) fn log_in(&self) -> Tokens {
        self.records().issue()
    }

    /// Lets every access token expire after this time.
    pub(crate) fn expire_in(&self, time: Duration) {
        let end = Instant::now() + time;
        self.records().expiries.values_mut().for_each(|expiry| *expiry = end.min(*expiry));
    }

    pub(crate) fn revoke(&self) {
        self.records().refresh = None;
    }

    pub(crate) fn refresh(&self, token: &str) -> Result<Tokens, Status> {
        let mut records = self.records();
        records.refreshes += 1;
        match &records.refresh {
            Some(good) if good == token => Ok(records.issue()),
            _ => {
                // A refresh token that is used twice was stolen.
                records.refresh = None;
                Err(Status::unauthenticated("the session was revoked"))
            }
        }
    }

    /// The time at which this access token expires, if that is in the future.
    pub(crate) fn expiry(&self, authorization: Option<&str>) -> Result<Instant, Status> {
        let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
        let expiry = token.and_then(|token| self.records().expiries.get(token).copied());
        let expiry = expiry.filter(|expiry| *expiry > Instant::now());
        expiry.ok_or_else(|| Status::unauthenticated("the token has expired"))
    }

    pub(crate) fn refreshes(&self) -> usize {
        self.records().refreshes
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Records ===

impl Records {
    fn issue(&mut self) -> Tokens {
        self.issued += 1;
        let access = format!("access-{}", self.issued);
        let refresh = format!("refresh-{}", self.issued);
        self.expiries.insert(access.clone(), Instant::now() + LIFETIME);
        self.refresh = Some(refresh.clone());
        Tokens { access, refresh }
    }
}
