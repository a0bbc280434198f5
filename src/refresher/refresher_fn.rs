use std::fmt;

use crate::{
    error::RefreshError,
    refresher::{
        context::RefreshContext,
        contract::{BoxFuture, Refresher},
    },
};

/// A [`Refresher`] made by [`refresher_fn`](crate::refresher_fn).
#[derive(Clone, Copy)]
pub struct RefresherFn<F>(F);

/// Makes a [`Refresher`] from an async closure.
///
/// The parameter of the closure needs no type if the closure returns a [`Token`](crate::Token) or
/// calls [`RefreshContext::refresh_token`]. A closure that looks into
/// [`RefreshContext::current`] states it: `|context: RefreshContext|`.
///
/// See the [module docs](crate::refresher) for an example.
pub fn refresher_fn<C, F, Fut>(f: F) -> RefresherFn<F>
where
    F: Fn(RefreshContext<C>) -> Fut,
    Fut: Future<Output = Result<C, RefreshError>>,
{
    RefresherFn(f)
}

// === impl RefresherFn ===

impl<C, F, Fut> Refresher<C> for RefresherFn<F>
where
    F: Fn(RefreshContext<C>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<C, RefreshError>> + Send + 'static,
{
    fn refresh(&self, context: RefreshContext<C>) -> BoxFuture<'_, Result<C, RefreshError>> {
        Box::pin((self.0)(context))
    }
}

impl<F> fmt::Debug for RefresherFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefresherFn").finish_non_exhaustive()
    }
}
