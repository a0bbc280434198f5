use std::{pin::Pin, sync::Arc};

use crate::{credential::token::Token, error::RefreshError, refresher::context::RefreshContext};

/// A boxed future that can be sent between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Obtains the next credential of a session.
///
/// See the [module docs](crate::refresher) for examples.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot refresh a credential of type `{C}`",
    label = "not a `Refresher<{C}>`",
    note = "wrap an async closure with `tower_refresh::refresher_fn`, and write the type of its \
            argument: `context: RefreshContext`",
    note = "or implement `tower_refresh::Refresher`"
)]
pub trait Refresher<C = Token>: Send + Sync + 'static {
    /// Obtains a credential that replaces [`RefreshContext::current`].
    ///
    /// ```
    /// use tower_refresh::{
    ///     refresher::Cause, refresher_fn, RefreshContext, RefreshError, Refresher, Token,
    /// };
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let refresher = refresher_fn(|context: RefreshContext| async move {
    ///     match context.current() {
    ///         Some(_) => Ok(Token::bearer("at-2")?),
    ///         None => Err(RefreshError::terminal("log in first")),
    ///     }
    /// });
    /// // A test needs no session.
    /// let refused = refresher.refresh(RefreshContext::new(Cause::Missing)).await;
    /// assert!(refused.unwrap_err().is_terminal());
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The [kind](crate::RefreshErrorKind) of the error decides whether the login goes on.
    ///
    /// # Panics
    ///
    /// A panic counts as an [ambiguous](crate::RefreshErrorKind::Ambiguous) failure.
    ///
    /// # Cancel safety
    ///
    /// The session drops the future early when the refresh times out, and the runtime drops it when
    /// it shuts down. Nothing else cancels it.
    fn refresh(&self, context: RefreshContext<C>) -> BoxFuture<'_, Result<C, RefreshError>>;

    /// Whether this refresher only reads a credential that another program renews: in a file, in an
    /// environment, from an agent.
    ///
    /// The session then calls it after each rejection. A call of any other refresher issues a new
    /// credential, so the session does not call it again if the upstream has rejected the last one
    /// without ever accepting it.
    ///
    /// The session asks when a refresh brings a credential. A refresher that finds the rejected
    /// credential again should fail, with
    /// [`with_retry_after`](crate::RefreshError::with_retry_after) if it can be called again soon.
    ///
    /// Default: `false`. A decorator passes the answer of the refresher that it wraps on.
    ///
    /// ```
    /// use std::env;
    /// use tower_refresh::{RefreshContext, RefreshError, Refresher, Token, refresher::BoxFuture};
    ///
    /// /// A token that a supervisor writes to the environment of this process.
    /// struct Environment(&'static str);
    ///
    /// impl Refresher for Environment {
    ///     fn refresh(&self, _: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
    ///         let read = env::var(self.0).map_err(RefreshError::transient);
    ///         Box::pin(async { Ok(Token::bearer(read?)?) })
    ///     }
    ///
    ///     fn is_read_only(&self) -> bool {
    ///         true
    ///     }
    /// }
    /// ```
    fn is_read_only(&self) -> bool {
        false
    }
}

// === impl Refresher ===

impl<C, R> Refresher<C> for Arc<R>
where
    R: Refresher<C> + ?Sized,
{
    fn refresh(&self, context: RefreshContext<C>) -> BoxFuture<'_, Result<C, RefreshError>> {
        (**self).refresh(context)
    }

    fn is_read_only(&self) -> bool {
        (**self).is_read_only()
    }
}

impl<C, R> Refresher<C> for Box<R>
where
    R: Refresher<C> + ?Sized,
{
    fn refresh(&self, context: RefreshContext<C>) -> BoxFuture<'_, Result<C, RefreshError>> {
        (**self).refresh(context)
    }

    fn is_read_only(&self) -> bool {
        (**self).is_read_only()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refresher::{Chain, refresher_fn::refresher_fn};

    struct Reading(bool);

    impl Refresher for Reading {
        fn refresh(&self, _: RefreshContext) -> BoxFuture<'_, Result<Token, RefreshError>> {
            Box::pin(async { Err(RefreshError::transient("unreadable")) })
        }

        fn is_read_only(&self) -> bool {
            self.0
        }
    }

    fn is_read_only(refresher: impl Refresher) -> bool {
        refresher.is_read_only()
    }

    #[test]
    fn a_closure_issues_credentials() {
        assert!(!is_read_only(refresher_fn(|_: RefreshContext| async {
            Ok(Token::bearer("at")?)
        })));
    }

    #[test]
    fn a_decorator_is_as_read_only_as_the_refresher_that_it_wraps() {
        for answer in [true, false] {
            assert_eq!(is_read_only(Arc::new(Reading(answer))), answer);
            assert_eq!(is_read_only(Box::new(Reading(answer))), answer);
            let erased: Arc<dyn Refresher> = Arc::new(Reading(answer));
            assert_eq!(is_read_only(erased), answer);
            assert_eq!(is_read_only(Chain::new(Reading(answer), Reading(true))), answer);
            assert_eq!(is_read_only(Chain::new(Reading(true), Reading(answer))), answer);
        }
    }
}
