use std::{
    error, fmt,
    future::pending,
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
    delay: Duration,
    answer: Answer,
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

/// The issuer's answer to calls after the herd began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Answer {
    #[default]
    Token,
    /// A token that has expired by the clock of the client, though the upstream accepts it.
    ExpiredToken,
    /// 503.
    Unavailable,
    /// The refresh token is not valid any more.
    Refused,
    Never,
    /// The code that asks for the token panics.
    Panic,
}

/// The issuer has issued no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IssueError {
    Unavailable,
    Refused,
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
        Self::with(first, DELAY, Answer::Token)
    }

    pub(crate) fn with(first: FirstToken, delay: Duration, answer: Answer) -> Self {
        Self(Arc::new(Inner {
            first,
            delay,
            answer,
            herd_began: AtomicBool::new(false),
            refreshes: AtomicUsize::new(0),
        }))
    }

    pub(crate) fn begin_herd(&self) {
        self.0.herd_began.store(true, Ordering::Release);
    }

    pub(crate) async fn issue(&self) -> Result<Issued, IssueError> {
        if !self.0.herd_began.load(Ordering::Acquire) {
            return Ok(Issued {
                token: FIRST_TOKEN.into(),
                has_expired: self.0.first == FirstToken::Expired,
            });
        }
        let number = self.0.refreshes.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::time::sleep(self.0.delay).await;
        match self.0.answer {
            Answer::Token | Answer::ExpiredToken => Ok(Issued {
                token: format!("{}{number}", FIRST_TOKEN.trim_end_matches('0')),
                has_expired: self.0.answer == Answer::ExpiredToken,
            }),
            Answer::Unavailable => Err(IssueError::Unavailable),
            Answer::Refused => Err(IssueError::Refused),
            Answer::Never => pending().await,
            Answer::Panic => panic!("a bug in the refresh"),
        }
    }

    pub(crate) fn refreshes(&self) -> usize {
        self.0.refreshes.load(Ordering::Relaxed)
    }
}

// === impl IssueError ===

impl fmt::Display for IssueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "503 Service Unavailable",
            Self::Refused => "invalid_grant",
        })
    }
}

impl error::Error for IssueError {}
