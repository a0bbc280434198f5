use std::{future::poll_fn, time::Duration};

use reqwest::{Request, RequestBuilder, Response, Url};
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

use crate::{
    error::BoxError,
    middleware::extension::Anonymous,
    reqwest::{
        attempt::Deadline,
        error::{SendError, SendErrorKind},
        redirect::{Hop, HopCopy},
    },
};

/// Sends the request of a [`RequestBuilder`] through a stack of layers.
///
/// See the [module docs](crate::reqwest) for examples.
pub trait SendThrough: Sized {
    /// Sends the request through `stack`, a [`ClientService`](crate::reqwest::ClientService) with
    /// layers around it, and waits for the head of the response.
    ///
    /// The time-out of the request bounds all of its attempts, its redirects, the wait for a
    /// refresh, and the body of the response.
    ///
    /// # Errors
    ///
    /// A [`BoxError`] that is one of these:
    ///
    /// - a [`reqwest::Error`] of an attempt, with its URL
    /// - an [`Error`](crate::Error) of the session
    /// - a [`SendError`], if the request timed out in between or was redirected too often
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time. A refresh that it has started continues.
    fn send_through<S, B>(
        self,
        stack: &S,
    ) -> impl Future<Output = Result<Response, BoxError>> + Send
    where
        S: Service<http::Request<reqwest::Body>, Response = http::Response<B>> + Clone + Send,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Into<reqwest::Body> + Send;
}

/// The time that reqwest's own timer gets to end an attempt. Its error has the URL.
const OWN_TIMER: Duration = Duration::from_millis(10);

/// Sends a request by its deadline, and follows redirects that its client leaves to the caller.
pub(super) async fn send<S, B>(mut stack: S, request: Request) -> Result<Response, BoxError>
where
    S: Service<http::Request<reqwest::Body>, Response = http::Response<B>>,
    S::Error: Into<BoxError>,
    B: Into<reqwest::Body>,
{
    let deadline = request.timeout().and_then(|limit| Instant::now().checked_add(*limit));
    let Some(deadline) = deadline else {
        return follow(&mut stack, request, None).await;
    };
    let url = request.url().clone();
    let sending = follow(&mut stack, request, Some(deadline));
    // An attempt in progress ends by reqwest's timer. This one ends the wait for a refresh.
    match timeout_at(deadline + OWN_TIMER, sending).await {
        Ok(result) => result,
        Err(_) => Err(SendError::new(SendErrorKind::TimedOut, url).into()),
    }
}

async fn follow<S, B>(
    stack: &mut S,
    mut request: Request,
    deadline: Option<Instant>,
) -> Result<Response, BoxError>
where
    S: Service<http::Request<reqwest::Body>, Response = http::Response<B>>,
    S::Error: Into<BoxError>,
    B: Into<reqwest::Body>,
{
    let mut followed = 0;
    let mut is_anonymous = false;
    loop {
        let url = request.url().clone();
        let copy = HopCopy::of(&mut request);
        let mut hop = http::Request::try_from(request)?;
        if let Some(deadline) = deadline {
            hop.extensions_mut().insert(Deadline(deadline));
        }
        if is_anonymous {
            hop.extensions_mut().insert(Anonymous);
        }
        poll_fn(|cx| stack.poll_ready(cx)).await.map_err(Into::into)?;
        let mut response = stack.call(hop).await.map_err(Into::into)?;
        let hop = response.extensions_mut().remove::<Hop>();
        let response = Response::from(response);
        // A client without a `Hop` follows redirects itself, and has come to its last one.
        let Some(hop) = hop.filter(|hop| hop.max_redirects > 0) else { return Ok(response) };
        let Some(next) = copy.redirected(&response)? else { return Ok(response) };
        if followed == hop.max_redirects {
            return Err(too_many(url));
        }
        request = next;
        followed += 1;
        // A redirect to another origin drops the caller's credential. The session's must not take
        // its place.
        is_anonymous |= hop.has_own_credential;
    }
}

fn too_many(url: Url) -> BoxError {
    SendError::new(SendErrorKind::TooManyRedirects, url).into()
}

// === impl SendThrough ===

impl SendThrough for RequestBuilder {
    fn send_through<S, B>(
        self,
        stack: &S,
    ) -> impl Future<Output = Result<Response, BoxError>> + Send
    where
        S: Service<http::Request<reqwest::Body>, Response = http::Response<B>> + Clone + Send,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Into<reqwest::Body> + Send,
    {
        let stack = stack.clone();
        async move { send(stack, self.build()?).await }
    }
}
