use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response, header::SET_COOKIE};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

/// Removes the `Set-Cookie` headers of all responses, so that the callers of a proxy do not get the
/// cookies of its session.
///
/// The layer goes around the [`RefreshLayer`](crate::RefreshLayer), whose jar has then taken the
/// cookies.
///
/// ```
/// use std::convert::Infallible;
/// use http::{Request, Response, header::SET_COOKIE};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_refresh::cookies::StripSetCookieLayer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower::BoxError> {
/// let upstream = service_fn(|_: Request<()>| async {
///     let response = Response::builder().header(SET_COOKIE, "sid=31d4d96e").body(());
///     Ok::<_, Infallible>(response.unwrap())
/// });
/// let proxy = StripSetCookieLayer::new().layer(upstream);
/// let response = proxy.oneshot(Request::new(())).await?;
/// assert!(!response.headers().contains_key(SET_COOKIE));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StripSetCookieLayer(());

/// The service of a [`StripSetCookieLayer`].
#[derive(Clone, Copy, Debug)]
pub struct StripSetCookie<S> {
    inner: S,
}

pin_project! {
    /// The response future of a [`StripSetCookie`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct StripFuture<F> {
        #[pin]
        response: F,
    }
}

// === impl StripSetCookieLayer ===

impl StripSetCookieLayer {
    /// The layer.
    pub const fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for StripSetCookieLayer {
    type Service = StripSetCookie<S>;

    fn layer(&self, inner: S) -> StripSetCookie<S> {
        StripSetCookie { inner }
    }
}

// === impl StripSetCookie ===

impl<S> StripSetCookie<S> {
    /// A reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// A mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B, ResBody> Service<Request<B>> for StripSetCookie<S>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = StripFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> StripFuture<S::Future> {
        StripFuture { response: self.inner.call(request) }
    }
}

// === impl StripFuture ===

impl<F, B, E> Future for StripFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut response = ready!(self.project().response.poll(cx))?;
        response.headers_mut().remove(SET_COOKIE);
        Poll::Ready(Ok(response))
    }
}
