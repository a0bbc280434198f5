use http_body::Body;

use crate::{
    error::BoxError,
    replay::{
        body::{ReplayBody, SingleFrame},
        buffer::FrameBuffer,
        hint::{Framing, RemainingHint},
        prefetch::Prefetch,
        queue::FrameQueue,
        shared::{TakeOverPermit, share},
        source::SourceState,
        streaming::Streaming,
    },
};

/// The second attempt at a body, while the first one is under way.
///
/// Dropping it stops the recording and frees the recorded frames. The body of the first attempt
/// goes on undisturbed.
#[must_use = "dropping it gives the replay up"]
pub(crate) struct Replay<B>(SecondAttempt<B>);

/// The source of the second attempt's body.
enum SecondAttempt<B> {
    Impossible,
    Ended(Framing),
    Single(SingleFrame),
    Whole(Box<Streaming<B>>),
    // Boxed, like the one before: a replay is moved with its request.
    Upload(Box<RecordedUpload<B>>),
}

/// An upload that the first attempt still sends.
struct RecordedUpload<B> {
    hint: RemainingHint,
    permit: TakeOverPermit<B>,
}

// === impl ReplayBody ===

impl<B> ReplayBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    /// The body of the first attempt, and the handle for a second one.
    ///
    /// If `may_poll_early` allows it, the caller's body is polled here until it has to wait or
    /// exceeds the limit.
    pub(crate) fn recording(
        body: B,
        limit: usize,
        may_poll_early: impl FnOnce() -> bool,
    ) -> (Self, Replay<B>) {
        let start = body.size_hint();
        #[allow(clippy::clone_on_copy, reason = "`SizeHint` of http-body 1.0.0 is not `Copy`")]
        let hint = RemainingHint::new(start.clone());
        if body.is_end_stream() {
            return match Framing::of(&start, 0) {
                Some(framing) => (Self::ended(framing), Replay(SecondAttempt::Ended(framing))),
                None => whole(Streaming::ended(hint)),
            };
        }
        if limit == 0 || start.lower() > limit as u64 {
            return Self::once(body);
        }
        let buffer = FrameBuffer::new(limit);
        if !may_poll_early() {
            return upload(hint, body, buffer);
        }
        match Prefetch::poll(body, buffer) {
            Prefetch::Single(data) => match Framing::of(&start, data.len()) {
                Some(framing) => {
                    let frame = SingleFrame { data, framing };
                    (Self::single(frame.clone()), Replay(SecondAttempt::Single(frame)))
                }
                None => whole(Streaming::owned(hint, FrameQueue::one(data), SourceState::Ended)),
            },
            Prefetch::Whole(buffer) => {
                let queue = FrameQueue::new(buffer, None);
                let source = SourceState::ended_after(!queue.is_empty());
                whole(Streaming::owned(hint, queue, source))
            }
            Prefetch::Pending(body, buffer) => upload(hint, body, buffer),
            Prefetch::TooLong(buffer, frame, source) => {
                first_only(Streaming::owned(hint, FrameQueue::new(buffer, Some(frame)), source))
            }
            Prefetch::Failed(buffer, error) => {
                let source = SourceState::Failed(Some(error));
                first_only(Streaming::owned(hint, FrameQueue::new(buffer, None), source))
            }
        }
    }

    /// The body of a request that must not be sent twice.
    pub(crate) fn once(body: B) -> (Self, Replay<B>) {
        (Self::passthrough(body), Replay(SecondAttempt::Impossible))
    }
}

/// Both attempts at a body of which every frame was read.
fn whole<B>(first: Streaming<B>) -> (ReplayBody<B>, Replay<B>) {
    let replay = match first.try_clone() {
        Some(second) => SecondAttempt::Whole(Box::new(second)),
        None => SecondAttempt::Impossible,
    };
    (ReplayBody::streaming(first), Replay(replay))
}

/// Both attempts at a body that is sent while it arrives.
fn upload<B>(hint: RemainingHint, body: B, mut buffer: FrameBuffer) -> (ReplayBody<B>, Replay<B>) {
    let read = buffer.share();
    let (recorder, permit) = share(body, buffer);
    let first = Streaming::recorded(hint.clone(), read, recorder);
    let replay = SecondAttempt::Upload(Box::new(RecordedUpload { hint, permit }));
    (ReplayBody::streaming(first), Replay(replay))
}

/// The only attempt at a body that exceeds the limit, or has failed.
fn first_only<B>(first: Streaming<B>) -> (ReplayBody<B>, Replay<B>) {
    (ReplayBody::streaming(first), Replay(SecondAttempt::Impossible))
}

// === impl Replay ===

impl<B> Replay<B> {
    /// The handle for one more attempt after the second one, if every frame was read. Otherwise a
    /// handle for none.
    pub(crate) fn again(&self) -> Self {
        Self(match &self.0 {
            SecondAttempt::Ended(framing) => SecondAttempt::Ended(*framing),
            SecondAttempt::Single(frame) => SecondAttempt::Single(frame.clone()),
            SecondAttempt::Whole(second) => match second.try_clone() {
                Some(third) => SecondAttempt::Whole(Box::new(third)),
                None => SecondAttempt::Impossible,
            },
            SecondAttempt::Impossible | SecondAttempt::Upload(_) => SecondAttempt::Impossible,
        })
    }

    /// Whether the first attempt is still sending the body, and the body may become whole.
    pub(crate) fn is_uploading(&self) -> bool {
        matches!(&self.0, SecondAttempt::Upload(upload) if upload.permit.is_uploading())
    }

    /// The body of the second attempt: exactly the frames of the caller's body, or `None` if they
    /// are not available.
    ///
    /// `interrupt` allows to take over an upload in progress; the body of the first attempt then
    /// ends with an error. Without it, there is a second attempt only if the upload was recorded
    /// whole, or if the body of the first attempt was dropped.
    pub(crate) fn take_over(self, interrupt: bool) -> Option<ReplayBody<B>> {
        match self.0 {
            SecondAttempt::Impossible => None,
            SecondAttempt::Ended(framing) => Some(ReplayBody::ended(framing)),
            SecondAttempt::Single(frame) => Some(ReplayBody::single(frame)),
            SecondAttempt::Whole(second) => Some(ReplayBody::streaming(*second)),
            SecondAttempt::Upload(upload) => {
                let RecordedUpload { hint, permit } = *upload;
                let resumer = permit.take_over(interrupt)?;
                Some(ReplayBody::streaming(Streaming::resuming(hint, resumer)))
            }
        }
    }
}
