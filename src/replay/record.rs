use std::{iter, option, vec};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

/// How many frames a record may have. Empty frames weigh nothing, yet each of them takes room.
pub(super) const MAX_FRAMES: usize = 1024;

/// A frame that can be cloned. The trailers are boxed to keep the many data frames small.
#[derive(Clone)]
pub(super) enum FrameCopy {
    Data(Bytes),
    Trailers(Box<HeaderMap>),
}

/// What a body has yielded so far, within its limit.
#[derive(Clone)]
pub(super) struct Record {
    // Beside the others, so that a body of a single frame allocates nothing.
    first: Option<FrameCopy>,
    more: Vec<FrameCopy>,
    room: usize,
}

pub(super) type Frames = iter::Chain<option::IntoIter<FrameCopy>, vec::IntoIter<FrameCopy>>;

/// What was polled already and has yet to be sent: recorded frames and, after them, at most one
/// that was not recorded.
#[derive(Default)]
pub(super) struct Ahead {
    frames: Option<Frames>,
    last: Option<Box<Frame<Bytes>>>,
}

// === impl FrameCopy ===

impl FrameCopy {
    /// `None` for a kind of frame that a later `http-body` may bring.
    fn of(frame: &Frame<Bytes>) -> Option<Self> {
        let data = frame.data_ref().cloned().map(FrameCopy::Data);
        data.or_else(|| {
            let trailers = frame.trailers_ref()?.clone();
            Some(FrameCopy::Trailers(Box::new(trailers)))
        })
    }

    pub(super) fn into_frame(self) -> Frame<Bytes> {
        match self {
            FrameCopy::Data(data) => Frame::data(data),
            FrameCopy::Trailers(trailers) => Frame::trailers(*trailers),
        }
    }
}

fn weight(frame: &Frame<Bytes>) -> usize {
    let data = frame.data_ref().map_or(0, Bytes::len);
    let trailers = frame.trailers_ref().map_or(0, |trailers| {
        trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
    });
    data + trailers
}

// === impl Record ===

impl Record {
    pub(super) fn new(limit: usize) -> Self {
        Self { first: None, more: Vec::new(), room: limit }
    }

    /// Whether the frame was recorded. If not, the record has a hole from here on and is good for
    /// nothing but what comes before.
    #[must_use]
    pub(super) fn push(&mut self, frame: &Frame<Bytes>) -> bool {
        let Some(room) = self.room.checked_sub(weight(frame)) else {
            return false;
        };
        if self.len() == MAX_FRAMES {
            return false;
        }
        let Some(copy) = FrameCopy::of(frame) else {
            return false;
        };
        self.room = room;
        match self.first {
            None => self.first = Some(copy),
            Some(_) => self.more.push(copy),
        }
        true
    }

    /// The data of the frame, if it is the first and within the limit: there is no need to record
    /// the only one.
    pub(super) fn only(&self, frame: Frame<Bytes>) -> Result<Bytes, Frame<Bytes>> {
        match frame.data_ref() {
            Some(data) if self.len() == 0 && data.len() <= self.room => frame.into_data(),
            _ => Err(frame),
        }
    }

    /// The same of the frame that it has, if it has no other.
    pub(super) fn into_only(self) -> Result<Bytes, Self> {
        match self {
            Self { first: Some(FrameCopy::Data(data)), more, .. } if more.is_empty() => Ok(data),
            record => Err(record),
        }
    }

    pub(super) fn into_frames(self) -> Frames {
        self.first.into_iter().chain(self.more)
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }
}

// === impl Ahead ===

impl Ahead {
    pub(super) fn new(record: Record, last: Option<Frame<Bytes>>) -> Self {
        Self { frames: Some(record.into_frames()), last: last.map(Box::new) }
    }

    pub(super) fn next(&mut self) -> Option<Frame<Bytes>> {
        let recorded = self.frames.as_mut().and_then(Iterator::next);
        match recorded {
            Some(copy) => Some(copy.into_frame()),
            None => {
                self.frames = None;
                self.last.take().map(|frame| *frame)
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let recorded = self.frames.as_ref().map_or(0, |frames| frames.size_hint().0);
        recorded == 0 && self.last.is_none()
    }
}
