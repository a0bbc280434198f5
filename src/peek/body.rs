use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::peek::start::BodyStart;

/// The body of a response: the frames of `B` as they are.
pub struct PeekBody<B: Body> {
    body: B,
    /// The frames that were read before the caller got the body, and were not yielded yet.
    read: VecDeque<Frame<Bytes>>,
    end: ReadEnd<B::Error>,
}

/// The end of the inner body, if it was read before the caller got the body.
enum ReadEnd<E> {
    NotSeen,
    /// The error of the body, until it is yielded.
    Failed(Option<E>),
    Ended,
}

/// The number of frames that are read at most. A tiny frame may be a slice of a large read buffer.
const MAX_FRAMES: usize = 64;

// === impl PeekBody ===

impl<B: Body> PeekBody<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body, read: VecDeque::new(), end: ReadEnd::NotSeen }
    }
}

impl<B: Body<Data = Bytes>> PeekBody<B> {
    /// Whether the beginning of the body is a rejection.
    pub(super) fn inspect(
        &self,
        limit: usize,
        is_rejection: impl Fn(&BodyStart<'_>) -> bool,
    ) -> bool {
        if let ReadEnd::Failed(_) = self.end {
            return false;
        }
        let mut data = self.read.iter().filter_map(Frame::data_ref);
        let is_whole_if_within = matches!(self.end, ReadEnd::Ended)
            || self.read.back().is_some_and(Frame::is_trailers)
            || self.body.is_end_stream();
        let inspect = |bytes: &[u8]| {
            let is_whole = is_whole_if_within && bytes.len() <= limit;
            is_rejection(&BodyStart::new(&bytes[..bytes.len().min(limit)], is_whole))
        };
        // Nearly always one frame, which needs no copy.
        match (data.next(), data.next()) {
            (None, _) => inspect(&[]),
            (Some(only), None) => inspect(only),
            (Some(first), Some(second)) => {
                let all: Vec<_> =
                    [first, second].into_iter().chain(data).map(|data| &**data).collect();
                inspect(&all.concat())
            }
        }
    }

    fn len_read(&self) -> usize {
        self.read.iter().filter_map(Frame::data_ref).map(Bytes::len).sum()
    }
}

impl<B> PeekBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// Reads until there are `limit` bytes, [`MAX_FRAMES`], trailers, an error or the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<()> {
        let min_weight = limit.div_ceil(MAX_FRAMES);
        let weight = |frame: &Frame<Bytes>| frame.data_ref().map_or(0, Bytes::len).max(min_weight);
        let mut read: usize = self.read.iter().map(weight).sum();
        while read < limit {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    read += weight(&frame);
                    let is_data = frame.is_data();
                    self.read.push_back(frame);
                    if !is_data || self.body.is_end_stream() {
                        break;
                    }
                }
                Some(Err(error)) => {
                    self.end = ReadEnd::Failed(Some(error));
                    break;
                }
                None => {
                    self.end = ReadEnd::Ended;
                    break;
                }
            }
        }
        Poll::Ready(())
    }
}

impl<B> Body for PeekBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if let Some(frame) = this.read.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut this.end {
            ReadEnd::NotSeen => Pin::new(&mut this.body).poll_frame(cx),
            ReadEnd::Failed(error) => Poll::Ready(error.take().map(Err)),
            ReadEnd::Ended => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty()
            && match &self.end {
                ReadEnd::NotSeen => self.body.is_end_stream(),
                // A failed body never reports a clean end.
                ReadEnd::Failed(_) => false,
                ReadEnd::Ended => true,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.size_hint();
        let len = self.len_read() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(len));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(len));
        }
        hint
    }
}

// Frames that were read are never pinned.
impl<B: Body + Unpin> Unpin for PeekBody<B> {}

impl<B: Body + Default> Default for PeekBody<B> {
    fn default() -> Self {
        Self::new(B::default())
    }
}

impl<B: Body> fmt::Debug for PeekBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeekBody").finish_non_exhaustive()
    }
}
