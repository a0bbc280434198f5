use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use http_body::Body;

use crate::{
    error::BoxError,
    replay::{
        buffer::FrameBuffer,
        source::SourceEvent,
        upload::{Checkout, PollOutcome, PolledUpload, ResumedUpload, Upload, UploadState},
    },
};

/// The first attempt's handle on an upload that it records. Dropping it leaves the upload to the
/// replay.
pub(super) struct Recorder<B>(Arc<SharedUpload<B>>);

/// The replay's permit to take an upload over. Dropping it frees the recorded frames and leaves the
/// source to the first attempt.
pub(super) struct TakeOverPermit<B>(Arc<SharedUpload<B>>);

/// The second attempt's handle on an upload that was taken over. Dropping it drops the upload.
pub(super) struct Resumer<B>(Arc<SharedUpload<B>>);

/// The lock is held for one transition at a time, and never while foreign code runs: see
/// [`UploadState`].
struct SharedUpload<B>(Mutex<UploadState<B>>);

/// A poll of the first attempt, from check-out to check-in. The source is polled without the lock.
///
/// If the source panics, dropping the guard ends the poll: a second attempt that waits for the
/// upload would never be woken otherwise.
struct PollGuard<'a, B> {
    shared: &'a SharedUpload<B>,
    is_checked_in: bool,
}

/// Shares an upload of which the frames in `buffer` were read already.
pub(super) fn share<B>(source: B, buffer: FrameBuffer) -> (Recorder<B>, TakeOverPermit<B>) {
    let state = UploadState::Idle(Upload { source, buffer }, None);
    let shared = Arc::new(SharedUpload(Mutex::new(state)));
    (Recorder(shared.clone()), TakeOverPermit(shared))
}

// === impl Recorder ===

impl<B> Recorder<B> {
    pub(super) fn is_taken_over(&self) -> bool {
        self.0.lock().is_taken_over()
    }
}

impl<B> Recorder<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    /// Polls the source. If it is returned, recording has ended, and the first attempt polls the
    /// source itself from then on.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> (Poll<SourceEvent>, Option<B>) {
        match self.0.transition(UploadState::check_out) {
            Checkout::Shared(upload, _earlier_task) => PollGuard::new(&self.0).poll(upload, cx),
            Checkout::Owned(mut source) => (SourceEvent::poll(&mut source, cx), Some(source)),
            Checkout::Refused(error) => (Poll::Ready(SourceEvent::Failed(error.into())), None),
        }
    }
}

impl<B> Drop for Recorder<B> {
    fn drop(&mut self) {
        let _task = self.0.transition(UploadState::drop_first);
    }
}

// === impl TakeOverPermit ===

impl<B> TakeOverPermit<B> {
    pub(super) fn is_uploading(&self) -> bool {
        self.0.lock().is_uploading()
    }

    /// Takes the upload over, or returns `None` if the frames are not available.
    pub(super) fn take_over(self, interrupt: bool) -> Option<Resumer<B>> {
        let (is_possible, first) = self.0.transition(|state| state.take_over(interrupt));
        if let Some(task) = first {
            task.wake();
        }
        // The drop of `self` changes nothing after a take-over.
        is_possible.then(|| Resumer(self.0.clone()))
    }
}

impl<B> Drop for TakeOverPermit<B> {
    fn drop(&mut self) {
        let _removed = self.0.transition(UploadState::drop_replay);
    }
}

// === impl Resumer ===

impl<B> Resumer<B> {
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<ResumedUpload<B>> {
        // Cloned here, because cloning a waker is foreign code too.
        let task = cx.waker().clone();
        let (upload, _unneeded) = self.0.transition(|state| state.resume(task));
        upload
    }
}

impl<B> Drop for Resumer<B> {
    fn drop(&mut self) {
        let _removed = self.0.transition(UploadState::drop_second);
    }
}

// === impl SharedUpload ===

impl<B> SharedUpload<B> {
    /// Runs one transition under the lock. The state is `Closed` meanwhile, which is what another
    /// thread would find if a transition panicked; none does.
    fn transition<T>(&self, run: impl FnOnce(UploadState<B>) -> (UploadState<B>, T)) -> T {
        let mut state = self.lock();
        let (next, output) = run(mem::replace(&mut *state, UploadState::Closed));
        *state = next;
        output
    }

    fn lock(&self) -> MutexGuard<'_, UploadState<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl PollGuard ===

impl<'a, B> PollGuard<'a, B> {
    fn new(shared: &'a SharedUpload<B>) -> Self {
        Self { shared, is_checked_in: false }
    }

    fn check_in(mut self, polled: PolledUpload<B>) -> (Poll<SourceEvent>, Option<B>) {
        self.is_checked_in = true;
        let outcome = self.shared.transition(|state| state.check_in(polled));
        let PollOutcome { event, released, wake, removed: _removed } = outcome;
        if let Some(second) = wake {
            second.wake();
        }
        (event, released)
    }
}

impl<B> PollGuard<'_, B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll(self, upload: Upload<B>, cx: &mut Context<'_>) -> (Poll<SourceEvent>, Option<B>) {
        let Upload { source, mut buffer } = upload;
        let (mut event, source) = SourceEvent::poll_owned(source, cx);
        let task = event.is_pending().then(|| cx.waker().clone());
        let is_complete = match &mut event {
            Poll::Ready(SourceEvent::Frame(frame)) => buffer.push(frame),
            Poll::Ready(SourceEvent::LastFrame(frame)) => buffer.push_last(frame),
            _ => true,
        };
        self.check_in(PolledUpload { event, source, buffer, is_complete, task })
    }
}

impl<B> Drop for PollGuard<'_, B> {
    fn drop(&mut self) {
        if self.is_checked_in {
            return;
        }
        if let Some(second) = self.shared.transition(UploadState::panicked) {
            second.wake();
        }
    }
}
