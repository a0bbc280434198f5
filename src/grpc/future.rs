use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{
    Response,
    header::{CONTENT_LENGTH, HeaderName},
    response::Parts,
};
use http_body::Body;
use pin_project_lite::pin_project;

use crate::{
    detect::Verdict,
    grpc::{
        response::{PeekedTrailers, ResponseBody},
        timer::PeekTimer,
        tracking::{GracePeriod, TrackedCall, awaits_status},
    },
    middleware::extension::Rejected,
};

pin_project! {
    /// The response to a call, once its first frame has been looked at.
    ///
    /// # Cancel safety
    ///
    /// See the inner service's future.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, B: Body> {
        #[pin]
        state: CallState<F, B>,
    }
}

pin_project! {
    #[project = CallStateProj]
    enum CallState<F, B: Body> {
        Calling { #[pin] future: F, call: Option<(TrackedCall, GracePeriod)> },
        Peeking { response: Option<Response<ResponseBody<B>>>, timer: PeekTimer },
    }
}

// === impl ResponseFuture ===

impl<F, B: Body> ResponseFuture<F, B> {
    pub(super) fn new(future: F, call: Option<(TrackedCall, GracePeriod)>) -> Self {
        Self { state: CallState::Calling { future, call } }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body + Unpin,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                // ## Calling => (Peeking | done)
                //
                // The response passes at once if the call is not the session's, if its head has
                // a status, or if it is no gRPC response.
                CallStateProj::Calling { future, call } => {
                    let response = ready!(future.poll(cx))?;
                    let call = call.take().filter(|_| awaits_status(&response));
                    let status = response.status();
                    let Some((call, grace)) = call else {
                        return Poll::Ready(Ok(response.map(ResponseBody::untracked)));
                    };
                    let response = response.map(|body| ResponseBody::tracked(body, status, call));
                    CallState::Peeking { response: Some(response), timer: PeekTimer::new(grace) }
                }
                // ## Peeking => done
                //
                // The head is held until the first frame or the timer. Trailers that reject the
                // credential become part of the head, where the layer above replays the call. For
                // trailers that come after the timer it is too late: `ResponseBody` reports them,
                // and the caller gets them.
                CallStateProj::Peeking { response: taken, timer } => {
                    let response = taken.as_mut().expect("polled after its end");
                    let peeked = match response.body_mut().peek(cx) {
                        Poll::Ready(peeked) => peeked,
                        Poll::Pending => {
                            ready!(timer.poll(cx));
                            None
                        }
                    };
                    let response = taken.take().expect("peeking has a response");
                    return Poll::Ready(Ok(match peeked {
                        Some(trailers) => trailers_only(response.into_parts().0, trailers),
                        None => response,
                    }));
                }
            };
            state.set(next);
        }
    }
}

impl<F, B: Body> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// A response without a message as gRPC's `Trailers-Only`: head and trailers in one.
fn trailers_only<B: Body>(
    mut head: Parts,
    PeekedTrailers { trailers, verdict }: PeekedTrailers,
) -> Response<ResponseBody<B>> {
    if verdict == Verdict::Rejected {
        // The detector of the layer above may be another one.
        head.extensions.insert(Rejected);
    }
    head.headers.remove(CONTENT_LENGTH);
    let mut last: Option<HeaderName> = None;
    for (name, value) in trailers {
        last = name.or(last);
        if let Some(name) = &last {
            // Appended, since head and trailers may have metadata of the same name. It can't fail:
            // both maps together have fewer headers than a map may have, as each fit one frame.
            let _ = head.headers.try_append(name, value);
        }
    }
    Response::from_parts(head, ResponseBody::ended())
}
