use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::{detect::is_unauthenticated, middleware::extension::Stamp};

/// The body of a response: the frames of `B` as they are. A status 16 among them is reported to the
/// session.
pub struct ResponseBody<B: Body> {
    /// `None` when it was read to its end before the caller had it.
    body: Option<B>,
    ahead: Ahead<B>,
    /// The call's, while its status is still to come.
    stamp: Option<Stamp>,
}

/// What was read before the caller had the body, and not yet given out.
struct Ahead<B: Body> {
    /// An empty frame of data. It is no message, so that the one after it was looked at too.
    empty: Option<Frame<B::Data>>,
    next: Option<Output<B>>,
}

type Output<B> = Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>;

// === impl ResponseBody ===

impl<B: Body> ResponseBody<B> {
    pub(super) fn new(body: B, stamp: Option<Stamp>) -> Self {
        Self { body: Some(body), ahead: Ahead::nothing(), stamp }
    }

    /// That of a response that ended with its head.
    pub(super) fn over() -> Self {
        Self { body: None, ahead: Ahead::nothing(), stamp: None }
    }
}

impl<B: Body + Unpin> ResponseBody<B> {
    /// Reads as far as the first frame that says something. Ready with the trailers if they reject
    /// the credential; everything else is kept for the caller.
    pub(super) fn peek(&mut self, cx: &mut Context<'_>) -> Poll<Option<HeaderMap>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        loop {
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) if self.ahead.empty.is_none() && is_empty(&frame) => {
                    self.ahead.empty = Some(frame);
                }
                Some(Ok(frame)) => match frame.into_trailers() {
                    Ok(trailers) if is_unauthenticated(&trailers) => {
                        return Poll::Ready(Some(trailers));
                    }
                    Ok(trailers) => return self.keep(Some(Ok(Frame::trailers(trailers)))),
                    Err(frame) => return self.keep(Some(Ok(frame))),
                },
                failed_or_over => return self.keep(failed_or_over),
            }
        }
    }

    fn keep(&mut self, output: Output<B>) -> Poll<Option<HeaderMap>> {
        self.ahead.next = Some(output);
        Poll::Ready(None)
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Output<B>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn report(&mut self, frame: &Frame<B::Data>) {
        if frame.trailers_ref().is_some_and(is_unauthenticated)
            && let Some(stamp) = self.stamp.take()
        {
            stamp.reject();
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
        let output = match this.ahead.take() {
            Some(output) => output,
            None => ready!(this.poll_body(cx)),
        };
        if let Some(Ok(frame)) = &output {
            this.report(frame);
        }
        Poll::Ready(output)
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_over() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        self.ahead.add_to(rest)
    }
}

// What was read ahead is never pinned.
impl<B: Body + Unpin> Unpin for ResponseBody<B> {}

/// Generated clients ask for it where they take an interceptor.
impl<B: Body + Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::new(B::default(), None)
    }
}

impl<B: Body> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}

// === impl Ahead ===

impl<B: Body> Ahead<B> {
    fn nothing() -> Self {
        Self { empty: None, next: None }
    }

    fn take(&mut self) -> Option<Output<B>> {
        match self.empty.take() {
            Some(empty) => Some(Some(Ok(empty))),
            None => self.next.take(),
        }
    }

    fn is_over(&self) -> bool {
        self.empty.is_none() && matches!(self.next, None | Some(None))
    }

    /// The hint of a body from which this was read.
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

fn is_empty<D: Buf>(frame: &Frame<D>) -> bool {
    frame.data_ref().is_some_and(|data| !data.has_remaining())
}
