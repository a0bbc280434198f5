use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{
    error::BoxError,
    replay::{
        hint::{Framing, RemainingHint},
        source::{NextFrame, poll_bytes},
        streaming::Streaming,
    },
};

/// The body of a request that can be sent a second time if its credential is rejected.
///
/// The inner service of a [`Refresh`](crate::Refresh) receives its requests with this body. It
/// yields the frames of the caller's body `B`. Data is converted to [`Bytes`], and errors are boxed
/// without a wrapper of this crate. `B` need not be `Clone` or `Sync`.
///
/// A body that yields all of its frames without waiting (bytes, JSON, a unary gRPC message) is read
/// before it is sent. A body that arrives over time is sent as it arrives, and recorded for a
/// replay up to the layer's [replay limit](crate::RefreshLayer::replay_limit) and 1024 frames. If a
/// replay takes over an upload in progress, the body of the first attempt ends with an error.
///
/// The size hint is that of `B`, less the data that was sent. Neither attempt gets a
/// `content-length` that a request with `B` itself would not have (RFC 9110 §8.6).
///
/// # Examples
///
/// A client that takes one type of body gets the body boxed, below the layer:
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, Full};
/// use tower::Layer;
/// use tower_http::map_request_body::MapRequestBodyLayer;
/// use tower_refresh::{Origin, RefreshLayer, ReplayBody, Session};
///
/// # fn f<S: Clone>(session: Session, client: S) {
/// let boxed = MapRequestBodyLayer::new(|body: ReplayBody<Full<Bytes>>| body.boxed_unsync());
/// let client = RefreshLayer::new(session, Origin::from_static("https://api.example.com"))
///     .layer(boxed.layer(client));
/// # drop(client); }
/// ```
pub struct ReplayBody<B>(BodyState<B>);

// Boxed except for the variant without content: a client moves a request many times, and its body
// with it.
/// The frames that a body has yet to yield, by where they come from.
enum BodyState<B> {
    /// The caller's body, sent once.
    Passthrough(Box<Passthrough<B>>),
    /// No frame is left.
    Ended(Framing),
    /// One frame of data, read before it is sent: nearly every body.
    Single(Box<SingleFrame>),
    Streaming(Box<Streaming<B>>),
}

/// A body that consists of one frame of data.
#[derive(Clone)]
pub(super) struct SingleFrame {
    pub(super) data: Bytes,
    pub(super) framing: Framing,
}

/// A body that is sent once, and whether it has ended.
struct Passthrough<B> {
    body: B,
    progress: Progress,
}

/// The progress of a body that is sent once.
enum Progress {
    Open,
    Ended,
    Failed,
}

// === impl ReplayBody ===

impl<B> ReplayBody<B> {
    /// The body of a request that is never replayed.
    pub(crate) fn passthrough(body: B) -> Self {
        let passthrough = Passthrough { body, progress: Progress::Open };
        Self(BodyState::Passthrough(Box::new(passthrough)))
    }

    pub(super) fn ended(framing: Framing) -> Self {
        Self(BodyState::Ended(framing))
    }

    pub(super) fn single(frame: SingleFrame) -> Self {
        Self(BodyState::Single(Box::new(frame)))
    }

    pub(super) fn streaming(streaming: Streaming<B>) -> Self {
        Self(BodyState::Streaming(Box::new(streaming)))
    }
}

impl<B: Body> ReplayBody<B> {
    /// A copy that shares the memory of the frames, if every frame that is still to be sent has
    /// been read from the caller's body.
    ///
    /// That is so for bodies that yield all of their frames without waiting, and for empty ones.
    /// `None` while an upload is in progress, and for a body that is not kept for a replay: it is
    /// marked [`NoReplay`](crate::extension::NoReplay), belongs to a request that passes the layer
    /// untouched, or exceeds the [replay limit](crate::RefreshLayer::replay_limit).
    ///
    /// A [`Retry`](https://docs.rs/tower/latest/tower/retry/index.html) below the layer sends a
    /// request again when the connection fails, and this is how its policy clones the request:
    ///
    /// ```
    /// use http::{Request, Response};
    /// use http_body::Body;
    /// use std::future::{Ready, ready};
    /// use tower::{BoxError, retry::Policy};
    /// use tower_refresh::ReplayBody;
    ///
    /// /// Sends an idempotent request once more if it got no response.
    /// #[derive(Clone)]
    /// struct Reconnect {
    ///     attempts_left: usize,
    /// }
    ///
    /// impl<B: Body, R> Policy<Request<ReplayBody<B>>, Response<R>, BoxError> for Reconnect {
    ///     type Future = Ready<()>;
    ///
    ///     fn retry(
    ///         &mut self,
    ///         request: &mut Request<ReplayBody<B>>,
    ///         result: &mut Result<Response<R>, BoxError>,
    ///     ) -> Option<Ready<()>> {
    ///         let may_retry = result.is_err() && request.method().is_idempotent();
    ///         self.attempts_left = self.attempts_left.checked_sub(1).filter(|_| may_retry)?;
    ///         Some(ready(()))
    ///     }
    ///
    ///     fn clone_request(
    ///         &mut self,
    ///         request: &Request<ReplayBody<B>>,
    ///     ) -> Option<Request<ReplayBody<B>>> {
    ///         let mut clone = Request::new(request.body().try_clone()?);
    ///         *clone.method_mut() = request.method().clone();
    ///         *clone.uri_mut() = request.uri().clone();
    ///         *clone.version_mut() = request.version();
    ///         *clone.headers_mut() = request.headers().clone();
    ///         *clone.extensions_mut() = request.extensions().clone();
    ///         Some(clone)
    ///     }
    /// }
    /// ```
    pub fn try_clone(&self) -> Option<Self> {
        match &self.0 {
            BodyState::Passthrough(passthrough) => passthrough.try_clone_ended(),
            BodyState::Ended(framing) => Some(Self::ended(*framing)),
            BodyState::Single(frame) => Some(Self::single((**frame).clone())),
            BodyState::Streaming(streaming) => streaming.try_clone().map(Self::streaming),
        }
    }

