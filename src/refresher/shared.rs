use std::sync::Arc;

use crate::{
    error::RefreshError,
    refresher::{context::RefreshContext, contract::BoxFuture},
};

/// The [`Refresher`](crate::Refresher) of one session, which keeps the credentials that it obtains:
/// it and the session hold the same `Arc`.
pub(crate) trait SharedRefresher<C>: Send + Sync + 'static {
    fn refresh(
        self: Arc<Self>,
        context: RefreshContext<C>,
    ) -> BoxFuture<'static, Result<Arc<C>, RefreshError>>;

    fn is_read_only(&self) -> bool;
}
