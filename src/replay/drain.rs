use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Buf;
use http_body::Body;
use tokio::{
    runtime::Handle,
    time::{Sleep, sleep},
};

/// The body of a rejected response, read to its end.
///
/// Dropping an unread body closes an HTTP/1 connection and resets an HTTP/2 stream. Reading it to
/// the end lets the connection be used again. A body that is long or slow is not worth that, since
/// it occupies a connection or a stream until it is dropped.
pub(crate) struct Drain<B> {
    body: Pin<Box<B>>,
    bytes_left: usize,
    /// Created by the first poll that has to wait. Most bodies never need it.
    deadline: Option<Pin<Box<Sleep>>>,
}

const MAX_BYTES: usize = 64 * 1024;
const MAX_WAIT: Duration = Duration::from_secs(1);

// === impl Drain ===

impl<B: Body> Drain<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body: Box::pin(body), bytes_left: MAX_BYTES, deadline: None }
    }

    /// Reads on. `Ready` means that the body has ended, or that it is not worth more reading: drop
    /// it then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The loop ends: each frame uses the budget up by at least one byte, even without data.
        while let Poll::Ready(frame) = self.body.as_mut().poll_frame(cx) {
            let Some(Ok(frame)) = frame else { return Poll::Ready(()) };
            let read = frame.data_ref().map_or(0, Buf::remaining).max(1);
            match self.bytes_left.checked_sub(read) {
                Some(left) => self.bytes_left = left,
                None => return Poll::Ready(()),
            }
        }
        // Without a runtime there is no timer. An unbounded wait is worse than a lost connection.
        if self.deadline.is_none() && Handle::try_current().is_err() {
            return Poll::Ready(());
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(MAX_WAIT)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(())
    }
}
