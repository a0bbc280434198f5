use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tower_refresh::Token;

pub(crate) const TOKEN: &str =
    "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJiZW5jaCJ9.c2lnbmF0dXJl";

const URI: &str = "https://api.example.com/v1/items?page=2";

/// A number of headers with custom names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Head {
    /// Each name and value has a buffer of its own, as in a client.
    Own(usize),
    /// The values are slices of one buffer, as in a proxy whose server parsed them.
    Parsed(usize),
}

/// A body that arrives over time. It is pending at the first poll, and then yields its chunks.
pub(crate) struct Trickle {
    chunk: Bytes,
    left: usize,
    waited: bool,
}

pub(crate) fn token() -> Token {
    Token::bearer(TOKEN).expect("visible ASCII")
}

/// A body in a new buffer with a single handle.
pub(crate) fn full(len: usize) -> Full<Bytes> {
    Full::new(Bytes::from(vec![b'x'; len]))
}

pub(crate) fn boxed(chunks: usize, len: usize) -> UnsyncBoxBody<Bytes, Infallible> {
    Trickle { chunk: Bytes::from(vec![b'x'; len]), left: chunks, waited: false }.boxed_unsync()
}

// === impl Head ===

impl Head {
    pub(crate) fn request<B>(self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.uri_mut() = URI.parse().expect("an absolute URI");
        *request.headers_mut() = self.headers();
        request
    }

    fn headers(self) -> HeaderMap {
        match self {
            Self::Own(count) => {
                let value = |n| HeaderValue::from_str(&text(n)).expect("visible ASCII");
                (0..count).map(|n| (name(n), value(n))).collect()
            }
            Self::Parsed(count) => {
                let mut buffer = BytesMut::new();
                for n in 0..count {
                    buffer.extend_from_slice(text(n).as_bytes());
                }
                let mut buffer = buffer.freeze();
                let mut value = |n| {
                    let slice = buffer.split_to(text(n).len());
                    HeaderValue::from_maybe_shared(slice).expect("visible ASCII")
                };
                (0..count).map(|n| (name(n), value(n))).collect()
            }
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(count) => write!(f, "{count}"),
            Self::Parsed(count) => write!(f, "{count}_parsed"),
        }
    }
}

fn name(n: usize) -> HeaderName {
    HeaderName::try_from(format!("x-custom-header-{n:02}")).expect("lower case")
}

fn text(n: usize) -> String {
    format!("the value of header number {n:02}")
}

// === impl Trickle ===

impl Body for Trickle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.waited {
            self.waited = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = left;
        Poll::Ready(Some(Ok(Frame::data(self.chunk.clone()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        // A streamed body usually has no known length.
        SizeHint::default()
    }
}
