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
}

// === impl Refresher ===

impl<C, R> Refresher<C> for Arc<R>
where
    R: Refresher<C> + ?Sized,
{
    fn refresh(&self, context: RefreshContext<C>) -> BoxFuture<'_, Result<C, RefreshError>> {
        (**self).refresh(context)
    }
}

impl<C, R> Refresher<C> for Box<R>
where
    R: Refresher<C> + ?Sized,
{
    fn refresh(&self, context: RefreshContext<C>) -> BoxFuture<'_, Result<C, RefreshError>> {
        (**self).refresh(context)
    }
}
