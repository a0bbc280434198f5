use std::{
    fmt, io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use crate::{
    credential::token::Token,
    error::RefreshError,
    refresher::{BoxFuture, Cause, context::RefreshContext, contract::Refresher},
    token_file::{jwt::expiry, read::read},
};

/// A [`Refresher`] that reads a bearer token from a file, which another program rotates.
///
/// See the [module docs](crate::token_file) for examples, and for the times at which the file is
/// read.
#[derive(Clone)]
#[must_use]
pub struct TokenFile {
    path: PathBuf,
    margin: Duration,
}

/// The time after which a file is read again, if its token does not say when it expires.
const MINUTE: Duration = Duration::from_secs(60);

/// The time after which a file that has no usable token is read again.
const SECOND: Duration = Duration::from_secs(1);

const UNCHANGED: &str = "the token in the file has not changed";

// === impl TokenFile ===

impl TokenFile {
    /// Reads the file at `path`, at each refresh anew.
    ///
    /// The file has one token, with or without white space around it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), margin: MINUTE }
    }

    /// The time before the `exp` of a JWT at which the file is read again. Default: a minute.
    ///
    /// Kubernetes replaces a token when 80 % of its lifetime are over, so that a margin of a minute
    /// finds a new one.
    pub fn margin(mut self, margin: Duration) -> Self {
        self.margin = margin;
        self
    }

    async fn next(&self, context: RefreshContext) -> Result<Token, RefreshError> {
        let read = read(self.path.clone()).await;
        let read = read.and_then(|text| {
            let token = Token::bearer(&*text);
            token.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        });
        let current = context.current().map(|token| &**token);
        let now = context.now();
        match read {
            Ok(token) if current.is_none_or(|it| it.access_token() != token.access_token()) => {
                Ok(self.dated(token, now))
            }
            result => {
                let kept = current.and_then(|token| kept(token, context.cause(), now));
                let error = match (kept, result) {
                    (Some(token), _) => return Ok(token),
                    (None, Ok(_)) => RefreshError::transient(UNCHANGED),
                    (None, Err(error)) => RefreshError::transient(error),
                };
                Err(error.with_retry_after(SECOND))
            }
        }
    }

    /// A token that the session refreshes when the file should be read again.
    fn dated(&self, token: Token, now: SystemTime) -> Token {
        let exp = expiry(token.access_token());
        let early = exp.and_then(|exp| exp.checked_sub(self.margin));
        match early.filter(|early| *early > now) {
            Some(early) => token.with_expires_at(early),
            // A token that has expired by this clock is left to the upstream: the session does not
            // believe an expiry that has passed when the token arrives.
            None => until_next_read(token, exp, now),
        }
    }
}

/// The token in use, if it is still good although the file has no other one.
fn kept(token: &Token, cause: Cause, now: SystemTime) -> Option<Token> {
    let exp = expiry(token.access_token());
    let is_good = cause == Cause::Expiring && exp.is_none_or(|exp| now < exp);
    is_good.then(|| until_next_read(token.clone(), exp, now))
}

/// A token that is due when the file is read again, or at its `exp` if that is earlier.
fn until_next_read(token: Token, exp: Option<SystemTime>, now: SystemTime) -> Token {
    match exp {
        Some(exp) => token.with_expires_at(exp.min(now + MINUTE)),
        None => token.with_expires_in(MINUTE),
    }
}

impl Refresher for TokenFile {
    fn refresh(&self, context: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
        Box::pin(self.next(context))
    }

    fn is_read_only(&self) -> bool {
        true
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFile").field("path", &self.path).field("margin", &self.margin).finish()
    }
}
