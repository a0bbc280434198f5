use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{
    HeaderMap, Response,
    header::{CONTENT_LENGTH, HeaderName},
    response::Parts,
};
use http_body::Body;
use pin_project_lite::pin_project;

use crate::grpc::{
    hold::Hold,
    response::ResponseBody,
    watch::{Watch, is_of_interest},
};

pin_project! {
    /// The response to a call, after a look at its first frame.
    ///
    /// # Cancel safety
    ///
    /// As the inner service's future.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, B: Body> {
        #[pin]
        stage: Stage<F, B>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<F, B: Body> {
        Calling { #[pin] future: F, watch: Option<Watch> },
        Peeking { response: Option<Response<ResponseBody<B>>>, hold: Hold },
    }
}

// === impl ResponseFuture ===

impl<F, B: Body> ResponseFuture<F, B> {
    pub(super) fn new(future: F, watch: Option<Watch>) -> Self {
        Self { stage: Stage::Calling { future, watch } }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body + Unpin,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.project().stage;
        loop {
            let next = match stage.as_mut().project() {
                // ## Calling => (Peeking | done)
                StageProj::Calling { future, watch } => {
                    let response = ready!(future.poll(cx))?;
                    let Some(watch) = watch.take().filter(|_| is_of_interest(&response)) else {
                        return Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, None))));
                    };
                    let response = response.map(|body| ResponseBody::new(body, Some(watch.stamp)));
                    Stage::Peeking { response: Some(response), hold: Hold::new(watch.grace) }
                }
                // ## Peeking => done
                StageProj::Peeking { response: taken, hold } => {
                    let response = taken.as_mut().expect("polled after its end");
                    let rejected = match response.body_mut().peek(cx) {
                        Poll::Ready(rejected) => rejected,
                        Poll::Pending => {
                            ready!(hold.poll(cx));
                            None
                        }
                    };
                    let response = taken.take().expect("it was there a moment ago");
                    return Poll::Ready(Ok(match rejected {
                        Some(trailers) => trailers_only(response.into_parts().0, trailers),
                        None => response,
                    }));
                }
            };
            stage.set(next);
        }
    }
}

impl<F, B: Body> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// The same answer in one piece, as gRPC allows where there is no message.
fn trailers_only<B: Body>(mut head: Parts, trailers: HeaderMap) -> Response<ResponseBody<B>> {
    head.headers.remove(CONTENT_LENGTH);
    let mut last: Option<HeaderName> = None;
    for (name, value) in trailers {
        last = name.or(last);
        if let Some(name) = &last {
            // Metadata of one name may be in both. Full maps can't get here: each had to fit its
            // own frame.
            let _ = head.headers.try_append(name, value);
        }
    }
    Response::from_parts(head, ResponseBody::over())
}
