use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};

use crate::{detect::Verdict, grpc::tracking::TrackedCall};

/// The body of a response: the frames of `B` as they are.
///
/// Trailers that reject the credential are reported to the session.
pub struct ResponseBody<B: Body> {
    /// `None` for a response that ended with its head.
    body: Option<B>,
    peeked: PeekedFrames<B>,
    /// The call and the status of its response, until its trailers were inspected.
    call: Option<(TrackedCall, StatusCode)>,
}

/// Trailers that belong into the head of their response.
pub(super) struct PeekedTrailers {
    pub(super) trailers: HeaderMap,
    pub(super) verdict: Verdict,
}

/// The frames that were read before the caller got the body, and were not yielded yet.
struct PeekedFrames<B: Body> {
    /// An empty data frame. It is no message, so the frame after it was read too.
    empty: Option<Frame<B::Data>>,
    next: Option<PeekedItem<B>>,
}

/// A frame, an error, or the end.
type PeekedItem<B> = Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>;

// === impl ResponseBody ===

impl<B: Body> ResponseBody<B> {
    pub(super) fn untracked(body: B) -> Self {
        Self { body: Some(body), peeked: PeekedFrames::default(), call: None }
    }

    pub(super) fn tracked(body: B, status: StatusCode, call: TrackedCall) -> Self {
        Self { call: Some((call, status)), ..Self::untracked(body) }
    }

    /// The body of a response that ended with its head.
    pub(super) fn ended() -> Self {
        Self { body: None, peeked: PeekedFrames::default(), call: None }
    }
}

impl<B: Body + Unpin> ResponseBody<B> {
    /// Reads up to the first frame that is not empty. `Ready` with the trailers if these are the
    /// first, and the call may be sent again. Everything else is kept for the caller.
    pub(super) fn peek(&mut self, cx: &mut Context<'_>) -> Poll<Option<PeekedTrailers>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        loop {
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) if self.peeked.empty.is_none() && is_empty(&frame) => {
                    self.peeked.empty = Some(frame);
                }
                Some(Ok(frame)) => {
                    return match frame.into_trailers() {
                        Ok(trailers) => Poll::Ready(self.peeked_trailers(trailers)),
                        Err(frame) => self.keep(Some(Ok(frame))),
                    };
                }
                failed_or_ended => return self.keep(failed_or_ended),
            }
        }
    }

    fn peeked_trailers(&mut self, trailers: HeaderMap) -> Option<PeekedTrailers> {
        if let Some((call, status)) = self.call.take() {
            let verdict = call.inspect(status, &trailers);
            if verdict != Verdict::Accepted {
                return Some(PeekedTrailers { trailers, verdict });
            }
        }
        self.peeked.next = Some(Some(Ok(Frame::trailers(trailers))));
        None
    }

    fn keep(&mut self, item: PeekedItem<B>) -> Poll<Option<PeekedTrailers>> {
        self.peeked.next = Some(item);
        Poll::Ready(None)
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<PeekedItem<B>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn report(&mut self, frame: &Frame<B::Data>) {
        if let Some(trailers) = frame.trailers_ref()
            && let Some((call, status)) = self.call.take()
            && call.inspect(status, trailers) == Verdict::Rejected
        {
            call.reject(status, trailers);
        }
    }
}

impl<B: Body + Unpin> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.get_mut();
        let output = match this.peeked.pop() {
            Some(output) => output,
            None => ready!(this.poll_body(cx)),
        };
        if let Some(Ok(frame)) = &output {
            this.report(frame);
        }
        Poll::Ready(output)
    }

    fn is_end_stream(&self) -> bool {
        self.peeked.has_ended() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        self.peeked.add_to(rest)
    }
}

// Peeked frames are never pinned.
impl<B: Body + Unpin> Unpin for ResponseBody<B> {}

/// Required by generated tonic clients that take an interceptor.
impl<B: Body + Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::untracked(B::default())
    }
}

impl<B: Body> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}

// === impl PeekedFrames ===

impl<B: Body> PeekedFrames<B> {
    fn pop(&mut self) -> Option<PeekedItem<B>> {
        match self.empty.take() {
            Some(empty) => Some(Some(Ok(empty))),
            None => self.next.take(),
        }
    }

    fn has_ended(&self) -> bool {
        self.empty.is_none() && matches!(self.next, None | Some(None))
    }

    /// The size hint of the peeked frames and the rest of the body.
    fn add_to(&self, rest: SizeHint) -> SizeHint {
        let Some(Some(Ok(frame))) = &self.next else { return rest };
        let length = frame.data_ref().map_or(0, |data| data.remaining() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(length));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(length));
        }
        hint
    }
}

impl<B: Body> Default for PeekedFrames<B> {
    fn default() -> Self {
        Self { empty: None, next: None }
    }
}

fn is_empty<D: Buf>(frame: &Frame<D>) -> bool {
    frame.data_ref().is_some_and(|data| !data.has_remaining())
}
