use std::task::{Poll, Waker};

use crate::replay::{
    error::UploadError,
    record::{Ahead, Record},
    source::{Step, Tail},
};

/// Where an upload stands that may be taken over.
///
/// ```text
/// Idle ⇄ Leased ─┬─► Whole                       all of it is recorded
///  │             ├─► Spent                       too long, or failed
///  │             └─► Claimed ─► Handed ─► Taken  the replay took over
///  ├─► Taken
///  ├─► Left ─► Spent                             the first attempt was dropped
///  └─► Released ─► Spent                         the replay was dropped
/// ```
///
/// Transitions are moves, so that they can run under a lock: sources, wakers and recorded buffers
/// may run anybody's code as they are polled, woken or dropped. What a transition displaces, it
/// returns.
pub(super) enum Slot<B> {
    /// The first attempt isn't being polled. If it waits, here is whom to wake.
    Idle(Upload<B>, Option<Waker>),
    /// A poll of the first attempt has the upload.
    Leased,
    /// The same, but the upload is the second attempt's as soon as that poll is over.
    Claimed(Option<Waker>),
    /// The second attempt's, which has yet to fetch it.
    Handed(Handover<B>),
    /// The second attempt's alone. The first one gets an error.
    Taken,
    Whole(Record),
    Left(Upload<B>),
    /// The first attempt's alone, which has yet to fetch it.
    Released(B),
    /// There is nothing here for anybody.
    Spent,
}

pub(super) struct Upload<B> {
    pub(super) source: B,
    pub(super) record: Record,
}

/// What a poll of the first attempt gets.
pub(super) enum Lent<B> {
    Upload(Upload<B>, Option<Waker>),
    Released(B),
    Nothing(UploadError),
}

/// What a poll of the first attempt has in the end.
pub(super) struct Polled<B> {
    pub(super) step: Poll<Step>,
    /// Unless it is over.
    pub(super) source: Option<B>,
    pub(super) record: Record,
    /// Whether the record has the frame of this step, if there is one.
    pub(super) is_recorded: bool,
    /// The task, if it has to wait.
    pub(super) task: Option<Waker>,
}

/// What the first attempt makes of it.
pub(super) struct Settled<B> {
    pub(super) step: Poll<Step>,
    pub(super) released: Option<B>,
    pub(super) wake: Option<Waker>,
    pub(super) displaced: (Option<Record>, Option<Waker>),
}

/// The upload as the second attempt gets it.
pub(super) struct Handover<B> {
    pub(super) ahead: Ahead,
    pub(super) tail: Tail<B>,
}

pub(super) enum TakeOver<B> {
    Now(Handover<B>, Option<Waker>),
    /// When the poll of the first attempt is over that is running on another thread.
    Soon,
    Never,
}

/// What is nobody's any more, to be dropped outside the lock.
pub(super) type Displaced<B> = (Option<Upload<B>>, Option<Record>, Option<Waker>);

// === impl Slot ===

/// The first attempt's.
impl<B> Slot<B> {
    pub(super) fn is_taken_over(&self) -> bool {
        matches!(self, Slot::Claimed(_) | Slot::Handed(_) | Slot::Taken)
    }

    pub(super) fn lend(self) -> (Self, Lent<B>) {
        match self {
            Slot::Idle(upload, task) => (Slot::Leased, Lent::Upload(upload, task)),
            Slot::Released(source) => (Slot::Spent, Lent::Released(source)),
            taken if taken.is_taken_over() => (taken, Lent::Nothing(UploadError::TakenOver)),
            // What else ends an upload ends the polls of it too, except for a panic.
            spent => (spent, Lent::Nothing(UploadError::Panicked)),
        }
    }

    /// Here the answer of a take-over becomes definite: nothing is freed that it has promised.
    pub(super) fn put_back(self, mut polled: Polled<B>) -> (Self, Settled<B>) {
        match self {
            Slot::Leased => polled.carry_on(),
            Slot::Claimed(wake) => {
                let settled = Settled {
                    wake,
                    displaced: (None, polled.task.take()),
                    ..Settled::taken_over()
                };
                (Slot::Handed(polled.hand_over()), settled)
            }
            // The replay was dropped.
            slot => (slot, polled.release()),
        }
    }

