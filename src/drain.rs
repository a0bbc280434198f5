use bytes::Buf;
use http_body::Body;
use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// The body of a rejected response, read to its end so that an HTTP/1 connection can be used again, unless it is long.
pub(crate) struct Drain<B> {
    body: Pin<Box<B>>,
    left: usize,
}

const LIMIT: usize = 64 * 1024;

// === impl Drain ===

impl<B: Body> Drain<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body: Box::pin(body), left: LIMIT }
    }

    /// Reads on. Ready when there is nothing left that is worth reading: the body should then be dropped.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(frame) = self.body.as_mut().poll_frame(cx) {
            let Some(Ok(frame)) = frame else { return Poll::Ready(()) };
            // A frame without data counts too, so that a body of nothing else comes to an end.
            let read = frame.data_ref().map_or(0, Buf::remaining).max(1);
            match self.left.checked_sub(read) {
                Some(left) => self.left = left,
                None => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}
