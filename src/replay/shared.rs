use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use http_body::Body;

use crate::{
    error::BoxError,
    replay::{
        record::Record,
        slot::{Handover, Lent, Polled, Settled, Slot, TakeOver, Upload},
        source::Step,
    },
};

/// The first attempt's end of an upload. Dropping it leaves the upload to the replay.
pub(super) struct Recorder<B>(Arc<Shared<B>>);

/// The replay's end of an upload. Dropping it leaves the source to the first attempt for good and
/// frees the record.
pub(super) struct Recording<B>(Arc<Shared<B>>);

/// The second attempt's claim to an upload that was being polled when the replay took over.
///
/// Dropping it needs no transition: the first attempt, which gets an error, lets go of the upload
/// too.
pub(super) struct Claim<B>(Arc<Shared<B>>);

pub(super) enum TakenOver<B> {
    Now(Handover<B>),
    Soon(Claim<B>),
}

struct Shared<B>(Mutex<Slot<B>>);

/// A poll of the first attempt: the source is polled with the lock released. Settles the slot also
/// if the source panics, or the second attempt would wait for ever.
struct Lease<'a, B> {
    shared: &'a Shared<B>,
    is_settled: bool,
}

/// Both ends of an upload of which `record` was polled already.
pub(super) fn share<B>(source: B, record: Record) -> (Recorder<B>, Recording<B>) {
    let slot = Slot::Idle(Upload { source, record }, None);
    let shared = Arc::new(Shared(Mutex::new(slot)));
    (Recorder(shared.clone()), Recording(shared))
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
    /// With a source in the answer, recording has ended and the first attempt goes on with it
    /// alone.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> (Poll<Step>, Option<B>) {
        match self.0.shift(Slot::lend) {
            Lent::Upload(upload, _task) => Lease::new(&self.0).poll(upload, cx),
            Lent::Released(mut source) => (Step::poll(&mut source, cx), Some(source)),
            Lent::Nothing(error) => (Poll::Ready(Step::Failed(error.into())), None),
        }
    }
}

impl<B> Drop for Recorder<B> {
    fn drop(&mut self) {
        let _displaced = self.0.shift(Slot::leave);
    }
}

// === impl Recording ===

impl<B> Recording<B> {
    pub(super) fn take_over(self, interrupt: bool) -> Option<TakenOver<B>> {
        match self.0.shift(|slot| slot.take_over(interrupt)) {
            TakeOver::Now(handover, task) => {
                if let Some(task) = task {
                    task.wake();
                }
                Some(TakenOver::Now(handover))
            }
            TakeOver::Soon => Some(TakenOver::Soon(Claim(self.0.clone()))),
            TakeOver::Never => None,
        }
    }
}

impl<B> Drop for Recording<B> {
    fn drop(&mut self) {
        let _displaced = self.0.shift(Slot::release);
    }
}

// === impl Claim ===

impl<B> Claim<B> {
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Handover<B>> {
        let task = cx.waker().clone();
        let (handover, _displaced) = self.0.shift(|slot| slot.fetch(task));
        handover
    }
}

// === impl Shared ===

impl<B> Shared<B> {
    /// One transition under the lock. What it displaces must be in its answer.
    fn shift<T>(&self, transition: impl FnOnce(Slot<B>) -> (Slot<B>, T)) -> T {
        let mut slot = self.lock();
        let (next, answer) = transition(mem::replace(&mut *slot, Slot::Spent));
        *slot = next;
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Slot<B>> {
        // No transition panics; if one did, the slot would be spent, which is a state like any
        // other.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Lease ===

impl<'a, B> Lease<'a, B> {
    fn new(shared: &'a Shared<B>) -> Self {
        Self { shared, is_settled: false }
    }

    fn put_back(mut self, polled: Polled<B>) -> (Poll<Step>, Option<B>) {
        self.is_settled = true;
        let Settled { step, released, wake, displaced: _displaced } =
            self.shared.shift(|slot| slot.put_back(polled));
        if let Some(task) = wake {
            task.wake();
        }
        (step, released)
    }
}

impl<B> Lease<'_, B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll(self, upload: Upload<B>, cx: &mut Context<'_>) -> (Poll<Step>, Option<B>) {
        let Upload { source, mut record } = upload;
        let (step, source) = Step::poll_owned(source, cx);
        let task = step.is_pending().then(|| cx.waker().clone());
        let is_recorded = match &step {
            Poll::Ready(step) => step.frame().is_none_or(|frame| record.push(frame)),
            Poll::Pending => true,
        };
        self.put_back(Polled { step, source, record, is_recorded, task })
    }
}

impl<B> Drop for Lease<'_, B> {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        if let Some(task) = self.shared.shift(Slot::panicked) {
            task.wake();
        }
    }
}
