use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;

use crate::{
    error::{BoxError, Error},
    head::RequestHead,
    replay::head::HeadSummary,
    respond::{answer::Answer, body::AnswerBody},
};

pin_project! {
    /// The response of the inner service, or the answer to an error of the session.
    ///
    /// # Cancel safety
    ///
    /// See the inner service's future.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, A> {
        #[pin]
        future: F,
        answer: Arc<A>,
        request: HeadSummary,
    }
}

// === impl ResponseFuture ===

impl<F, A> ResponseFuture<F, A> {
    pub(super) fn new(future: F, answer: Arc<A>, request: HeadSummary) -> Self {
        Self { future, answer, request }
    }
}

impl<F, A, B, E> Future for ResponseFuture<F, A>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    A: Answer,
{
    type Output = Result<Response<AnswerBody<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(match ready!(this.future.poll(cx)) {
            Ok(response) => Ok(response.map(AnswerBody::inner)),
            Err(error) => error.into().downcast().map(|error: Box<Error>| {
                let request = RequestHead::restored(this.request);
                respond(&**this.answer, *error, &request)
            }),
        })
    }
}

impl<F, A> fmt::Debug for ResponseFuture<F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

fn respond<B>(
    answer: &impl Answer,
    error: Error,
    request: &RequestHead<'_>,
) -> Response<AnswerBody<B>> {
    let mut response = answer.answer(&error, request).map(AnswerBody::answer);
    response.extensions_mut().insert(error);
    response
}
