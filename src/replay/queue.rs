use std::vec;

use bytes::Bytes;
use http_body::Frame;

use crate::replay::buffer::{FrameBuffer, FrameCopy};

/// Frames that were read from the caller's body and are still to be sent: the buffered ones, then
/// at most one that was not buffered.
#[derive(Default)]
pub(super) struct FrameQueue {
    next: Option<FrameCopy>,
    more: vec::IntoIter<FrameCopy>,
    last: Option<Box<Frame<Bytes>>>,
}

// === impl FrameQueue ===

impl FrameQueue {
    pub(super) fn new(buffer: FrameBuffer, last: Option<Frame<Bytes>>) -> Self {
        let (next, more) = buffer.into_parts();
        Self { next, more: more.into_iter(), last: last.map(Box::new) }
    }

    pub(super) fn one(data: Bytes) -> Self {
        Self { next: Some(FrameCopy::Data(data)), ..Self::default() }
    }

    pub(super) fn pop(&mut self) -> Option<Frame<Bytes>> {
        let Some(part) = self.next.take() else {
            return self.last.take().map(|frame| *frame);
        };
        let (frame, rest) = part.split_first();
        self.next = rest.or_else(|| self.more.next());
        Some(frame)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next.is_none() && self.last.is_none()
    }

    /// A copy that shares the memory of the frames. `None` if a frame is of a kind that can't be
    /// cloned.
    pub(super) fn try_clone(&self) -> Option<Self> {
        let last = match &self.last {
            Some(frame) => Some(Box::new(clone_frame(frame)?)),
            None => None,
        };
        Some(Self { next: self.next.clone(), more: self.more.clone(), last })
    }

    /// Whether there is a frame that isn't data.
    pub(super) fn has_trailers(&self) -> bool {
        let is_data = |part: &FrameCopy| !matches!(part, FrameCopy::Trailers(_));
        let last_is_data = self.last.as_ref().is_none_or(|frame| frame.is_data());
        !last_is_data || !self.next.iter().chain(self.more.as_slice()).all(is_data)
    }

    /// The data of all frames in one piece, without a copy if it is in one piece already.
    pub(super) fn into_data(mut self) -> Bytes {
        let is_single_part = self.more.as_slice().is_empty() && self.last.is_none();
        match self.next {
            None => self.last.and_then(|frame| frame.into_data().ok()).unwrap_or_default(),
            Some(FrameCopy::Data(data)) if is_single_part => data,
            Some(FrameCopy::Run(run)) if is_single_part => run.into_data(),
            _ => {
                let mut all = Vec::new();
                while let Some(frame) = self.pop() {
                    all.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                }
                all.into()
            }
        }
    }
}

fn clone_frame(frame: &Frame<Bytes>) -> Option<Frame<Bytes>> {
    match frame.data_ref() {
        Some(data) => Some(Frame::data(data.clone())),
        None => frame.trailers_ref().cloned().map(Frame::trailers),
    }
}
