use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame};

/// A body of given frames, which is not always ready.
#[derive(Clone, Debug, Default)]
pub struct Frames(VecDeque<Part>);

#[derive(Arbitrary, Clone, Debug, PartialEq)]
pub enum Part {
    Data(Vec<u8>),
    /// The body is pending once.
    Pause,
    /// The trailer `grpc-status` or another one, and its value. Ends the body.
    Trailer(bool, u8),
    Error,
}

// === impl Frames ===

impl Frames {
    pub fn new(parts: &[Part]) -> Self {
        Self(parts.iter().cloned().collect())
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let frame = match self.0.pop_front() {
            None => return Poll::Ready(None),
            Some(Part::Pause) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Part::Data(data)) => Ok(Frame::data(data.into())),
            Some(Part::Trailer(is_status, number)) => {
                self.0.clear();
                Ok(Frame::trailers(trailers(is_status, number)))
            }
            Some(Part::Error) => {
                self.0.clear();
                Err(io::ErrorKind::ConnectionReset.into())
            }
        };
        Poll::Ready(Some(frame))
    }
}

/// One trailer.
fn trailers(is_status: bool, number: u8) -> HeaderMap {
    let name = if is_status { "grpc-status" } else { "x-checksum" };
    HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from(u16::from(number)))])
}
