use std::task::{Poll, Waker};

use bytes::Bytes;
use http_body::Frame;

use crate::replay::{
    buffer::FrameBuffer,
    error::UploadError,
    queue::FrameQueue,
    source::{SourceEvent, SourceState},
};

/// The state of an upload that a first attempt sends and records, and that a replay may take over.
///
/// ```text
/// Idle ⇄ Polling ─┬─► Whole ──────────────► Handed    all of it is recorded
///  │              ├─► Closed                          too long, or failed
///  │              └─► Claimed ────────────► Handed    taken over during a poll
///  ├──────────────────────────────────────► Handed    taken over between two polls
///  ├─► FirstDropped ─┬────────────────────► Handed    taken over afterwards
///  │                 └─► Closed                       the replay was dropped too
///  └─► ReplayDropped ─► Closed                        the first attempt goes on by itself
///
/// Handed ─► Taken                                     the second attempt has the upload
/// ```
///
/// Three parties share the state: the first attempt ([`Recorder`]), the replay until it is known
/// whether it is needed ([`TakeOverPermit`]), and the second attempt ([`Resumer`]).
///
/// Every transition is a plain move from one variant to the next, because transitions run under a
/// lock. Polling a source, waking a task, and dropping a source, a waker or a frame all run foreign
/// code, which may come back here and would then deadlock. So a transition returns all that it
/// removes, and its caller uses or drops that once the lock is released.
///
/// [`Recorder`]: crate::replay::shared::Recorder
/// [`Resumer`]: crate::replay::shared::Resumer
/// [`TakeOverPermit`]: crate::replay::shared::TakeOverPermit
pub(super) enum UploadState<B> {
    /// No poll of the first attempt is running. The waker is that of its task, if the last poll
    /// returned `Pending`.
    Idle(Upload<B>, Option<Waker>),
    /// A poll of the first attempt is running, and owns the upload.
    Polling,
    /// A poll of the first attempt is running, and has to hand the upload over when it ends. The
    /// waker is that of the second attempt, if it waits already.
    Claimed(Option<Waker>),
    /// The upload waits here for the second attempt.
    Handed(ResumedUpload<B>),
    /// The second attempt owns the upload. The first one ends with an error.
    Taken,
    /// The source has ended, and every frame is in the buffer.
    Whole(FrameBuffer),
    /// The first attempt was dropped before the source had ended.
    FirstDropped(Upload<B>),
    /// The replay was dropped. The source waits for the next poll of the first attempt.
    ReplayDropped(B),
    /// There will be no replay, and the source is not here.
    Closed,
}

/// A source, and the frames that it has yielded.
pub(super) struct Upload<B> {
    pub(super) source: B,
    pub(super) buffer: FrameBuffer,
}

/// The part that the first attempt has in a poll.
pub(super) enum Checkout<B> {
    /// Poll the source, record its frame, and put both back. The waker is that of an earlier poll.
    Shared(Upload<B>, Option<Waker>),
    /// Keep the source and poll it from now on: there will be no replay.
    Owned(B),
    /// Fail.
    Refused(UploadError),
}

/// The upload after a poll of the first attempt.
pub(super) struct PolledUpload<B> {
    pub(super) event: Poll<SourceEvent>,
    /// `None` if it has ended.
    pub(super) source: Option<B>,
    pub(super) buffer: FrameBuffer,
    /// Whether the buffer still has every frame that the source has yielded.
    pub(super) is_complete: bool,
    /// The task of the first attempt, if it has to wait.
    pub(super) task: Option<Waker>,
}

/// The outcome of a poll of the first attempt.
pub(super) struct PollOutcome<B> {
    pub(super) event: Poll<SourceEvent>,
    /// The source, if the first attempt goes on with it alone.
    pub(super) released: Option<B>,
    /// The task of the second attempt, which can resume now.
    pub(super) wake: Option<Waker>,
    pub(super) removed: Removed<B>,
}

/// The upload as the second attempt resumes it: the frames so far, then the source.
pub(super) struct ResumedUpload<B> {
    pub(super) queue: FrameQueue,
    pub(super) source: SourceState<B>,
}

/// Values that a transition has removed. Their destructors must not run under the lock.
pub(super) struct Removed<B> {
    pub(super) upload: Option<Upload<B>>,
    pub(super) buffer: Option<FrameBuffer>,
    pub(super) waker: Option<Waker>,
}

// === impl UploadState ===

