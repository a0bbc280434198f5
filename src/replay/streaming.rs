use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{
    error::BoxError,
    replay::{
        hint::Remaining,
        record::{Ahead, Record},
        shared::{Claim, Recorder},
        slot::Handover,
        source::{Output, Tail},
    },
};

/// One attempt at a body that isn't kept whole: what was polled already, then the rest.
pub(super) struct Streaming<B> {
    remaining: Remaining,
    ahead: Ahead,
    rest: Rest<B>,
}

enum Rest<B> {
    /// Nobody else wants the rest: the second attempt, or a first one that can't be replayed.
    Alone(Tail<B>),
    /// The first attempt: the source is shared with the replay, which may take it over.
    Recorded(Recorder<B>),
    /// The second attempt, taken over while the first one was being polled.
    Awaited(Claim<B>),
}

// === impl Streaming ===

impl<B> Streaming<B> {
    pub(super) fn alone(remaining: Remaining, ahead: Ahead, tail: Tail<B>) -> Self {
        Self { remaining, ahead, rest: Rest::Alone(tail) }
    }

    /// The first attempt. It has its own copy of what was polled early, so that dropping the replay
    /// may free the record at any time.
    pub(super) fn recorded(remaining: Remaining, polled: Record, recorder: Recorder<B>) -> Self {
        let ahead = Ahead::new(polled, None);
        Self { remaining, ahead, rest: Rest::Recorded(recorder) }
    }

    pub(super) fn handed(remaining: Remaining, handover: Handover<B>) -> Self {
        Self::alone(remaining, handover.ahead, handover.tail)
    }

    pub(super) fn awaited(remaining: Remaining, claim: Claim<B>) -> Self {
        let ahead = Ahead::default();
        Self { remaining, ahead, rest: Rest::Awaited(claim) }
    }

    /// Only what is known for certain: a source that ends without a further frame isn't over before
    /// it was polled.
    pub(super) fn is_over(&self) -> bool {
        matches!(&self.rest, Rest::Alone(tail) if tail.is_over()) && self.ahead.is_empty()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.remaining.hint()
    }

    fn next_ahead(&mut self) -> Option<Frame<Bytes>> {
        // Once the replay has taken over, sending on what was polled early would only take its
        // bandwidth.
        if let Rest::Recorded(recorder) = &self.rest
            && !self.ahead.is_empty()
            && recorder.is_taken_over()
        {
            self.ahead = Ahead::default();
        }
        self.ahead.next()
    }
}

impl<B> Streaming<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Output> {
        let output = ready!(self.poll_output(cx));
        if let Some(Ok(frame)) = &output {
            self.remaining.count(frame);
        }
        Poll::Ready(output)
    }

    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Output> {
        loop {
            if let Some(frame) = self.next_ahead() {
                return Poll::Ready(Some(Ok(frame)));
            }
            match &mut self.rest {
                // ## Alone => Alone
                Rest::Alone(tail) => return tail.poll(cx),
                // ## Recorded => Recorded | Alone
                Rest::Recorded(recorder) => {
                    let (step, released) = recorder.poll(cx);
                    if let Some(source) = released {
                        self.rest = Rest::Alone(Tail::Source(source));
                    }
                    let (output, tail) = ready!(step).split();
                    if let Some(tail) = tail {
                        self.rest = Rest::Alone(tail);
                    }
                    return Poll::Ready(output);
                }
                // ## Awaited => Alone
                Rest::Awaited(claim) => {
                    let Handover { ahead, tail } = ready!(claim.poll(cx));
                    self.ahead = ahead;
                    self.rest = Rest::Alone(tail);
                }
            }
        }
    }
}
