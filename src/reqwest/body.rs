use std::{
    any::Any,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{error::BoxError, replay::ReplayBody};

/// A body that is `Sync`, which reqwest asks for. No thread ever waits for the mutex, since a body
/// has one owner at a time.
struct SyncBody<B>(Mutex<B>);

/// The body of a request as reqwest takes it.
///
/// A body that is there whole is handed over as bytes, without a copy, so that reqwest and layers
/// below can send it again. A body whose length the caller did not state stays a stream: its bytes
/// would get a `content-length` that the caller's request would not have. A body of reqwest that
/// the layer leaves as it is, since the request passes or is not replayed, is handed over itself.
pub(super) fn replayed<B>(body: ReplayBody<B>) -> reqwest::Body
where
    B: Body + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    let body = match body.size_hint().exact() {
        Some(_) => body.try_into_bytes(),
        None => Err(body),
    };
    let body = match body {
        Ok(bytes) => return bytes.into(),
        Err(body) => body,
    };
    match body.try_into_inner().map(own_body) {
        Ok(Ok(body)) => body,
        Ok(Err(body)) => streamed(ReplayBody::passthrough(body)),
        Err(body) => streamed(body),
    }
}

/// The body itself, if its type is that of reqwest.
fn own_body<B: 'static>(body: B) -> Result<reqwest::Body, B> {
    let mut body = Some(body);
    let own = (&mut body as &mut dyn Any).downcast_mut::<Option<reqwest::Body>>();
    match own.and_then(Option::take) {
        Some(own) => Ok(own),
        None => Err(body.expect("a body of another type was not taken")),
    }
}

/// A body that reqwest polls as it sends it.
pub(super) fn streamed<B>(body: B) -> reqwest::Body
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    reqwest::Body::wrap(SyncBody(Mutex::new(body)))
}

// === impl SyncBody ===

impl<B> Body for SyncBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let body = self.get_mut().0.get_mut().unwrap_or_else(PoisonError::into_inner);
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;
    use crate::replay::ReplayBody;

    fn recorded<B>(body: B) -> ReplayBody<B>
    where
        B: Body + Unpin,
        B::Error: Into<BoxError>,
    {
        ReplayBody::recording(body, 1024, || true).0
    }

    #[test]
    fn a_whole_body_is_handed_over_without_a_copy() {
        let bytes = Bytes::from(vec![7; 100]);
        let handed = replayed(recorded(Full::new(bytes.clone())));
        assert_eq!(handed.as_bytes().map(<[u8]>::as_ptr), Some(bytes.as_ptr()));
        assert_eq!(replayed(recorded(Full::<Bytes>::default())).as_bytes(), Some(&[][..]));
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_stays_a_stream() {
        struct Unsized(Full<Bytes>);

        impl Body for Unsized {
            type Data = Bytes;
            type Error = std::convert::Infallible;

            fn poll_frame(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
                Pin::new(&mut self.0).poll_frame(cx)
            }
        }

        let handed = replayed(recorded(Unsized(Full::new("a body".into()))));
        assert_eq!((handed.as_bytes(), handed.size_hint().exact()), (None, None));
        assert_eq!(handed.collect().await.unwrap().to_bytes(), "a body");
    }
}
