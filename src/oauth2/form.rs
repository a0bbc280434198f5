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
use zeroize::Zeroizing;

/// The body of a token request, with the refresh token and maybe the client's secret in it.
///
/// A client for it is any that takes it as a body: `hyper_util::client::legacy::Client<_, Form>`.
/// Its memory is wiped when the last copy is dropped, and `Debug` shows nothing.
///
/// It remembers whether somebody has asked for its content. If nobody has when the request fails,
/// the refresh has certainly not happened, and from then on the content is given to nobody.
#[derive(Clone)]
pub struct Form {
    content: Option<Bytes>,
    gate: Arc<AtomicU8>,
}

/// The request that this was the body of has been given up.
#[derive(Debug)]
pub struct GivenUp(());

/// Shuts the form when it is dropped, if nobody has asked for its content by then.
pub(super) struct Gate(Arc<AtomicU8>);

const CLOSED: u8 = 0;
const TAKEN: u8 = 1;
const SHUT: u8 = 2;

// === impl Form ===

impl Form {
    pub(super) fn new(content: Vec<u8>) -> (Self, Gate) {
        let gate = Arc::new(AtomicU8::new(CLOSED));
        let content = Some(Bytes::from_owner(Zeroizing::new(content)));
        (Self { content, gate: gate.clone() }, Gate(gate))
    }

    /// The whole content, for an HTTP client whose body is of another type. Whatever goes wrong
    /// afterwards may have been written.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::Request;
    /// use http_body_util::Full;
    /// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    /// use tower::ServiceBuilder;
    /// use tower_refresh::oauth2::Form;
    ///
    /// let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    /// let for_forms = ServiceBuilder::new()
    ///     .map_request(|request: Request<Form>| request.map(|form| Full::new(form.into_bytes())))
    ///     .service(client);
    /// # let url = "https://login.example.com/token".try_into().unwrap();
    /// # tower_refresh::oauth2::TokenEndpoint::new(for_forms, url, tower_refresh::oauth2::ClientAuth::public("me"));
    /// ```
    pub fn into_bytes(mut self) -> Bytes {
        if self.open() { self.content.take().unwrap_or_default() } else { Bytes::new() }
    }

    fn open(&self) -> bool {
        let found = self.gate.compare_exchange(CLOSED, TAKEN, SeqCst, SeqCst);
        found != Err(SHUT)
    }
}

impl Body for Form {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        if !self.open() {
            return Poll::Ready(self.content.take().map(|_| Err(GivenUp(()))));
        }
        Poll::Ready(self.content.take().map(|content| Ok(Frame::data(content))))
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.content.as_ref().map_or(0, |content| content.len() as u64))
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Form").finish_non_exhaustive()
    }
}

// === impl GivenUp ===

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the token request was given up before it was sent")
    }
}

impl error::Error for GivenUp {}

// === impl Gate ===

impl Gate {
    /// Whether nobody has the content, nor will ever get it.
    pub(super) fn shut(&self) -> bool {
        self.0.compare_exchange(CLOSED, SHUT, SeqCst, SeqCst) != Err(TAKEN)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shut();
    }
}
