use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll, Waker},
};

use tower::Service;

/// Sends one request through a service, on this thread and without a runtime.
pub(crate) fn run<S: Service<R>, R>(service: &mut S, request: R) -> Result<S::Response, S::Error> {
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(ready) = service.poll_ready(&mut cx) else {
        panic!("the service is always ready")
    };
    ready?;
    finish(service.call(request))
}

/// Polls a future to its end, on this thread and without a runtime.
pub(crate) fn finish<F: Future>(future: F) -> F::Output {
    let mut cx = Context::from_waker(Waker::noop());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
}

/// Completes at its second poll.
pub(crate) async fn yield_once() {
    let mut polled = false;
    poll_fn(|cx| {
        if polled {
            return Poll::Ready(());
        }
        polled = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}