/// Transitions of the first attempt.
impl<B> UploadState<B> {
    pub(super) fn is_taken_over(&self) -> bool {
        matches!(self, Self::Claimed(_) | Self::Handed(_) | Self::Taken)
    }

    pub(super) fn is_uploading(&self) -> bool {
        matches!(self, Self::Idle(..) | Self::Polling)
    }

    /// Begins a poll.
    pub(super) fn check_out(self) -> (Self, Checkout<B>) {
        match self {
            Self::Idle(upload, task) => (Self::Polling, Checkout::Shared(upload, task)),
            Self::ReplayDropped(source) => (Self::Closed, Checkout::Owned(source)),
            taken if taken.is_taken_over() => (taken, Checkout::Refused(UploadError::TakenOver)),
            // The first attempt is not polled again once its source has ended, failed or been
            // released.
            // So only a panic of the source can have closed the upload.
            closed => (closed, Checkout::Refused(UploadError::Panicked)),
        }
    }

    /// Ends a poll.
    ///
    /// A replay that claimed the upload during the poll was promised that it will get it. The
    /// promise is kept whatever the poll brought: a frame for which the buffer has no room, or an
    /// error, is handed over behind the buffer.
    pub(super) fn check_in(self, mut polled: PolledUpload<B>) -> (Self, PollOutcome<B>) {
        match self {
            // ## Polling => (Idle | Whole | Closed)
            Self::Polling => polled.resume_recording(),
            // ## Claimed => Handed
            Self::Claimed(second) => {
                let mut outcome = PollOutcome::new(taken_over());
                outcome.wake = second;
                outcome.removed.waker = polled.task.take();
                (Self::Handed(polled.hand_over()), outcome)
            }
            // ## Closed => Closed, since the replay was dropped during the poll.
            state => (state, polled.release()),
        }
    }

    /// Ends a poll in which the source panicked. The panic may have swallowed a frame, so neither
    /// attempt polls the source again.
    pub(super) fn panicked(self) -> (Self, Option<Waker>) {
        match self {
            // ## Claimed => Handed: the second attempt waits, and must be told.
            Self::Claimed(second) => {
                let source = SourceState::Failed(Some(UploadError::Panicked.into()));
                (Self::Handed(ResumedUpload { queue: FrameQueue::default(), source }), second)
            }
            // ## (Polling | Closed) => Closed
            _ => (Self::Closed, None),
        }
    }

    /// The first attempt is dropped.
    pub(super) fn drop_first(self) -> (Self, Option<Waker>) {
        match self {
            // ## Idle => FirstDropped: the replay may still want the upload.
            Self::Idle(upload, task) => (Self::FirstDropped(upload), task),
            state => (state, None),
        }
    }
}

/// Transitions of the replay.
impl<B> UploadState<B> {
    /// Whether there will be a second attempt, and the task of the first one if it has to be told.
    ///
    /// `interrupt` allows to take the upload from a first attempt that is still sending it.
    pub(super) fn take_over(self, interrupt: bool) -> (Self, (bool, Option<Waker>)) {
        match self {
            // ## Idle => Handed: the first attempt is woken, and ends with an error.
            Self::Idle(upload, task) if interrupt => {
                (Self::Handed(upload.hand_over()), (true, task))
            }
            // ## Polling => Claimed: the upload is in use on another thread, or further up the
            // stack of this one. Waiting for it here would block.
            Self::Polling if interrupt => (Self::Claimed(None), (true, None)),
            // ## FirstDropped => Handed
            Self::FirstDropped(upload) => (Self::Handed(upload.hand_over()), (true, None)),
            // ## Whole => Handed: the first attempt has all of the frames, and is not disturbed.
            Self::Whole(buffer) => (Self::Handed(ResumedUpload::ended(buffer, None)), (true, None)),
            state => (state, (false, None)),
        }
    }

    /// The replay is dropped, or was refused: the buffer is freed, and the source belongs to the
    /// first attempt.
    pub(super) fn drop_replay(self) -> (Self, Removed<B>) {
        let mut removed = Removed::default();
        let state = match self {
            // ## Idle => ReplayDropped: the first attempt finds the source at its next poll. Its
            // task need not be woken, because the source has its waker.
            Self::Idle(Upload { source, buffer }, task) => {
                (removed.buffer, removed.waker) = (Some(buffer), task);
                Self::ReplayDropped(source)
            }
            // ## Polling => Closed: the poll ends with `check_in`, which finds this state and
            // leaves the source to the first attempt.
            Self::Polling => Self::Closed,
            // ## FirstDropped => Closed
            Self::FirstDropped(upload) => {
                removed.upload = Some(upload);
                Self::Closed
            }
            // ## Whole => Closed
            Self::Whole(buffer) => {
                removed.buffer = Some(buffer);
                Self::Closed
            }
            state => state,
        };
        (state, removed)
    }
}

