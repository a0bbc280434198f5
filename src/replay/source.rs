use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};

use crate::error::BoxError;

/// What [`Body::poll_frame`] answers here.
pub(super) type Output = Option<Result<Frame<Bytes>, BoxError>>;

/// What one poll of a source gave.
pub(super) enum Step {
    More(Frame<Bytes>),
    /// A frame, and the source says that it is over.
    Last(Frame<Bytes>),
    End,
    Failed(BoxError),
}

/// What comes after the frames that were polled already, when nobody else has a claim to it.
pub(super) enum Tail<B> {
    Source(B),
    /// The error is taken as it is delivered. There is no clean end after it to be seen from
    /// outside.
    Failed(Option<BoxError>),
    /// There was no frame at all, but the caller's body didn't say so at the start. Saying it now
    /// would change how the request is framed.
    Closing,
    Over,
}

/// One frame as [`Bytes`], which costs nothing where it is `Bytes` already.
pub(super) fn poll_bytes<B>(source: &mut B, cx: &mut Context<'_>) -> Poll<Output>
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

// === impl Step ===

impl Step {
    pub(super) fn poll<B>(source: &mut B, cx: &mut Context<'_>) -> Poll<Self>
    where
        B: Body + Unpin,
        B::Error: Into<BoxError>,
    {
        Poll::Ready(match ready!(poll_bytes(source, cx)) {
            Some(Ok(frame)) if source.is_end_stream() => Step::Last(frame),
            Some(Ok(frame)) => Step::More(frame),
            Some(Err(error)) => Step::Failed(error),
            None => Step::End,
        })
    }

    /// Drops the source when it is over, which is not to be left to somebody who holds a lock.
    pub(super) fn poll_owned<B>(mut source: B, cx: &mut Context<'_>) -> (Poll<Self>, Option<B>)
    where
        B: Body + Unpin,
        B::Error: Into<BoxError>,
    {
        match Self::poll(&mut source, cx) {
            Poll::Pending => (Poll::Pending, Some(source)),
            Poll::Ready(Step::More(frame)) => (Poll::Ready(Step::More(frame)), Some(source)),
            Poll::Ready(last) => (Poll::Ready(last), None),
        }
    }

    pub(super) fn frame(&self) -> Option<&Frame<Bytes>> {
        match self {
            Step::More(frame) | Step::Last(frame) => Some(frame),
            Step::End | Step::Failed(_) => None,
        }
    }

    /// What the attempt gives, and what is left if this was the end of the source.
    pub(super) fn split<B>(self) -> (Output, Option<Tail<B>>) {
        match self {
            Step::More(frame) => (Some(Ok(frame)), None),
            Step::Last(frame) => (Some(Ok(frame)), Some(Tail::Over)),
            Step::End => (None, Some(Tail::Over)),
            Step::Failed(error) => (Some(Err(error)), Some(Tail::Failed(None))),
        }
    }
}

// === impl Tail ===

impl<B> Tail<B> {
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Tail::Over)
    }
}

impl<B> Tail<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Output> {
        match self {
            Tail::Source(source) => {
                let (output, tail) = ready!(Step::poll(source, cx)).split();
                if let Some(tail) = tail {
                    *self = tail;
                }
                Poll::Ready(output)
            }
            Tail::Failed(error) => Poll::Ready(error.take().map(Err)),
            Tail::Closing | Tail::Over => {
                *self = Tail::Over;
                Poll::Ready(None)
            }
        }
    }
}
