use std::{mem, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

/// The number of frames that a buffer holds at most. Empty frames do not count towards the limit of
/// bytes, but each of them takes a few bytes for its boundary.
pub(super) const MAX_FRAMES: usize = 1024;

/// The length from which a frame may be kept as a handle on its own memory. Each attempt has a
/// handle, and the memory has a reference count: together they would outweigh a short frame.
const MIN_HANDLE: usize = 4096;

/// The frames that a body has yielded so far, up to the replay limit.
///
/// The limit bounds the memory that is held, not only the bytes that are to be sent. A frame from
/// the network is a slice of a read buffer, and a handle on it would keep all of that buffer alive.
/// So a frame is kept as a handle only if the handle owns its memory alone, or if it is the only
/// frame of its body. Any other frame is copied. Copies of consecutive frames share one allocation.
/// The first attempt sends the original frames.
#[derive(Default)]
pub(super) struct FrameBuffer {
    // Inline, so that a body of a single frame allocates nothing.
    first: Option<FrameCopy>,
    more: Option<Box<MoreFrames>>,
    len: usize,
    room: usize,
}

/// A part of a body that can be cloned: one frame, or several frames in one piece of memory.
///
/// Trailers and runs are boxed to keep the common variant small.
#[derive(Clone)]
pub(super) enum FrameCopy {
    Data(Bytes),
    Run(Box<FrameRun>),
    Trailers(Box<HeaderMap>),
}

/// Consecutive frames of data in one copy. Never empty, until its last frame is taken out.
#[derive(Clone)]
pub(super) struct FrameRun {
    /// The data of the frames that were not taken out yet.
    data: Bytes,
    /// The length of each frame.
    lengths: Arc<[usize]>,
    /// The number of frames that were taken out.
    position: usize,
}

/// The frames after the first one.
#[derive(Default)]
struct MoreFrames {
    sealed: Vec<FrameCopy>,
    /// The run that the next short frame is appended to.
    open: OpenRun,
}

/// Frames that are copied one behind the other, and the length of each.
#[derive(Default)]
struct OpenRun {
    data: Vec<u8>,
    lengths: Vec<usize>,
}

// === impl FrameBuffer ===

impl FrameBuffer {
    pub(super) fn new(limit: usize) -> Self {
        Self { room: limit, ..Self::default() }
    }

    /// Keeps the frame if there is [room](Self::has_room_for), and returns whether it did.
    ///
    /// After a `false`, no later frame may be pushed: the buffer would have a gap.
    pub(super) fn push(&mut self, frame: &mut Frame<Bytes>) -> bool {
        if !self.has_room_for(frame) {
            return false;
        }
        self.room -= weight(frame);
        self.len += 1;
        if let Some(data) = frame.data_mut() {
            if fill_own_memory(data) {
                self.push_part(FrameCopy::Data(data.clone()));
            } else {
                self.push_copy(data);
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            self.push_part(FrameCopy::Trailers(Box::new(copy_trailers(trailers))));
        }
        true
    }

    /// Like [`push`](Self::push), for the last frame of a body. The only frame of a body is kept as
    /// a handle, whatever memory it is a part of.
    #[must_use]
    pub(super) fn push_last(&mut self, frame: &mut Frame<Bytes>) -> bool {
        match frame.data_ref() {
            Some(data) if self.is_empty() && self.has_room_for(frame) => {
                // Not counted, since no frame comes after the last one.
                self.first = Some(FrameCopy::Data(data.clone()));
                true
            }
            _ => self.push(frame),
        }
    }

    /// Whether the frame is within the limit, and of a kind that can be kept.
    pub(super) fn has_room_for(&self, frame: &Frame<Bytes>) -> bool {
        // A later version of `http-body` may add kinds of frames.
        let is_known = frame.is_data() || frame.is_trailers();
        is_known && weight(frame) <= self.room && self.len < MAX_FRAMES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// A clone that shares the memory of the frames.
    pub(super) fn share(&mut self) -> Self {
        let more = self.more.as_mut().map(|more| {
            more.seal();
            Box::new(MoreFrames { sealed: more.sealed.clone(), open: OpenRun::default() })
        });
        Self { first: self.first.clone(), more, len: self.len, room: self.room }
    }

    /// The first part, and the ones after it.
    pub(super) fn into_parts(self) -> (Option<FrameCopy>, Vec<FrameCopy>) {
        let more = self.more.map(|mut more| {
            more.seal();
            more.sealed
        });
        (self.first, more.unwrap_or_default())
    }

    fn push_copy(&mut self, data: &[u8]) {
        match self.first {
            None => self.first = Some(FrameCopy::Data(Bytes::copy_from_slice(data))),
            Some(_) => self.more.get_or_insert_default().open.push(data, self.room),
        }
    }

    fn push_part(&mut self, part: FrameCopy) {
        match self.first {
            None => self.first = Some(part),
            Some(_) => {
                let more = self.more.get_or_insert_default();
                more.seal();
                more.sealed.push(part);
            }
        }
    }
}

/// The bytes of a frame that count towards the limit.
fn weight(frame: &Frame<Bytes>) -> usize {
    let data = frame.data_ref().map_or(0, Bytes::len);
    let trailers = frame.trailers_ref().map_or(0, |trailers| {
        trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
    });
    data + trailers
}

/// Makes a handle that owns its memory alone fill it. Returns whether the handle does: `false` for
/// memory that is shared, static or foreign, and for short data.
fn fill_own_memory(data: &mut Bytes) -> bool {
    if data.len() < MIN_HANDLE || !data.is_unique() {
        return false;
    }
    // Without a second allocation: the vector is the memory behind the only handle. If the data was
    // a part of that memory, it is moved to the front, and the rest is freed.
    let memory: Vec<u8> = mem::take(data).into();
    *data = memory.into_boxed_slice().into();
    true
}

/// A copy whose names and values own their memory.
fn copy_trailers(trailers: &HeaderMap) -> HeaderMap {
    let mut copy = HeaderMap::try_with_capacity(trailers.keys_len()).unwrap_or_default();
    for (name, value) in trailers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).expect("a name stays valid");
        let mut owned = HeaderValue::from_bytes(value.as_bytes()).expect("a value stays valid");
        owned.set_sensitive(value.is_sensitive());
        copy.append(name, owned);
    }
    copy
}

// === impl FrameCopy ===

impl FrameCopy {
    /// The first frame of this part, and the rest of the part.
    pub(super) fn split_first(self) -> (Frame<Bytes>, Option<Self>) {
        match self {
            Self::Data(data) => (Frame::data(data), None),
            Self::Trailers(trailers) => (Frame::trailers(*trailers), None),
            Self::Run(mut run) => {
                let data = run.pop();
                (Frame::data(data), (!run.is_empty()).then_some(Self::Run(run)))
            }
        }
    }
}

// === impl FrameRun ===

impl FrameRun {
    /// The data of the frames that were not taken out yet, in one piece.
    pub(super) fn into_data(self) -> Bytes {
        self.data
    }

    fn is_empty(&self) -> bool {
        self.position == self.lengths.len()
    }

    fn pop(&mut self) -> Bytes {
        let length = self.lengths[self.position];
        self.position += 1;
        self.data.split_to(length)
    }
}

// === impl MoreFrames ===

impl MoreFrames {
    fn seal(&mut self) {
        let OpenRun { data, lengths } = mem::take(&mut self.open);
        if !lengths.is_empty() {
            // Without the spare capacity, which would be held beyond the limit.
            let data = data.into_boxed_slice().into();
            let run = FrameRun { data, lengths: lengths.into(), position: 0 };
            self.sealed.push(FrameCopy::Run(Box::new(run)));
        }
    }
}

// === impl OpenRun ===

impl OpenRun {
    /// Appends a frame. The capacity doubles when it is used up, but never exceeds the data plus
    /// `room`, which is what is left of the limit.
    fn push(&mut self, data: &[u8], room: usize) {
        let (len, capacity) = (self.data.len(), self.data.capacity());
        if capacity - len < data.len() {
            let doubled = (2 * capacity).max(64);
            let wanted = doubled.max(len + data.len()).min((len + data.len()).saturating_add(room));
            self.data.reserve_exact(wanted - len);
        }
        self.data.extend_from_slice(data);
        self.lengths.push(data.len());
    }
}
