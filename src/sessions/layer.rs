use std::{fmt, sync::Arc};

use tower_layer::Layer;

use crate::{
    credential::token::Token,
    sessions::{handle::Sessions, select::SelectKey, service::WithSession},
};

/// Puts the session of its user into the extensions of each request, for a
/// [`RefreshLayer::per_request`](crate::RefreshLayer::per_request) below.
///
/// See the [module docs](crate::sessions) for an example.
#[must_use]
pub struct SessionsLayer<F: SelectKey, C = Token> {
    sessions: Sessions<F::Key, C>,
    select: Arc<F>,
}

// === impl SessionsLayer ===

impl<F: SelectKey, C> SessionsLayer<F, C> {
    /// Creates a layer that takes the session of a request from this registry, by the key that
    /// `select` finds.
    pub fn new(sessions: Sessions<F::Key, C>, select: F) -> Self {
        Self { sessions, select: Arc::new(select) }
    }
}

impl<S, F: SelectKey, C> Layer<S> for SessionsLayer<F, C> {
    type Service = WithSession<S, F, C>;

    fn layer(&self, inner: S) -> Self::Service {
        WithSession::new(inner, self.sessions.clone(), self.select.clone())
    }
}

impl<F: SelectKey, C> Clone for SessionsLayer<F, C> {
    fn clone(&self) -> Self {
        Self { sessions: self.sessions.clone(), select: self.select.clone() }
    }
}

impl<F: SelectKey, C> fmt::Debug for SessionsLayer<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionsLayer").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}
