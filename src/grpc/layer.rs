use std::time::Duration;

use tower_layer::Layer;

use crate::grpc::service::Trailers;

/// Detects rejections in the trailers of a response. See the [module docs](crate::grpc).
///
/// This layer belongs below a [`RefreshLayer`](crate::RefreshLayer) that [exposes its
/// stamp](crate::RefreshLayer::expose_stamp). Responses to requests without a stamp pass untouched.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct TrailersLayer {
    grace: Duration,
}

/// A server sends headers and the trailers right after them from one task. Only scheduling and
/// queues come between them, not a round trip.
const GRACE: Duration = Duration::from_millis(20);

// === impl TrailersLayer ===

impl TrailersLayer {
    /// All settings at their defaults.
    pub const fn new() -> Self {
        Self { grace: GRACE }
    }

    /// The time for which the headers of a response are held until the frame after them. Default:
    /// 20 milliseconds. See [held headers](crate::grpc#held-headers).
    ///
    /// With zero no headers are held, and only trailers that arrive together with the headers are
    /// seen. Any other value needs a Tokio runtime with time enabled.
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
