use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tower::BoxError;

use crate::replay::{
    framing::Framing,
    kept::Kept,
    source::{Output, poll_bytes},
    streaming::Streaming,
};

/// The body of a request that can be sent a second time when its credential was rejected.
///
/// The service inside `Refresh` gets its requests with this body. It yields the frames of the caller's body `B`, with
/// its data as [`Bytes`] and its own errors, boxed and otherwise untouched. A copy whose upload was taken over by the
/// replay ends with an error.
///
/// `B` need not be `Clone` or `Sync`. A body that is there already (bytes, JSON, a unary message) is kept as handles on
/// its bytes; one that arrives over time is sent as it comes and recorded up to the layer's replay limit and 1024
/// frames. Size hints are those of `B`, less what was sent: neither attempt gets a `content-length` that the other
/// wouldn't have (RFC 9110 §8.6).
///
/// A client that takes one type of body gets it boxed, below the layer:
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, Full};
/// use tower::Layer;
/// use tower_http::map_request_body::MapRequestBodyLayer;
/// use tower_refresh::{RefreshLayer, ReplayBody, Session};
///
/// # fn f<S: Clone>(session: Session, client: S) {
/// let boxed = MapRequestBodyLayer::new(|body: ReplayBody<Full<Bytes>>| body.boxed_unsync());
/// let client = RefreshLayer::new(session).layer(boxed.layer(client));
/// # drop(client); }
/// ```
pub struct ReplayBody<B>(Kind<B>);

// The fields stand here, and not in types of their own, whose padding would make this one larger; and what is large is
// boxed: a client moves its requests many times.
enum Kind<B> {
    /// Never replayed: the caller's body speaks for itself.
    Passing { body: B, progress: Progress },
    /// Had whole before it is sent, in one frame at the most, as nearly every body is. Each attempt has its own.
    Plain { data: Option<Bytes>, framing: Framing },
    /// Had whole before it is sent.
    Kept(Box<Kept>),
    /// Sent as it comes.
    Streaming(Box<Streaming<B>>),
}

enum Progress {
    Open,
    Over,
    Failed,
}

// === impl ReplayBody ===

impl<B> ReplayBody<B> {
    /// The body of a request that is never replayed.
    pub(crate) fn passthrough(body: B) -> Self {
        Self(Kind::Passing { body, progress: Progress::Open })
    }

    pub(super) fn plain(data: Option<Bytes>, framing: Framing) -> Self {
        Self(Kind::Plain { data, framing })
    }

    pub(super) fn kept(kept: Box<Kept>) -> Self {
        Self(Kind::Kept(kept))
    }

    pub(super) fn streaming(streaming: Streaming<B>) -> Self {
        Self(Kind::Streaming(Box::new(streaming)))
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().0 {
            Kind::Passing { body, progress } => progress.poll_frame(body, cx),
            Kind::Plain { data, .. } => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
            Kind::Kept(kept) => Poll::Ready(kept.next().map(Ok)),
            Kind::Streaming(streaming) => streaming.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Passing { body, progress } => progress.is_over(body),
            Kind::Plain { data, .. } => data.is_none(),
            Kind::Kept(kept) => kept.is_over(),
            Kind::Streaming(streaming) => streaming.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Passing { body, .. } => body.size_hint(),
            Kind::Plain { data, framing } => framing.hint(data.as_ref().map_or(0, Bytes::len)),
            Kind::Kept(kept) => kept.size_hint(),
            Kind::Streaming(streaming) => streaming.size_hint(),
        }
    }
}

impl<B: Default> Default for ReplayBody<B> {
    fn default() -> Self {
        Self::passthrough(B::default())
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Bodies hold secrets: a login's password, for one.
        f.debug_struct("ReplayBody").finish_non_exhaustive()
    }
}

// === impl Progress ===

impl Progress {
    fn poll_frame<B>(&mut self, body: &mut B, cx: &mut Context<'_>) -> Poll<Output>
    where
        B: Body + Unpin,
        B::Error: Into<BoxError>,
    {
        if !matches!(self, Self::Open) {
            return Poll::Ready(None);
        }
        let output = ready!(poll_bytes(body, cx));
        match &output {
            Some(Ok(_)) => {}
            Some(Err(_)) => *self = Self::Failed,
            None => *self = Self::Over,
        }
        Poll::Ready(output)
    }

    fn is_over(&self, body: &impl Body) -> bool {
        match self {
            Self::Open => body.is_end_stream(),
            Self::Over => true,
            // Not an end that anybody should take for a clean one.
            Self::Failed => false,
        }
    }
}
