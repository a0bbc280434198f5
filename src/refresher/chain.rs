use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

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
/// A credential that `renew` has refused is not presented to it again: while `login` fails, later
/// attempts ask `login` alone. Presenting a refused token again looks like an attack.
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
    refused: RefusedCredentials,
}

/// The credentials that were refused and are still in use. The sessions of a template share one
/// refresher, so there may be several.
///
/// A weak pointer identifies a credential: while the pointer exists, no other credential can be at
/// its address.
struct RefusedCredentials(Mutex<Vec<Weak<dyn Any + Send + Sync>>>);

// === impl Chain ===

impl<R, L> Chain<R, L> {
    /// Asks `renew`, and then `login` if `renew` was refused.
    pub const fn new(renew: R, login: L) -> Self {
        Self { renew, login, refused: RefusedCredentials::none() }
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
            if context.current().is_some_and(|current| self.refused.contains(current)) {
                return self.login.refresh(context).await;
            }
            match self.renew.refresh(context.clone()).await {
                Err(error) if error.is_terminal() => {
                    // Noted before the login, which may run into the deadline.
                    if let Some(current) = context.current() {
                        self.refused.insert(current);
                    }
                    if context.is_fenced() { Err(error) } else { self.login.refresh(context).await }
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
        f.debug_struct("Chain")
            .field("renew", &self.renew)
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

// === impl RefusedCredentials ===

impl RefusedCredentials {
    const fn none() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    fn contains<C: Send + Sync + 'static>(&self, credential: &Arc<C>) -> bool {
        let address = Arc::as_ptr(credential).cast::<()>();
        self.in_use().iter().any(|refused| refused.as_ptr().cast::<()>() == address)
    }

    fn insert<C: Send + Sync + 'static>(&self, credential: &Arc<C>) {
        let credential: Weak<C> = Arc::downgrade(credential);
        self.in_use().push(credential);
    }

    fn in_use(&self) -> MutexGuard<'_, Vec<Weak<dyn Any + Send + Sync>>> {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|credential| credential.strong_count() > 0);
        refused
    }
}

impl Clone for RefusedCredentials {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.in_use().clone()))
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
        session::handle::Session,
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

    /// The ways in which a login fails without an end of the login.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum LoginFailure {
        Transient,
        Unprocessed,
        Ambiguous,
        Refused,
        Hang,
        Panic,
    }

    type Presented = Arc<Mutex<Vec<String>>>;

    /// A chain whose `renew` refuses everything, and whose `login` fails so often. Returns the
    /// tokens that `renew` was presented with.
    fn refusing(
        failure: LoginFailure,
        failures: usize,
    ) -> (Chain<impl Refresher + Clone, impl Refresher + Clone>, Presented) {
        let presented = Presented::default();
        let noted = presented.clone();
        let renew = refresher_fn(move |context: RefreshContext| {
            let current = context.current().map(|token| token.access_token().to_owned());
            noted.lock().unwrap().push(current.unwrap_or_default());
            async { Err(RefreshError::terminal("revoked")) }
        });
        let logins = Arc::new(AtomicUsize::new(0));
        let login = refresher_fn(move |_: RefreshContext| {
            let number = logins.fetch_add(1, SeqCst) + 1;
            async move {
                if number > failures {
                    return Ok(Token::bearer(format!("at-{number}"))?);
                }
                Err(match failure {
                    LoginFailure::Transient => RefreshError::transient("down"),
                    LoginFailure::Unprocessed => RefreshError::unprocessed("down"),
                    LoginFailure::Ambiguous => RefreshError::ambiguous("lost"),
                    LoginFailure::Refused => RefreshError::terminal("locked"),
                    LoginFailure::Hang => std::future::pending().await,
                    LoginFailure::Panic => panic!("on purpose"),
                })
            }
        });
        (Chain::new(renew, login), presented)
    }

    const FAILURES: [LoginFailure; 6] = [
        LoginFailure::Transient,
        LoginFailure::Unprocessed,
        LoginFailure::Ambiguous,
        LoginFailure::Refused,
        LoginFailure::Hang,
        LoginFailure::Panic,
    ];

    #[tokio::test(start_paused = true)]
    async fn a_refused_credential_is_not_presented_again_while_the_login_fails() {
        for failure in FAILURES {
            let (chain, presented) = refusing(failure, 4);
            let session = Session::builder(chain)
                .credential(Token::bearer("at-1").unwrap())
                .terminal_after(9)
                .build();
            while session.refresh().await.is_err() {
                session.retry_now();
            }
            assert_eq!(*presented.lock().unwrap(), ["at-1"], "{failure:?}");
            assert_eq!(session.credential().unwrap().access_token(), "at-5", "{failure:?}");
            session.refresh().await.unwrap();
            assert_eq!(*presented.lock().unwrap(), ["at-1", "at-5"], "{failure:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_session_of_a_template_has_its_own_refused_credential() {
        let (chain, presented) = refusing(LoginFailure::Transient, 6);
        let template = Session::builder(chain).template();
        let sessions: [Session; 2] = ["a", "b"].map(|name| {
            let session = template.named(name);
            session.login(Token::bearer(name).unwrap());
            session
        });
        for _ in 0..3 {
            for session in &sessions {
                session.refresh().await.unwrap_err();
                session.retry_now();
            }
        }
        assert_eq!(*presented.lock().unwrap(), ["a", "b"]);
        // A credential of a new login is presented, although it is the same text.
        sessions[0].login(Token::bearer("a").unwrap());
        sessions[0].refresh().await.unwrap();
        assert_eq!(*presented.lock().unwrap(), ["a", "b", "a"]);
    }

    #[tokio::test]
    async fn a_chain_forgets_refused_credentials_that_are_gone() {
        let (chain, presented) = refusing(LoginFailure::Transient, usize::MAX);
        let rejected =
            |token: &Arc<Token>| RefreshContext::new(Cause::Rejected).with_current(token.clone());
        let kept = Arc::new(Token::bearer("kept").unwrap());
        for name in 0..100 {
            let gone = Arc::new(Token::bearer(name.to_string()).unwrap());
            for token in [&kept, &gone] {
                chain.refresh(rejected(token)).await.unwrap_err();
            }
        }
        assert_eq!(presented.lock().unwrap().len(), 101);
        assert_eq!(chain.refused.in_use().len(), 1);
        chain.clone().refresh(rejected(&kept)).await.unwrap_err();
        assert_eq!(presented.lock().unwrap().len(), 101, "a clone knows as well");
    }
}
