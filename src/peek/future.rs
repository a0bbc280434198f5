use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use crate::{
    head::{RequestHead, ResponseHead},
    middleware::extension::Rejected,
    peek::{body::PeekBody, predicates::Predicates, start::BodyStart},
    replay::head::HeadSummary,
};

pin_project! {
    /// The response, once the beginning of its body was read if it has to be.
    ///
    /// # Cancel safety
    ///
    /// See the inner service's future.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, H, D, B: Body> {
        #[pin]
        state: PeekState<F, H, D, B>,
    }
}

pin_project! {
    #[project = PeekStateProj]
    enum PeekState<F, H, D, B: Body> {
        Calling { #[pin] future: F, request: Option<PeekedRequest<H, D>> },
        Reading {
            response: Option<Response<PeekBody<B>>>,
            predicates: Arc<Predicates<H, D>>,
            limit: usize,
        },
    }
}

/// A request that carries the session's credential, until its response head arrives.
pub(super) struct PeekedRequest<H, D> {
    pub(super) head: HeadSummary,
    pub(super) predicates: Arc<Predicates<H, D>>,
    pub(super) limit: usize,
}

// === impl ResponseFuture ===

impl<F, H, D, B: Body> ResponseFuture<F, H, D, B> {
    pub(super) fn new(future: F, request: Option<PeekedRequest<H, D>>) -> Self {
        Self { state: PeekState::Calling { future, request } }
    }
}

impl<F, H, D, B, E> Future for ResponseFuture<F, H, D, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    H: Fn(&ResponseHead<'_>) -> bool,
    D: Fn(&BodyStart<'_>) -> bool,
    B: Body<Data = Bytes> + Unpin,
{
    type Output = Result<Response<PeekBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                // ## Calling => (Reading | done)
                //
                // The response passes at once if its request does not carry the credential, if the
                // predicate is not interested in its head, or if it has no body.
                PeekStateProj::Calling { future, request } => {
                    let response = ready!(future.poll(cx))?;
                    let request = request.take().filter(|request| request.should_read(&response));
                    let response = response.map(PeekBody::new);
                    let Some(PeekedRequest { predicates, limit, .. }) = request else {
                        return Poll::Ready(Ok(response));
                    };
                    PeekState::Reading { response: Some(response), predicates, limit }
                }
                // ## Reading => done
                //
                // An error of the body ends the reading too. The caller gets it after the frames
                // before it, and it says nothing about the credential.
                PeekStateProj::Reading { response: taken, predicates, limit } => {
                    let response = taken.as_mut().expect("polled after its end");
                    ready!(response.body_mut().poll_read(cx, *limit));
                    let mut response = taken.take().expect("reading has a response");
                    if response.body().inspect(*limit, &predicates.is_rejection) {
                        response.extensions_mut().insert(Rejected);
                    }
                    return Poll::Ready(Ok(response));
                }
            };
            state.set(next);
        }
    }
}

impl<F, H, D, B: Body> fmt::Debug for ResponseFuture<F, H, D, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

// === impl PeekedRequest ===

impl<H, D> PeekedRequest<H, D>
where
    H: Fn(&ResponseHead<'_>) -> bool,
{
    fn should_read<B: Body>(&self, response: &Response<B>) -> bool {
        let head = ResponseHead::of(response, RequestHead::restored(&self.head));
        !response.body().is_end_stream() && (self.predicates.should_read)(&head)
    }
}
