use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};

use crate::{
    error::BoxError,
    replay::{
        buffer::FrameBuffer,
        source::{SourceEvent, SourceState},
    },
};

/// The result of polling a body before it is sent, until it has to wait or exceeds the limit.
pub(super) enum Prefetch<B> {
    /// All of the body: one frame of data. No handle on it was cloned and nothing was copied.
    Single(Bytes),
    /// All of the body.
    Whole(FrameBuffer),
    /// The frames until the source had to wait. It was polled with a waker that does nothing, so
    /// the first attempt must poll the source again before it returns `Pending` itself.
    Pending(B, FrameBuffer),
    /// The buffered frames, the first frame that the buffer has no room for, and the rest.
    TooLong(FrameBuffer, Frame<Bytes>, SourceState<B>),
    /// The frames before the error.
    Failed(FrameBuffer, BoxError),
}

// === impl Prefetch ===

impl<B> Prefetch<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    pub(super) fn poll(mut source: B, mut buffer: FrameBuffer) -> Self {
        let mut cx = Context::from_waker(Waker::noop());
        let mut event = SourceEvent::poll(&mut source, &mut cx);
        // The first frame is not buffered before it is known not to be the only one: the only frame
        // of a body is kept as it is.
        if let Poll::Ready(SourceEvent::Frame(mut frame)) = event {
            if !buffer.has_room_for(&frame) {
                return Self::TooLong(buffer, frame, SourceState::Open(source));
            }
            event = SourceEvent::poll(&mut source, &mut cx);
            if let Poll::Ready(SourceEvent::End) = event {
                return Self::ended(buffer, frame);
            }
            buffer.push(&mut frame);
        }
        loop {
            match event {
                Poll::Pending => return Self::Pending(source, buffer),
                Poll::Ready(SourceEvent::Frame(mut frame)) => {
                    if !buffer.push(&mut frame) {
                        return Self::TooLong(buffer, frame, SourceState::Open(source));
                    }
                }
                Poll::Ready(SourceEvent::LastFrame(frame)) => return Self::ended(buffer, frame),
                Poll::Ready(SourceEvent::End) => return Self::Whole(buffer),
                Poll::Ready(SourceEvent::Failed(error)) => return Self::Failed(buffer, error),
            }
            event = SourceEvent::poll(&mut source, &mut cx);
        }
    }

    fn ended(mut buffer: FrameBuffer, mut last: Frame<Bytes>) -> Self {
        if !buffer.has_room_for(&last) {
            return Self::TooLong(buffer, last, SourceState::Ended);
        }
        if buffer.is_empty() {
            match last.into_data() {
                Ok(data) => return Self::Single(data),
                Err(trailers) => last = trailers,
            }
        }
        buffer.push(&mut last);
        Self::Whole(buffer)
    }
}