/// Transitions of the second attempt.
impl<B> UploadState<B> {
    /// The upload, or `Pending` while a poll of the first attempt still uses it. The waker that is
    /// returned is not needed any more.
    pub(super) fn resume(self, task: Waker) -> (Self, (Poll<ResumedUpload<B>>, Option<Waker>)) {
        match self {
            // ## Handed => Taken
            Self::Handed(upload) => (Self::Taken, (Poll::Ready(upload), Some(task))),
            // ## Claimed => Claimed: `check_in` or `panicked` wakes the task.
            Self::Claimed(earlier) => (Self::Claimed(Some(task)), (Poll::Pending, earlier)),
            state => (state, (Poll::Pending, Some(task))),
        }
    }

    /// The second attempt is dropped before it has resumed the upload.
    pub(super) fn drop_second(self) -> (Self, (Option<ResumedUpload<B>>, Option<Waker>)) {
        match self {
            // ## Handed => Taken
            Self::Handed(upload) => (Self::Taken, (Some(upload), None)),
            // ## Claimed => Claimed: the upload is freed with the first attempt, which is about to
            // get an error.
            Self::Claimed(task) => (Self::Claimed(None), (None, task)),
            state => (state, (None, None)),
        }
    }
}

// === impl Upload ===

impl<B> Upload<B> {
    fn hand_over(self) -> ResumedUpload<B> {
        let queue = FrameQueue::new(self.buffer, None);
        ResumedUpload { queue, source: SourceState::Open(self.source) }
    }
}

// === impl PolledUpload ===

impl<B> PolledUpload<B> {
    fn resume_recording(self) -> (UploadState<B>, PollOutcome<B>) {
        if !self.is_complete || matches!(self.event, Poll::Ready(SourceEvent::Failed(_))) {
            return (UploadState::Closed, self.release());
        }
        let upload = match self.source {
            Some(source) => UploadState::Idle(Upload { source, buffer: self.buffer }, self.task),
            None => UploadState::Whole(self.buffer),
        };
        (upload, PollOutcome::new(self.event))
    }

    fn release(self) -> PollOutcome<B> {
        let mut outcome = PollOutcome::new(self.event);
        outcome.released = self.source;
        (outcome.removed.buffer, outcome.removed.waker) = (Some(self.buffer), self.task);
        outcome
    }

    fn hand_over(self) -> ResumedUpload<B> {
        let (unbuffered, error) = match self.event {
            Poll::Ready(SourceEvent::Frame(frame) | SourceEvent::LastFrame(frame))
                if !self.is_complete =>
            {
                (Some(frame), None)
            }
            Poll::Ready(SourceEvent::Failed(error)) => (None, Some(error)),
            _ => (None, None),
        };
        let source = match (self.source, error) {
            (Some(source), _) => SourceState::Open(source),
            (None, Some(error)) => SourceState::Failed(Some(error)),
            (None, None) => return ResumedUpload::ended(self.buffer, unbuffered),
        };
        ResumedUpload { queue: FrameQueue::new(self.buffer, unbuffered), source }
    }
}

// === impl PollOutcome ===

impl<B> PollOutcome<B> {
    fn new(event: Poll<SourceEvent>) -> Self {
        Self { event, released: None, wake: None, removed: Removed::default() }
    }
}

fn taken_over() -> Poll<SourceEvent> {
    Poll::Ready(SourceEvent::Failed(UploadError::TakenOver.into()))
}

// === impl ResumedUpload ===

impl<B> ResumedUpload<B> {
    /// An upload whose source has ended.
    fn ended(buffer: FrameBuffer, unbuffered: Option<Frame<Bytes>>) -> Self {
        let queue = FrameQueue::new(buffer, unbuffered);
        let source = SourceState::ended_after(!queue.is_empty());
        Self { queue, source }
    }
}

// === impl Removed ===

impl<B> Default for Removed<B> {
    fn default() -> Self {
        Self { upload: None, buffer: None, waker: None }
    }
}
