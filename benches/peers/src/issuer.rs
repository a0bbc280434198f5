use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// The token before a herd begins, as long as usual access tokens.
pub(crate) const FIRST_TOKEN: &str =
    "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJwZWVycyJ9.c2lnbmF0dXJl-0";

/// The lifetime of a token, which is longer than any run.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);

/// The time to issue a token. It is short, because some peers refresh a thousand times one after
/// another.
const DELAY: Duration = Duration::from_millis(5);

/// Issues the first token until a herd begins, and then a new one for each call. New tokens are
/// counted.
#[derive(Clone, Debug)]
pub(crate) struct Issuer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    first: FirstToken,
    herd_began: AtomicBool,
    refreshes: AtomicUsize,
}

/// The expiry that the issuer reports for the first token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstToken {
    /// The token expires after [`LIFETIME`].
    Valid,
    /// The token has expired.
    Expired,
}

/// A token and the expiry that the issuer reports for it.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) token: String,
    pub(crate) has_expired: bool,
}

// === impl Issuer ===

impl Issuer {
    pub(crate) fn new(first: FirstToken) -> Self {
        Self(Arc::new(Inner {
            first,
            herd_began: AtomicBool::new(false),
            refreshes: AtomicUsize::new(0),
        }))
    }

    pub(crate) fn begin_herd(&self) {
        self.0.herd_began.store(true, Ordering::Release);
    }

    pub(crate) async fn issue(&self) -> Issued {
        if !self.0.herd_began.load(Ordering::Acquire) {
            return Issued {
                token: FIRST_TOKEN.into(),
                has_expired: self.0.first == FirstToken::Expired,
            };
        }
        let number = self.0.refreshes.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::time::sleep(DELAY).await;
        Issued {
            token: format!("{}{number}", FIRST_TOKEN.trim_end_matches('0')),
            has_expired: false,
        }
    }

    pub(crate) fn refreshes(&self) -> usize {
        self.0.refreshes.load(Ordering::Relaxed)
    }
}