    pub(super) fn panicked(self) -> (Self, Option<Waker>) {
        match self {
            Slot::Claimed(wake) => {
                let tail = Tail::Failed(Some(UploadError::Panicked.into()));
                (Slot::Handed(Handover { ahead: Ahead::default(), tail }), wake)
            }
            _leased_or_spent => (Slot::Spent, None),
        }
    }

    pub(super) fn leave(self) -> (Self, Option<Waker>) {
        match self {
            Slot::Idle(upload, task) => (Slot::Left(upload), task),
            slot => (slot, None),
        }
    }
}

/// The replay's.
impl<B> Slot<B> {
    pub(super) fn take_over(self, interrupt: bool) -> (Self, TakeOver<B>) {
        match self {
            Slot::Idle(upload, task) if interrupt => {
                (Slot::Taken, TakeOver::Now(upload.hand_over(), task))
            }
            Slot::Leased if interrupt => (Slot::Claimed(None), TakeOver::Soon),
            Slot::Left(upload) => (Slot::Taken, TakeOver::Now(upload.hand_over(), None)),
            Slot::Whole(record) => {
                let whole = Handover::whole(Ahead::new(record, None));
                (Slot::Spent, TakeOver::Now(whole, None))
            }
            slot => (slot, TakeOver::Never),
        }
    }

    pub(super) fn release(self) -> (Self, Displaced<B>) {
        match self {
            Slot::Idle(Upload { source, record }, task) => {
                (Slot::Released(source), (None, Some(record), task))
            }
            Slot::Leased => (Slot::Spent, (None, None, None)),
            Slot::Left(upload) => (Slot::Spent, (Some(upload), None, None)),
            Slot::Whole(record) => (Slot::Spent, (None, Some(record), None)),
            slot => (slot, (None, None, None)),
        }
    }
}

/// The second attempt's.
impl<B> Slot<B> {
    pub(super) fn fetch(self, task: Waker) -> (Self, (Poll<Handover<B>>, Option<Waker>)) {
        match self {
            Slot::Handed(handover) => (Slot::Taken, (Poll::Ready(handover), Some(task))),
            Slot::Claimed(displaced) => (Slot::Claimed(Some(task)), (Poll::Pending, displaced)),
            slot => (slot, (Poll::Pending, Some(task))),
        }
    }
}

// === impl Upload ===

impl<B> Upload<B> {
    fn hand_over(self) -> Handover<B> {
        Handover { ahead: Ahead::new(self.record, None), tail: Tail::Source(self.source) }
    }
}

// === impl Handover ===

impl<B> Handover<B> {
    /// The source is over.
    fn whole(ahead: Ahead) -> Self {
        let tail = if ahead.is_empty() { Tail::Closing } else { Tail::Over };
        Self { ahead, tail }
    }
}

// === impl Polled ===

impl<B> Polled<B> {
    fn carry_on(self) -> (Slot<B>, Settled<B>) {
        if !self.is_recorded || matches!(self.step, Poll::Ready(Step::Failed(_))) {
            return (Slot::Spent, self.release());
        }
        let slot = match self.source {
            Some(source) => Slot::Idle(Upload { source, record: self.record }, self.task),
            None => Slot::Whole(self.record),
        };
        (slot, Settled::new(self.step))
    }

    fn release(self) -> Settled<B> {
        Settled {
            released: self.source,
            displaced: (Some(self.record), self.task),
            ..Settled::new(self.step)
        }
    }

    fn hand_over(self) -> Handover<B> {
        let (last, error) = match self.step {
            Poll::Ready(Step::More(frame) | Step::Last(frame)) if !self.is_recorded => {
                (Some(frame), None)
            }
            Poll::Ready(Step::Failed(error)) => (None, Some(error)),
            _recorded_or_none => (None, None),
        };
        let ahead = Ahead::new(self.record, last);
        match (self.source, error) {
            (Some(source), _) => Handover { ahead, tail: Tail::Source(source) },
            (None, Some(error)) => Handover { ahead, tail: Tail::Failed(Some(error)) },
            (None, None) => Handover::whole(ahead),
        }
    }
}

// === impl Settled ===

impl<B> Settled<B> {
    fn new(step: Poll<Step>) -> Self {
        Self { step, released: None, wake: None, displaced: (None, None) }
    }

    fn taken_over() -> Self {
        Self::new(Poll::Ready(Step::Failed(UploadError::TakenOver.into())))
    }
}
