use std::time::Duration;

use tower_layer::Layer;

use crate::grpc::service::Trailers;

/// Finds the rejections of a credential that are not in the head of a response. See the [module
/// docs](crate::grpc).
///
/// It belongs below the [`RefreshLayer`](crate::RefreshLayer), which must [expose its
/// stamp](crate::RefreshLayer::expose_stamp): responses to requests without one pass untouched.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct TrailersLayer {
    grace: Duration,
}

/// Headers and the trailers right after them are sent by one task, one after the other. What comes
/// between them at the other end is scheduling and queues, not a round trip.
const GRACE: Duration = Duration::from_millis(20);

// === impl TrailersLayer ===

impl TrailersLayer {
    /// All settings at their defaults.
    pub const fn new() -> Self {
        Self { grace: GRACE }
    }

    /// How long the headers of a response may be held back for the frame after them. Default: 20
    /// milliseconds. See [trailers that are on their
    /// way](crate::grpc#trailers-that-are-on-their-way).
    ///
    /// With zero nothing is held; what has arrived together with the headers is seen all the same.
    /// Anything else needs a Tokio runtime with time enabled.
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

impl Default for TrailersLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for TrailersLayer {
    type Service = Trailers<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Trailers::new(inner, self.grace)
    }
}
