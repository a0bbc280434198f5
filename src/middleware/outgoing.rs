//! The parts of a request that may be sent again: its copies, and the previous response.

use std::{mem, task::Context};

use http::{Response, request::Parts};
use http_body::Body;

use crate::{
    error::{BoxError, Error},
    head::RequestHead,
    middleware::{
        extension::{NoRefresh, NoReplay},
        policy::FailureMode,
    },
    observe::outcome::ReplayObstacle,
    replay::{
        Replay, ReplayBody,
        drain::Drain,
        head::{HeadCopy, HeadSummary},
    },
};

/// The copies of a request's head and body from which the next attempt is made.
pub(super) struct ReplayCopy<B> {
    pub(super) head: HeadCopy,
    pub(super) body: Replay<B>,
}

/// A request that is not in flight, and the previous response whose body it still reads or holds.
pub(super) struct PendingRequest<B, ResBody> {
    pub(super) outgoing: Outgoing<B>,
    pub(super) previous: PreviousResponse<ResBody>,
}

/// A request before it is sent.
pub(super) enum Outgoing<B> {
    /// Boxed, because it is much larger than a replay, and many replays wait at once.
    Complete(Box<CompleteRequest<B>>),
    /// The head is restored when the replay is sent: the text takes less memory while it waits.
    Compact { head: HeadCopy, body: ReplayBody<B> },
}

/// A request with its head as [`Parts`], ready to be sent.
pub(super) struct CompleteRequest<B> {
    pub(super) head: Parts,
    pub(super) body: ReplayBody<B>,
    pub(super) source: ReplaySource<B>,
}

/// The source of a replay after this attempt.
pub(super) enum ReplaySource<B> {
    Body(Replay<B>),
    /// This attempt is the replay. No other follows, and its response goes to the caller.
    Spent(HeadSummary),
}

/// The copy of an attempt in flight: of a first attempt for its replay, of a replay for the seams
/// that ask which request it is.
pub(super) enum SentCopy<B> {
    First(ReplayCopy<B>),
    Replay(HeadSummary),
}

/// The response to the attempt before the next one.
pub(super) enum PreviousResponse<ResBody> {
    /// There is none, or its body has been read to its end.
    Gone,
    /// The body is read to its end, so that its connection can be used again.
    Draining(Drain<ResBody>),
    /// The caller gets the response if the refresh fails ([`FailureMode::Response`]).
    Held(Response<ResBody>),
}

/// The body of the next attempt, or the reason why there is none.
fn body_of<B>(
    head: &HeadCopy,
    body: Replay<B>,
    may_interrupt: bool,
) -> Result<ReplayBody<B>, ReplayObstacle> {
    // Asked first, since `take_over` consumes the body.
    let is_uploading = !may_interrupt && body.is_uploading();
    body.take_over(may_interrupt).ok_or_else(|| {
        if head.extensions().get::<NoReplay>().is_some() {
            ReplayObstacle::Marked
        } else if is_uploading {
            ReplayObstacle::Uploading
        } else {
            ReplayObstacle::Unrecorded
        }
    })
}

// === impl ReplayCopy ===

impl<B> ReplayCopy<B> {
    /// Whether a rejection may start a refresh: not if the request is marked [`NoRefresh`].
    pub(super) fn may_refresh(&self) -> bool {
        self.head.extensions().get::<NoRefresh>().is_none()
    }

    /// The replay after a refresh, or the reason why the body cannot be sent again.
    pub(super) fn take_over(self, may_interrupt: bool) -> Result<Outgoing<B>, ReplayObstacle> {
        let Self { head, body } = self;
        let body = body_of(&head, body, may_interrupt)?;
        Ok(Outgoing::Compact { head, body })
    }

    /// The attempt after a [`Verdict::Retry`], or the reason why the body cannot be sent again. A
    /// body that was had whole may be replayed after it.
    pub(super) fn repeat(self, may_interrupt: bool) -> Result<CompleteRequest<B>, ReplayObstacle> {
        let Self { head, body } = self;
        let next = body.again();
        let body = body_of(&head, body, may_interrupt)?;
        let (head, _) = head.restore();
        Ok(CompleteRequest { head, body, source: ReplaySource::Body(next) })
    }
}

// === impl Outgoing ===

impl<B> Outgoing<B> {
    /// Restores the head of a replay.
    pub(super) fn complete(self) -> CompleteRequest<B> {
        match self {
            Self::Complete(request) => *request,
            Self::Compact { head, body } => {
                let (head, restored) = head.restore();
                CompleteRequest { head, body, source: ReplaySource::Spent(restored) }
            }
        }
    }
}

// === impl SentCopy ===

impl<B> SentCopy<B> {
    pub(super) fn of(head: &Parts, source: ReplaySource<B>) -> Self {
        match source {
            ReplaySource::Body(body) => Self::First(ReplayCopy { head: HeadCopy::of(head), body }),
            ReplaySource::Spent(head) => Self::Replay(head),
        }
    }

    pub(super) fn into_source(self) -> ReplaySource<B> {
        match self {
            Self::First(copy) => ReplaySource::Body(copy.body),
            Self::Replay(head) => ReplaySource::Spent(head),
        }
    }

    pub(super) fn request(&self) -> RequestHead<'_> {
        match self {
            Self::First(copy) => RequestHead::copied(&copy.head),
            Self::Replay(head) => RequestHead::restored(head),
        }
    }
}

// === impl PreviousResponse ===

impl<ResBody: Body> PreviousResponse<ResBody> {
    pub(super) fn new(response: Response<ResBody>, mode: FailureMode) -> Self {
        match mode {
            FailureMode::Error => Self::draining(response),
            FailureMode::Response => Self::Held(response),
        }
    }

    pub(super) fn draining(response: Response<ResBody>) -> Self {
        if response.body().is_end_stream() {
            Self::Gone
        } else {
            Self::Draining(Drain::new(response.into_body()))
        }
    }

    /// Gives a held response up, since a newer credential is there.
    pub(super) fn start_drain(&mut self) {
        if let Self::Held(_) = self
            && let Self::Held(response) = mem::replace(self, Self::Gone)
        {
            *self = Self::draining(response);
        }
    }

    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) {
        if let Self::Draining(drain) = self
            && drain.poll(cx).is_ready()
        {
            *self = Self::Gone;
        }
    }

    pub(super) fn into_drain(self) -> Option<Drain<ResBody>> {
        match self {
            Self::Gone | Self::Held(_) => None,
            Self::Draining(drain) => Some(drain),
        }
    }

    /// The held response, or else the error.
    pub(super) fn or(self, error: Error) -> Result<Response<ResBody>, BoxError> {
        match self {
            Self::Held(response) => Ok(response),
            Self::Gone | Self::Draining(_) => Err(error.into()),
        }
    }
}
