use std::{
    error, fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::credential::Secret;

/// The body of a request to an auth server.
///
/// An HTTP client for it is any that takes it as a body:
/// `hyper_util::client::legacy::Client<_, RequestBody>`. A client for another body type needs a
/// [conversion](Self::into_bytes).
///
/// The body records whether the HTTP client has asked for its content. If the client has not when
/// the request fails, the request was not sent, and from then on the body gives its content to no
/// caller. An empty body counts as asked for when the client asks whether it is over, or drops it
/// while the request is under way.
///
/// A body made of a [`Secret`] or a `String` is wiped when the last copy is dropped, with the
/// feature `zeroize`. `Debug` does not show the content.
///
/// ```
/// use http::Request;
/// use tower_refresh::exchange::RequestBody;
///
/// let login = Request::post("https://app.example.com/login").body(RequestBody::from("user=ada"));
/// # assert!(login.is_ok());
/// ```
#[derive(Clone)]
pub struct RequestBody {
    /// `None` after the content was given out.
    content: Option<Bytes>,
    gate: Arc<AtomicU8>,
}

/// The request of this body was given up before it was sent.
#[derive(Debug)]
pub struct GivenUp(());

/// The sender's side of a [`RequestBody`]. Dropping it shuts the body, unless the content was given
/// out.
pub(super) struct Gate {
    state: Arc<AtomicU8>,
    is_empty: bool,
}

/// The memory of a secret, as the owner of [`Bytes`].
struct SecretContent(Secret);

/// The content was not asked for.
const CLOSED: u8 = 0;
/// The content was given out.
const TAKEN: u8 = 1;
/// The request was given up before the content was read, and the content stays closed.
const SHUT: u8 = 2;

// === impl RequestBody ===

impl RequestBody {
    /// The content, for an HTTP client whose body is of another type. Every failure after this call
    /// may have happened after the request was sent.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::Request;
    /// use http_body_util::Full;
    /// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    /// use tower::ServiceBuilder;
    /// use tower_refresh::exchange::{Exchange, RequestBody};
    ///
    /// let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    /// let client = ServiceBuilder::new()
    ///     .map_request(|request: Request<RequestBody>| request.map(|body| Full::new(body.into_bytes())))
    ///     .service(client);
    /// # Exchange::new(client);
    /// ```
    pub fn into_bytes(mut self) -> Bytes {
        if self.open() { self.content.take().unwrap_or_default() } else { Bytes::new() }
    }

    /// Puts the content behind a new gate.
    pub(super) fn gated(self) -> (Self, Gate) {
        let state = Arc::new(AtomicU8::new(CLOSED));
        let is_empty = self.content.as_ref().is_none_or(Bytes::is_empty);
        let body = Self { content: self.content, gate: state.clone() };
        (body, Gate { state, is_empty })
    }

    /// Records that the content is given out. `false` if the request was given up.
    ///
    /// One atomic decides between this call and [`Gate::shut`]: whichever comes first wins, so the
    /// content is never given out after the sender was told that it was not sent.
    fn open(&self) -> bool {
        let found = self.gate.compare_exchange(CLOSED, TAKEN, SeqCst, SeqCst);
        found != Err(SHUT)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        let is_open = self.open();
        let content = self.content.take();
        Poll::Ready(match content {
            Some(_) if !is_open => Some(Err(GivenUp(()))),
            Some(content) if !content.is_empty() => Some(Ok(Frame::data(content))),
            _ => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            // An HTTP client polls no body that is over: this question is all that it asks before
            // it sends the head.
            Some(content) if content.is_empty() => self.open(),
            Some(_) => false,
            None => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.content.as_ref().map_or(0, |content| content.len() as u64))
    }
}

impl Default for RequestBody {
    /// An empty body.
    fn default() -> Self {
        Self::from(Bytes::new())
    }
}

impl From<Bytes> for RequestBody {
    fn from(content: Bytes) -> Self {
        Self { content: Some(content), gate: Arc::default() }
    }
}

impl From<Secret> for RequestBody {
    fn from(content: Secret) -> Self {
        Self::from(Bytes::from_owner(SecretContent(content)))
    }
}

impl From<String> for RequestBody {
    fn from(content: String) -> Self {
        Self::from(Secret::from(content))
    }
}

impl From<&'static str> for RequestBody {
    fn from(content: &'static str) -> Self {
        Self::from(Bytes::from_static(content.as_bytes()))
    }
}

impl From<Vec<u8>> for RequestBody {
    fn from(content: Vec<u8>) -> Self {
        Self::from(Bytes::from(content))
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}

// === impl GivenUp ===

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was given up before it was sent")
    }
}

impl error::Error for GivenUp {}

// === impl Gate ===

impl Gate {
    /// Whether the content was not given out, nor will be.
    pub(super) fn shut(&self) -> bool {
        self.state.compare_exchange(CLOSED, SHUT, SeqCst, SeqCst) != Err(TAKEN)
    }

    /// Called while the request is under way. A client that has dropped an empty body by now may
    /// have sent the head with another one.
    pub(super) fn check_dropped(&self) {
        if self.is_empty && Arc::strong_count(&self.state) == 1 {
            let _ = self.state.compare_exchange(CLOSED, TAKEN, SeqCst, SeqCst);
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shut();
    }
}

// === impl SecretContent ===

impl AsRef<[u8]> for SecretContent {
    fn as_ref(&self) -> &[u8] {
        self.0.expose().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn poll(body: &mut RequestBody) -> Option<Result<Bytes, GivenUp>> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(body).poll_frame(&mut cx) {
            Poll::Ready(frame) => frame.map(|frame| frame.map(|frame| frame.into_data().unwrap())),
            Poll::Pending => unreachable!("the content is there"),
        }
    }

    #[test]
    fn a_body_that_was_read_counts_as_sent() {
        let (mut body, gate) = RequestBody::from("a=b").gated();
        assert!(!body.is_end_stream() && body.size_hint().exact() == Some(3));
        assert_eq!(poll(&mut body).unwrap().unwrap(), "a=b");
        assert!(poll(&mut body).is_none() && body.is_end_stream());
        assert!(!gate.shut());
    }

    #[test]
    fn a_shut_body_gives_an_error_instead_of_its_content() {
        for content in ["", "a=b"] {
            let (mut body, gate) = RequestBody::from(content).gated();
            assert!(gate.shut());
            assert!(!body.is_end_stream());
            assert!(body.clone().into_bytes().is_empty());
            assert!(poll(&mut body).unwrap().is_err());
        }
    }

    #[test]
    fn an_empty_body_counts_as_sent_when_its_end_was_asked_for_or_when_it_was_dropped() {
        let (body, gate) = RequestBody::default().gated();
        assert!(body.is_end_stream());
        assert!(!gate.shut());

        let (body, gate) = RequestBody::default().gated();
        gate.check_dropped();
        let clone = body.clone();
        drop(body);
        gate.check_dropped();
        assert!(gate.state.load(SeqCst) == CLOSED, "a copy is left");
        drop(clone);
        gate.check_dropped();
        assert!(!gate.shut());

        let (body, gate) = RequestBody::from("a=b").gated();
        drop(body);
        gate.check_dropped();
        assert!(gate.shut(), "the content is gone");
    }

    #[test]
    fn a_body_is_gated_anew_for_each_request() {
        let body = RequestBody::from("a=b");
        let (first, _) = body.clone().gated();
        assert_eq!(first.into_bytes(), "");
        let (second, gate) = body.gated();
        assert_eq!(second.into_bytes(), "a=b");
        assert!(!gate.shut());
    }
}
