use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a request: the frames of `B` as they are.
    ///
    /// The layer learns from it when the call has sent everything.
    pub struct RequestBody<B> {
        #[pin]
        body: B,
        // Dropped at the end of the body, or with it.
        sending: Option<Arc<()>>,
    }
}

// === impl RequestBody ===

impl<B> RequestBody<B> {
    pub(super) fn untracked(body: B) -> Self {
        Self { body, sending: None }
    }

    /// `sending` is dropped as soon as there is nothing left to send.
    pub(super) fn tracked(body: B, sending: Arc<()>) -> Self
    where
        B: Body,
    {
        let sending = (!body.is_end_stream()).then_some(sending);
        Self { body, sending }
    }
}

impl<B: Body> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let output = ready!(this.body.as_mut().poll_frame(cx));
        // An HTTP/2 client does not poll again after a frame with which `is_end_stream` is true.
        if this.sending.is_some() && (!matches!(output, Some(Ok(_))) || this.body.is_end_stream()) {
            *this.sending = None;
        }
        Poll::Ready(output)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Default> Default for RequestBody<B> {
    fn default() -> Self {
        Self::untracked(B::default())
    }
}

impl<B> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}
