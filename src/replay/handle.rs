use bytes::Bytes;
use http_body::Body;

use crate::{
    error::BoxError,
    replay::{
        body::ReplayBody,
        early::Early,
        framing::Framing,
        hint::Remaining,
        kept::Kept,
        record::{Ahead, Record},
        shared::{Recording, TakenOver, share},
        source::Tail,
        streaming::Streaming,
    },
};

/// What is kept for the second attempt while the first one is under way.
///
/// Dropping it stops recording and frees what was recorded; the first attempt's body carries on
/// untouched.
#[must_use = "dropping it gives the replay up"]
pub(crate) struct Replay<B>(Kind<B>);

enum Kind<B> {
    Impossible,
    Over(Framing),
    One { data: Bytes, framing: Framing },
    Kept(Box<Kept>),
    Recording(Box<Resumable<B>>),
}

struct Resumable<B> {
    start: Remaining,
    recording: Recording<B>,
}

// === impl ReplayBody ===

impl<B> ReplayBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    /// The first attempt's body, and what the second one's is made of.
    ///
    /// Where it may be polled early, that happens here and now, until it has to wait or gets longer
    /// than `limit` bytes.
    pub(crate) fn recording(
        body: B,
        limit: usize,
        may_poll_early: impl FnOnce() -> bool,
    ) -> (Self, Replay<B>) {
        let start = Remaining::new(body.size_hint());
        if body.is_end_stream() {
            return match Framing::of(start.at_start(), 0) {
                Some(framing) => (Self::over(framing), Replay(Kind::Over(framing))),
                None => Self::kept_twice(Kept::over(start)),
            };
        }
        if limit == 0 || start.at_start().lower() > limit as u64 {
            return Self::once(body);
        }
        let record = Record::new(limit);
        if !may_poll_early() {
            return Self::shared(body, start, record);
        }
        match Early::poll(body, record) {
            Early::One(data) => match Framing::of(start.at_start(), data.len()) {
                Some(framing) => {
                    (Self::one(data.clone(), framing), Replay(Kind::One { data, framing }))
                }
                None => Self::kept_twice(Kept::one(start, data)),
            },
            Early::Whole(record) => Self::kept_twice(Kept::whole(start, record)),
            Early::Waits(body, record) => Self::shared(body, start, record),
            Early::TooLong(record, frame, tail) => {
                Self::alone(start, Ahead::new(record, Some(frame)), tail)
            }
            Early::Failed(record, error) => {
                Self::alone(start, Ahead::new(record, None), Tail::Failed(Some(error)))
            }
        }
    }

    /// The body of a request that must not be sent twice.
    pub(crate) fn once(body: B) -> (Self, Replay<B>) {
        (Self::passthrough(body), Replay(Kind::Impossible))
    }

    fn kept_twice(kept: Kept) -> (Self, Replay<B>) {
        let kept = Box::new(kept);
        (Self::kept(kept.clone()), Replay(Kind::Kept(kept)))
    }

    fn shared(body: B, start: Remaining, polled: Record) -> (Self, Replay<B>) {
        let (recorder, recording) = share(body, polled.clone());
        let first = Streaming::recorded(start.clone(), polled, recorder);
        (Self::streaming(first), Replay(Kind::Recording(Box::new(Resumable { start, recording }))))
    }

    fn alone(start: Remaining, ahead: Ahead, tail: Tail<B>) -> (Self, Replay<B>) {
        (Self::streaming(Streaming::alone(start, ahead, tail)), Replay(Kind::Impossible))
    }
}

// === impl Replay ===

impl<B> Replay<B> {
    /// The copy for one more attempt, if the body was had whole. Otherwise an attempt after this
    /// one is impossible.
    pub(crate) fn again(&self) -> Self {
        Self(match &self.0 {
            Kind::Over(framing) => Kind::Over(*framing),
            Kind::One { data, framing } => Kind::One { data: data.clone(), framing: *framing },
            Kind::Kept(kept) => Kind::Kept(kept.clone()),
            Kind::Impossible | Kind::Recording(_) => Kind::Impossible,
        })
    }

    /// The second attempt's body: exactly the frames of the caller's, or `None` when they can't be
    /// had.
    ///
    /// `interrupt` says whether an upload in progress may be taken over; the first attempt's copy
    /// then ends with an error. Without it, the body must be recorded whole or its first copy be
    /// dropped.
    pub(crate) fn take_over(self, interrupt: bool) -> Option<ReplayBody<B>> {
        match self.0 {
            Kind::Impossible => None,
            Kind::Over(framing) => Some(ReplayBody::over(framing)),
            Kind::One { data, framing } => Some(ReplayBody::one(data, framing)),
            Kind::Kept(kept) => Some(ReplayBody::kept(kept)),
            Kind::Recording(resumable) => {
                let Resumable { start, recording } = *resumable;
                let second = match recording.take_over(interrupt)? {
                    TakenOver::Now(handover) => Streaming::handed(start, handover),
                    TakenOver::Soon(claim) => Streaming::awaited(start, claim),
                };
                Some(ReplayBody::streaming(second))
            }
        }
    }
}
