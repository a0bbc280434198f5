use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{
    error::BoxError,
    replay::{
        buffer::FrameBuffer,
        hint::RemainingHint,
        queue::FrameQueue,
        shared::{Recorder, Resumer},
        source::{NextFrame, SourceState},
        upload::ResumedUpload,
    },
};

/// One attempt at a body of several frames: first the frames that were read already, then the
/// source.
pub(super) struct Streaming<B> {
    hint: RemainingHint,
    queue: FrameQueue,
    source: StreamSource<B>,
}

/// The source of the frames that an attempt has yet to read.
enum StreamSource<B> {
    /// This attempt alone has the source.
    Owned(SourceState<B>),
    /// The first attempt, whose upload a replay may take over at any time.
    Recorded(Recorder<B>),
    /// The second attempt, until it has the upload that was taken over for it.
    Resuming(Resumer<B>),
}

// === impl Streaming ===

impl<B> Streaming<B> {
    pub(super) fn owned(hint: RemainingHint, queue: FrameQueue, source: SourceState<B>) -> Self {
        Self { hint, queue, source: StreamSource::Owned(source) }
    }

    /// A body without frames, which says so at once.
    pub(super) fn ended(hint: RemainingHint) -> Self {
        Self::owned(hint, FrameQueue::default(), SourceState::Ended)
    }

    /// The first attempt at an upload of which `read` was read already. It has these frames from
    /// here and not from the recorder, so that dropping the replay may free the record.
    pub(super) fn recorded(hint: RemainingHint, read: FrameBuffer, recorder: Recorder<B>) -> Self {
        let queue = FrameQueue::new(read, None);
        Self { hint, queue, source: StreamSource::Recorded(recorder) }
    }

    pub(super) fn resuming(hint: RemainingHint, resumer: Resumer<B>) -> Self {
        Self { hint, queue: FrameQueue::default(), source: StreamSource::Resuming(resumer) }
    }

    /// Whether the end is certain: a source that ends without another frame has to be polled once
    /// more to say so.
    pub(super) fn is_end_stream(&self) -> bool {
        matches!(&self.source, StreamSource::Owned(source) if source.has_ended())
            && self.queue.is_empty()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.hint.get()
    }

    /// A copy, if every frame that is still to be sent was read already.
    pub(super) fn try_clone(&self) -> Option<Self> {
        let StreamSource::Owned(source) = &self.source else { return None };
        Some(Self::owned(self.hint.clone(), self.queue.try_clone()?, source.try_clone()?))
    }

    /// Whether all that is still to be sent is data that was read already.
    pub(super) fn is_data_at_hand(&self) -> bool {
        let StreamSource::Owned(source) = &self.source else { return false };
        source.try_clone().is_some() && !self.queue.has_trailers()
    }

    pub(super) fn into_data(self) -> Bytes {
        self.queue.into_data()
    }

    fn pop_queued(&mut self) -> Option<Frame<Bytes>> {
        // After a take-over the upstream has answered this attempt already: more of its frames
        // would only delay those of the replay.
        if let StreamSource::Recorded(recorder) = &self.source
            && !self.queue.is_empty()
            && recorder.is_taken_over()
        {
            self.queue = FrameQueue::default();
        }
        self.queue.pop()
    }
}

impl<B> Streaming<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        let next = ready!(self.poll_next(cx));
        if let Some(Ok(frame)) = &next {
            self.hint.count(frame);
        }
        Poll::Ready(next)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        loop {
            if let Some(frame) = self.pop_queued() {
                return Poll::Ready(Some(Ok(frame)));
            }
            match &mut self.source {
                // ## Owned => Owned
                StreamSource::Owned(source) => return source.poll(cx),
                // ## Recorded => (Recorded | Owned)
                //
                // Recording ends with the source, or when there will be no replay: it was dropped,
                // or the body is too long for it. The recorder is dropped in either case. What
                // remains is polled without the lock.
                StreamSource::Recorded(recorder) => {
                    let (event, released) = recorder.poll(cx);
                    if let Some(source) = released {
                        self.source = StreamSource::Owned(SourceState::Open(source));
                    }
                    let (next, ended) = ready!(event).split();
                    if let Some(ended) = ended {
                        self.source = StreamSource::Owned(ended);
                    }
                    return Poll::Ready(next);
                }
                // ## Resuming => Owned
                //
                // Waits only if the replay took over during a poll of the first attempt, until that
                // poll has ended.
                StreamSource::Resuming(resumer) => {
                    let ResumedUpload { queue, source } = ready!(resumer.poll(cx));
                    self.queue = queue;
                    self.source = StreamSource::Owned(source);
                }
            }
        }
    }
}
