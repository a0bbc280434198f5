use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Sleep, sleep};

use crate::{grpc::tracking::GracePeriod, refresher::BoxFuture};

/// The time that the headers of a response wait for the frame after them.
pub(super) enum PeekTimer {
    /// One turn of the scheduler. A frame that arrived in the same packet as the headers is read
    /// by the connection's task, which may not have run yet.
    Turn(BoxFuture<'static, ()>, GracePeriod),
    /// The grace period.
    Sleep(Pin<Box<Sleep>>),
}

// === impl PeekTimer ===

impl PeekTimer {
    pub(super) fn new(grace: GracePeriod) -> Self {
        Self::Turn(Box::pin(tokio::task::yield_now()), grace)
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // ## Turn => (Sleep | done)
        //
        // Whether the call still sends is asked after the turn, in which the connection may have
        // sent the end of the request.
        if let Self::Turn(turn, grace) = self {
            ready!(turn.as_mut().poll(cx));
            match grace.limit() {
                Some(limit) => *self = Self::Sleep(Box::pin(sleep(limit))),
                None => return Poll::Ready(()),
            }
        }
        // ## Sleep => done
        match self {
            Self::Sleep(sleep) => sleep.as_mut().poll(cx),
            Self::Turn(..) => Poll::Pending,
        }
    }
}
