use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{
    error::BoxError,
    replay::{
        framing::Framing,
        kept::Kept,
        source::{Output, poll_bytes},
        streaming::Streaming,
    },
};

/// The body of a request that can be sent a second time when its credential was rejected.
///
/// The service inside `Refresh` gets its requests with this body. It yields the frames of the
/// caller's body `B`, with its data as [`Bytes`] and its own errors, boxed and otherwise untouched.
/// A copy whose upload was taken over by the replay ends with an error.
///
/// `B` need not be `Clone` or `Sync`. A body that is there already (bytes, JSON, a unary message)
/// is kept as handles on its bytes; one that arrives over time is sent as it comes and recorded up
/// to the layer's replay limit and 1024 frames. Size hints are those of `B`, less what was sent:
/// neither attempt gets a `content-length` that the other wouldn't have (RFC 9110 §8.6).
///
/// A client that takes one type of body gets it boxed, below the layer:
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, Full};
/// use tower::Layer;
/// use tower_http::map_request_body::MapRequestBodyLayer;
/// use tower_refresh::{Origin, RefreshLayer, ReplayBody, Session};
///
/// # fn f<S: Clone>(session: Session, client: S) {
/// let boxed = MapRequestBodyLayer::new(|body: ReplayBody<Full<Bytes>>| body.boxed_unsync());
/// let client = RefreshLayer::new(session, Origin::from_static("https://api.example.com"))
///     .layer(boxed.layer(client));
/// # drop(client); }
/// ```
pub struct ReplayBody<B>(Kind<B>);

// Boxed, whatever there is: a client moves its requests many times, and their bodies with them.
enum Kind<B> {
    /// Never replayed: the caller's body speaks for itself.
    Passing(Box<Passing<B>>),
    /// Nothing, or nothing any more.
    Over(Framing),
    /// Had whole before it is sent, in one frame, as nearly every body is.
    One(Box<One>),
    /// Had whole before it is sent.
    Kept(Box<Kept>),
    /// Sent as it comes.
    Streaming(Box<Streaming<B>>),
}

struct Passing<B> {
    body: B,
    progress: Progress,
}

struct One {
    data: Bytes,
    framing: Framing,
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
        Self(Kind::Passing(Box::new(Passing { body, progress: Progress::Open })))
    }

    pub(super) fn over(framing: Framing) -> Self {
        Self(Kind::Over(framing))
    }

    pub(super) fn one(data: Bytes, framing: Framing) -> Self {
        Self(Kind::One(Box::new(One { data, framing })))
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
        let kind = &mut self.get_mut().0;
        match kind {
            Kind::Passing(passing) => passing.poll_frame(cx),
            Kind::Over(_) => Poll::Ready(None),
            Kind::One(one) => {
                let One { data, framing } = &mut **one;
                let frame = Frame::data(mem::take(data));
                *kind = Kind::Over(*framing);
                Poll::Ready(Some(Ok(frame)))
            }
            Kind::Kept(kept) => Poll::Ready(kept.next().map(Ok)),
            Kind::Streaming(streaming) => streaming.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Passing(passing) => passing.is_over(),
            Kind::Over(_) => true,
            Kind::One(_) => false,
            Kind::Kept(kept) => kept.is_over(),
            Kind::Streaming(streaming) => streaming.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Passing(passing) => passing.body.size_hint(),
            Kind::Over(framing) => framing.hint(0),
            Kind::One(one) => one.framing.hint(one.data.len()),
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

// === impl Passing ===

impl<B> Passing<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Output> {
        if !matches!(self.progress, Progress::Open) {
            return Poll::Ready(None);
        }
        let output = ready!(poll_bytes(&mut self.body, cx));
        match &output {
            Some(Ok(_)) => {}
            Some(Err(_)) => self.progress = Progress::Failed,
            None => self.progress = Progress::Over,
        }
        Poll::Ready(output)
    }

    fn is_over(&self) -> bool {
        match self.progress {
            Progress::Open => self.body.is_end_stream(),
            Progress::Over => true,
            // Not an end that anybody should take for a clean one.
            Progress::Failed => false,
        }
    }
}
