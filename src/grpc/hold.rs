use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Sleep, sleep};

use crate::{grpc::watch::Grace, refresher::BoxFuture};

/// How long headers wait for the frame after them.
pub(super) enum Hold {
    /// Until the connection had its turn: the frame may have come in the same packet.
    Turn(BoxFuture<'static, ()>, Grace),
    /// Until the grace is over.
    Grace(Pin<Box<Sleep>>),
}

// === impl Hold ===

impl Hold {
    pub(super) fn new(grace: Grace) -> Self {
        Self::Turn(Box::pin(tokio::task::yield_now()), grace)
    }

    /// Ready when they have waited long enough.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Turn(turn, grace) = self {
            ready!(turn.as_mut().poll(cx));
            match grace.limit() {
                Some(limit) => *self = Self::Grace(Box::pin(sleep(limit))),
                None => return Poll::Ready(()),
            }
        }
        match self {
            Self::Grace(sleep) => sleep.as_mut().poll(cx),
            Self::Turn(..) => Poll::Pending,
        }
    }
}
