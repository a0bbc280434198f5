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

/// The body of a rejected response, read to its end so that an HTTP/1 connection can be used again,
/// unless it is long or slow: for as long as it is there, it holds a connection or a stream.
pub(crate) struct Drain<B> {
    body: Pin<Box<B>>,
    left: usize,
    patience: Option<Pin<Box<Sleep>>>,
}

const LIMIT: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(1);

// === impl Drain ===

impl<B: Body> Drain<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body: Box::pin(body), left: LIMIT, patience: None }
    }

    /// Reads on. Ready when there is nothing left that is worth reading: the body should then be
    /// dropped.
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
        if self.patience.is_none() && Handle::try_current().is_err() {
            // There is no telling how long it takes.
            return Poll::Ready(());
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        ready!(patience.as_mut().poll(cx));
        Poll::Ready(())
    }
}
