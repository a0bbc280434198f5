use std::{fmt, sync::Arc};

use tower_layer::Layer;

use crate::{
    head::ResponseHead,
    peek::{predicates::Predicates, service::Peek, start::BodyStart},
};

/// Detects rejections in the body of a response. See the [module docs](crate::peek).
#[must_use]
pub struct PeekLayer<H, D> {
    predicates: Arc<Predicates<H, D>>,
    limit: usize,
}

// === impl PeekLayer ===

impl<H, D> PeekLayer<H, D>
where
    H: Fn(&ResponseHead<'_>) -> bool + Send + Sync + 'static,
    D: Fn(&BodyStart<'_>) -> bool + Send + Sync + 'static,
{
    /// A layer with these predicates.
    ///
    /// `should_read` tells by the head of a response whether to read its body, and `is_rejection`
    /// tells by the beginning of the body whether the response rejects the credential. They run on
    /// the path of every response, and should neither block nor take long.
    pub fn new(should_read: H, is_rejection: D) -> Self {
        Self { predicates: Arc::new(Predicates { should_read, is_rejection }), limit: 8 * 1024 }
    }

    /// The number of bytes to read. Default: 8 KiB.
    ///
    /// The layer reads a body up to the frame that reaches the limit, and no more than 64 frames.
    pub const fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }
}

impl<S, H, D> Layer<S> for PeekLayer<H, D> {
    type Service = Peek<S, H, D>;

    fn layer(&self, inner: S) -> Self::Service {
        Peek::new(inner, self.predicates.clone(), self.limit)
    }
}

impl<H, D> Clone for PeekLayer<H, D> {
    fn clone(&self) -> Self {
        Self { predicates: self.predicates.clone(), limit: self.limit }
    }
}

impl<H, D> fmt::Debug for PeekLayer<H, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeekLayer").field("limit", &self.limit).finish_non_exhaustive()
    }
}
