use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use crate::{detect::Detect, grpc::service::Trailers};

/// Detects rejections in the trailers of a response. See the [module docs](crate::grpc).
///
/// This layer belongs below a [`RefreshLayer`](crate::RefreshLayer) that [exposes its
/// stamp](crate::RefreshLayer::expose_stamp). Responses to requests without a stamp pass untouched.
#[derive(Clone)]
#[must_use]
pub struct TrailersLayer {
    grace: Duration,
    /// `None` for status 16.
    detect: Option<Arc<dyn Detect>>,
}

/// A server sends headers and the trailers right after them from one task. Only scheduling and
/// queues come between them, not a round trip.
const GRACE: Duration = Duration::from_millis(20);

// === impl TrailersLayer ===

impl TrailersLayer {
    /// Creates a layer with default settings.
    pub const fn new() -> Self {
        Self { grace: GRACE, detect: None }
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

    /// Sets the detector of trailers that reject the credential. Default: status 16
    /// (UNAUTHENTICATED).
    ///
    /// The detector gets the trailers in place of the headers of the response. The same detector is
    /// usually right for the [`RefreshLayer`](crate::RefreshLayer), since a server that sends no
    /// message may send the status in the head.
    ///
    /// # Examples
    ///
    /// etcd answers INVALID_ARGUMENT to a token from before a change of its users:
    ///
    /// ```
    /// use tower_refresh::{
    ///     Origin, Session,
    ///     detect::{Detect, GrpcUnauthenticated, Verdict, detect_fn},
    ///     grpc::{self, TrailersLayer},
    ///     head::ResponseHead,
    /// };
    ///
    /// fn etcd(response: &ResponseHead<'_>) -> Verdict {
    ///     let message = response.headers().get("grpc-message");
    ///     if message.is_some_and(|text| text == "etcdserver: revision of auth store is old") {
    ///         Verdict::Rejected
    ///     } else {
    ///         GrpcUnauthenticated.inspect(response)
    ///     }
    /// }
    ///
    /// # fn layers(session: Session) {
    /// let etcd_origin = Origin::from_static("https://etcd.example.com:2379");
    /// let refresh = grpc::refresh_layer(session, etcd_origin).detect(detect_fn(etcd));
    /// let trailers = TrailersLayer::new().detect(detect_fn(etcd));
    /// # drop((refresh, trailers)) }
    /// ```
    pub fn detect(self, detect: impl Detect) -> Self {
        self.detect_by(Arc::new(detect))
    }

    pub(super) fn detect_by(mut self, detect: Arc<dyn Detect>) -> Self {
        self.detect = Some(detect);
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
        Trailers::new(inner, self.grace, self.detect.clone())
    }
}

impl fmt::Debug for TrailersLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrailersLayer").field("grace", &self.grace).finish_non_exhaustive()
    }
}
