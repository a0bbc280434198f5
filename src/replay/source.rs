use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};

use crate::error::BoxError;

/// The item that [`Body::poll_frame`] yields for a body with [`Bytes`] as its data.
pub(super) type NextFrame = Option<Result<Frame<Bytes>, BoxError>>;

/// The result of polling the caller's body once.
pub(super) enum SourceEvent {
    /// A frame. More may follow.
    Frame(Frame<Bytes>),
    /// The last frame: after it, the body's [`is_end_stream`](Body::is_end_stream) is true.
    LastFrame(Frame<Bytes>),
    End,
    Failed(BoxError),
}

/// The caller's body, owned by one attempt, until it ends.
///
/// The body itself is dropped as soon as it ends or fails.
pub(super) enum SourceState<B> {
    Open(B),
    /// The error of the body, until it is yielded. A failed body never reports a clean end.
    Failed(Option<BoxError>),
    /// A body without any frame, which did not say so before it was polled. Until the first poll
    /// it does not report its end: a client would frame an empty request differently.
    Empty,
    Ended,
}

/// Polls for one frame and converts its data to [`Bytes`], without a copy if it is `Bytes` already.
pub(super) fn poll_bytes<B>(source: &mut B, cx: &mut Context<'_>) -> Poll<NextFrame>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    let polled = ready!(Pin::new(source).poll_frame(cx));
    Poll::Ready(polled.map(|result| match result {
        Ok(frame) => Ok(frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))),
        Err(error) => Err(error.into()),
    }))
}

// === impl SourceEvent ===

impl SourceEvent {
    pub(super) fn poll<B>(source: &mut B, cx: &mut Context<'_>) -> Poll<Self>
    where
        B: Body + Unpin,
        B::Error: Into<BoxError>,
    {
        Poll::Ready(match ready!(poll_bytes(source, cx)) {
            Some(Ok(frame)) if source.is_end_stream() => Self::LastFrame(frame),
            Some(Ok(frame)) => Self::Frame(frame),
            Some(Err(error)) => Self::Failed(error),
            None => Self::End,
        })
    }

    /// Polls a source and returns it unless it has ended. A source that has ended is dropped here:
    /// the caller puts the rest back under a lock, and a body's `drop` must not run there.
    pub(super) fn poll_owned<B>(mut source: B, cx: &mut Context<'_>) -> (Poll<Self>, Option<B>)
    where
        B: Body + Unpin,
        B::Error: Into<BoxError>,
    {
        match Self::poll(&mut source, cx) {
            Poll::Pending => (Poll::Pending, Some(source)),
            Poll::Ready(Self::Frame(frame)) => (Poll::Ready(Self::Frame(frame)), Some(source)),
            Poll::Ready(last) => (Poll::Ready(last), None),
        }
    }

    /// The item to yield, and the new state of the source if it has ended.
    pub(super) fn split<B>(self) -> (NextFrame, Option<SourceState<B>>) {
        match self {
            Self::Frame(frame) => (Some(Ok(frame)), None),
            Self::LastFrame(frame) => (Some(Ok(frame)), Some(SourceState::Ended)),
            Self::End => (None, Some(SourceState::Ended)),
            Self::Failed(error) => (Some(Err(error)), Some(SourceState::Failed(None))),
        }
    }
}

// === impl SourceState ===

impl<B> SourceState<B> {
    /// The state of a source that has ended after it yielded all of the frames in a queue.
    pub(super) fn ended_after(has_frames: bool) -> Self {
        if has_frames { Self::Ended } else { Self::Empty }
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// A copy, unless frames or an error are still to come from the caller's body.
    pub(super) fn try_clone(&self) -> Option<Self> {
        match self {
            Self::Open(_) | Self::Failed(_) => None,
            Self::Empty => Some(Self::Empty),
            Self::Ended => Some(Self::Ended),
        }
    }
}

impl<B> SourceState<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        match self {
            Self::Open(source) => {
                let (next, ended) = ready!(SourceEvent::poll(source, cx)).split();
                if let Some(ended) = ended {
                    *self = ended;
                }
                Poll::Ready(next)
            }
            Self::Failed(error) => Poll::Ready(error.take().map(Err)),
            Self::Empty | Self::Ended => {
                *self = Self::Ended;
                Poll::Ready(None)
            }
        }
    }
}
