use std::{mem, sync::Arc};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::replay::{
    hint::Remaining,
    record::{FrameCopy, Record},
};

/// A body that was had whole before it was sent. Each attempt has a clone of it, and nothing else
/// is shared.
#[derive(Clone)]
pub(super) struct Kept {
    remaining: Remaining,
    rest: Rest,
}

#[derive(Clone)]
enum Rest {
    Over,
    /// No frame, but not said at the start: see
    /// [`Tail::Closing`](crate::replay::source::Tail::Closing).
    Closing,
    One(Bytes),
    /// From the index on.
    Many(Arc<[FrameCopy]>, usize),
}

// === impl Kept ===

impl Kept {
    /// A body that was over before it was ever polled.
    pub(super) fn over(remaining: Remaining) -> Self {
        Self { remaining, rest: Rest::Over }
    }

    pub(super) fn one(remaining: Remaining, data: Bytes) -> Self {
        Self { remaining, rest: Rest::One(data) }
    }

    pub(super) fn whole(remaining: Remaining, record: Record) -> Self {
        let rest = match record.len() {
            0 => Rest::Closing,
            _ => Rest::Many(record.into_frames().collect(), 0),
        };
        Self { remaining, rest }
    }

    pub(super) fn next(&mut self) -> Option<Frame<Bytes>> {
        let frame = self.rest.next()?;
        self.remaining.count(&frame);
        Some(frame)
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.rest, Rest::Over)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.remaining.hint()
    }
}

// === impl Rest ===

impl Rest {
    fn next(&mut self) -> Option<Frame<Bytes>> {
        match mem::replace(self, Rest::Over) {
            Rest::Over | Rest::Closing => None,
            Rest::One(data) => Some(Frame::data(data)),
            Rest::Many(frames, at) => {
                let copy = frames.get(at)?.clone();
                if at + 1 < frames.len() {
                    *self = Rest::Many(frames, at + 1);
                }
                Some(copy.into_frame())
            }
        }
    }
}
