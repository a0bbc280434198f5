use std::{fmt, sync::Arc};

use tower_layer::Layer;

use crate::respond::{answer::Answer, http::HttpAnswer, service::Respond};

/// Turns errors of a session into responses. See the [module docs](crate::respond).
///
/// ```
/// use tower_refresh::respond::RespondLayer;
///
/// let plain_http = RespondLayer::default();
/// # drop(plain_http);
/// ```
#[must_use]
pub struct RespondLayer<A = HttpAnswer> {
    answer: Arc<A>,
}

// === impl RespondLayer ===

impl<A: Answer> RespondLayer<A> {
    /// A layer whose responses `answer` makes. [`RespondLayer::default`] uses [`HttpAnswer`].
    pub fn new(answer: A) -> Self {
        Self { answer: Arc::new(answer) }
    }
}

impl Default for RespondLayer {
    fn default() -> Self {
        Self::new(HttpAnswer::new())
    }
}

impl<S, A> Layer<S> for RespondLayer<A> {
    type Service = Respond<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        Respond::new(inner, self.answer.clone())
    }
}

impl<A> Clone for RespondLayer<A> {
    fn clone(&self) -> Self {
        Self { answer: self.answer.clone() }
    }
}

impl<A: fmt::Debug> fmt::Debug for RespondLayer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RespondLayer").field("answer", &self.answer).finish()
    }
}
