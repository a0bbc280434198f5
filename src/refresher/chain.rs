use std::fmt;

use crate::{
    error::RefreshError,
    refresher::{
        context::RefreshContext,
        contract::{BoxFuture, Refresher},
    },
};

/// A [`Refresher`] that logs in again when the renewal is refused.
///
/// `renew` is asked first. If it fails with a [terminal](RefreshError::is_terminal) error, `login`
/// is asked within the same attempt, and its result counts. A transient or an ambiguous failure of
/// `renew` is the result of the attempt, because a login would then cost a refresh token that may
/// still be good.
///
/// Both share the deadline of the refresh. `login` is not asked if a login, a logout or a
/// replacement has [overtaken](RefreshContext::is_fenced) the flight meanwhile.
///
/// # Examples
///
/// A service account whose refresh token may be revoked, and whose password is good for a new one:
///
/// ```
/// use tower_refresh::{
///     RefreshContext, RefreshError, Refresher, Token,
///     refresher::{Cause, Chain},
///     refresher_fn,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let renew = refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("revoked")) });
/// let login = refresher_fn(|_: RefreshContext| async { Ok(Token::bearer("at-2")?) });
/// let refresher = Chain::new(renew, login);
/// let token: Token = refresher.refresh(RefreshContext::new(Cause::Rejected)).await.unwrap();
/// assert_eq!(token.access_token(), "at-2");
/// # }
/// ```
#[derive(Clone)]
pub struct Chain<R, L> {
    renew: R,
    login: L,
}

// === impl Chain ===

impl<R, L> Chain<R, L> {
    /// Asks `renew`, and then `login` if `renew` was refused.
    pub const fn new(renew: R, login: L) -> Self {
        Self { renew, login }
    }
}

impl<C, R, L> Refresher<C> for Chain<R, L>
where
    C: Send + Sync + 'static,
    R: Refresher<C>,
    L: Refresher<C>,
{
    fn refresh(&self, context: RefreshContext<C>) -> BoxFuture<'_, Result<C, RefreshError>> {
        Box::pin(async move {
            match self.renew.refresh(context.clone()).await {
                Err(error) if error.is_terminal() && !context.is_fenced() => {
                    self.login.refresh(context).await
                }
                result => result,
            }
        })
    }

    fn is_read_only(&self) -> bool {
        self.renew.is_read_only() && self.login.is_read_only()
    }
}

impl<R: fmt::Debug, L: fmt::Debug> fmt::Debug for Chain<R, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("renew", &self.renew).field("login", &self.login).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    };

    use super::*;
    use crate::{
        credential::token::Token,
        error::RefreshErrorKind,
        identity::{Generation, Login},
        refresher::{Cause, fence::Fence, refresher_fn::refresher_fn},
    };

    struct Fenced(AtomicBool);

    impl Fence for Fenced {
        fn is_fenced(&self) -> bool {
            self.0.load(SeqCst)
        }
    }

    /// The result of a chain whose parts have these results, and the number of logins.
    async fn chained(
        renew: Result<&'static str, RefreshError>,
        login: Result<&'static str, RefreshError>,
        is_fenced: bool,
    ) -> (Result<Token, RefreshError>, usize) {
        let logins = Arc::new(AtomicUsize::new(0));
        let part = |result: Result<&'static str, RefreshError>, calls: Arc<AtomicUsize>| {
            refresher_fn(move |_: RefreshContext| {
                calls.fetch_add(1, SeqCst);
                let result = result.clone();
                async move { Ok(Token::bearer(result?)?) }
            })
        };
        let chain = Chain::new(part(renew, Arc::default()), part(login, logins.clone()));
        let fence = Arc::new(Fenced(AtomicBool::new(is_fenced)));
        let context = RefreshContext::new(Cause::Rejected);
        let context = context.for_flight(Login::NONE, Generation::NONE, 0, fence);
        let result = chain.refresh(context).await;
        (result, logins.load(SeqCst))
    }

    #[tokio::test]
    async fn only_a_terminal_failure_falls_to_the_login() {
        let kinds = [
            (RefreshErrorKind::Terminal, 1),
            (RefreshErrorKind::Transient, 0),
            (RefreshErrorKind::Ambiguous, 0),
        ];
        for (kind, expected) in kinds {
            let failure = || match kind {
                RefreshErrorKind::Terminal => RefreshError::terminal("renewal"),
                RefreshErrorKind::Transient => RefreshError::transient("renewal"),
                RefreshErrorKind::Ambiguous => RefreshError::ambiguous("renewal"),
            };
            let (result, logins) = chained(Err(failure()), Ok("at-2"), false).await;
            assert_eq!(logins, expected, "{kind:?}");
            match result {
                Ok(token) => {
                    assert_eq!((token.access_token(), kind), ("at-2", RefreshErrorKind::Terminal))
                }
                Err(error) => assert_eq!(error.kind(), kind),
            }
            // The failure of the login counts, whatever its kind.
            let refused = Err(RefreshError::terminal("renewal"));
            let (result, _) = chained(refused, Err(failure()), false).await;
            assert_eq!(result.unwrap_err().kind(), kind);
        }
        let (result, logins) = chained(Ok("at-1"), Ok("at-2"), false).await;
        assert_eq!((result.unwrap().access_token(), logins), ("at-1", 0));
    }

    #[tokio::test]
    async fn a_flight_that_was_overtaken_does_not_log_in() {
        let refused = Err(RefreshError::terminal("renewal"));
        let (result, logins) = chained(refused, Ok("at-2"), true).await;
        assert!(result.unwrap_err().is_terminal());
        assert_eq!(logins, 0);
    }
}
