use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll, Waker},
};
use tower::Service;

/// One request through a service, on this thread and without a runtime.
pub(crate) fn run<S: Service<R>, R>(service: &mut S, request: R) -> Result<S::Response, S::Error> {
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(ready) = service.poll_ready(&mut cx) else { panic!("a service that is always ready") };
    ready?;
    let mut future = pin!(service.call(request));
    loop {
        if let Poll::Ready(response) = future.as_mut().poll(&mut cx) {
            return response;
        }
    }
}

/// Is over at its second poll.
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