    /// The data of the body in one piece, if all that is still to be sent is data and has been read
    /// from the caller's body. Otherwise the body as it was.
    ///
    /// Nothing is copied unless the body consists of several frames. A client whose own body type
    /// knows its length and can be sent again, such as `reqwest::Body`, is best given the bytes:
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http_body_util::{BodyExt, Either, Full, combinators::UnsyncBoxBody};
    /// use tower_refresh::{BoxError, ReplayBody};
    ///
    /// type ClientBody = Either<Full<Bytes>, UnsyncBoxBody<Bytes, BoxError>>;
    ///
    /// fn client_body(body: ReplayBody<Full<Bytes>>) -> ClientBody {
    ///     match body.try_into_bytes() {
    ///         Ok(bytes) => Either::Left(Full::new(bytes)),
    ///         Err(streaming) => Either::Right(streaming.boxed_unsync()),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The body itself, in the cases in which [`try_clone`](Self::try_clone) returns `None`, and
    /// where it has trailers.
    pub fn try_into_bytes(self) -> Result<Bytes, Self> {
        match self.0 {
            BodyState::Passthrough(passthrough) if passthrough.is_end_stream() => Ok(Bytes::new()),
            BodyState::Ended(_) => Ok(Bytes::new()),
            BodyState::Single(frame) => Ok(frame.data),
            BodyState::Streaming(streaming) if streaming.is_data_at_hand() => {
                Ok(streaming.into_data())
            }
            state => Err(Self(state)),
        }
    }

    /// The caller's body, if the layer does not read it. Otherwise the body as it was.
    ///
    /// The layer does not read the body of a request that passes untouched or is marked
    /// [`NoReplay`](crate::extension::NoReplay), nor one whose size hint exceeds the
    /// [replay limit](crate::RefreshLayer::replay_limit). A client that can send bodies of the
    /// caller's type again, such as reqwest, is best given that body:
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http_body_util::{BodyExt, Either, Full, combinators::UnsyncBoxBody};
    /// use tower_refresh::{BoxError, ReplayBody};
    ///
    /// type ClientBody = Either<Full<Bytes>, UnsyncBoxBody<Bytes, BoxError>>;
    ///
    /// fn client_body(body: ReplayBody<Full<Bytes>>) -> ClientBody {
    ///     match body.try_into_bytes().map(Full::new).or_else(ReplayBody::try_into_inner) {
    ///         Ok(whole) => Either::Left(whole),
    ///         Err(streaming) => Either::Right(streaming.boxed_unsync()),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The body itself, if the layer has read some of it, or all of it was sent or has failed.
    pub fn try_into_inner(self) -> Result<B, Self> {
        match self.0 {
            BodyState::Passthrough(passthrough)
                if matches!(passthrough.progress, Progress::Open) =>
            {
                Ok(passthrough.body)
            }
            state => Err(Self(state)),
        }
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let state = &mut self.get_mut().0;
        match state {
            BodyState::Passthrough(passthrough) => passthrough.poll_frame(cx),
            BodyState::Ended(_) => Poll::Ready(None),
            BodyState::Single(single) => {
                let SingleFrame { data, framing } = &mut **single;
                let frame = Frame::data(mem::take(data));
                *state = BodyState::Ended(*framing);
                Poll::Ready(Some(Ok(frame)))
            }
            BodyState::Streaming(streaming) => streaming.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodyState::Passthrough(passthrough) => passthrough.is_end_stream(),
            BodyState::Ended(_) => true,
            BodyState::Single(_) => false,
            BodyState::Streaming(streaming) => streaming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            BodyState::Passthrough(passthrough) => passthrough.body.size_hint(),
            BodyState::Ended(framing) => framing.hint(0),
            BodyState::Single(single) => single.framing.hint(single.data.len()),
            BodyState::Streaming(streaming) => streaming.size_hint(),
        }
    }
}

impl<B: Default> Default for ReplayBody<B> {
    fn default() -> Self {
        Self::passthrough(B::default())
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A body may hold a password.
        f.debug_struct("ReplayBody").finish_non_exhaustive()
    }
}

// === impl Passthrough ===

impl<B: Body> Passthrough<B> {
    fn is_end_stream(&self) -> bool {
        match self.progress {
            Progress::Open => self.body.is_end_stream(),
            Progress::Ended => true,
            // A failed body never reports a clean end.
            Progress::Failed => false,
        }
    }

    fn try_clone_ended(&self) -> Option<ReplayBody<B>> {
        if !self.is_end_stream() {
            return None;
        }
        let hint = self.body.size_hint();
        Some(match Framing::of(&hint, 0) {
            Some(framing) => ReplayBody::ended(framing),
            None => ReplayBody::streaming(Streaming::ended(RemainingHint::new(hint))),
        })
    }
}

impl<B> Passthrough<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        if !matches!(self.progress, Progress::Open) {
            return Poll::Ready(None);
        }
        let next = ready!(poll_bytes(&mut self.body, cx));
        match &next {
            Some(Ok(_)) => {}
            Some(Err(_)) => self.progress = Progress::Failed,
            None => self.progress = Progress::Ended,
        }
        Poll::Ready(next)
    }
}
