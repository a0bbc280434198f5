use std::{
    error, fmt,
    future::poll_fn,
    mem,
    pin::pin,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, response};
use tokio::{runtime::Handle, time::sleep};

use crate::{
    error::BoxError,
    exchange::{page::is_page, retry_after::retry_after, transport::ResponseBody},
    replay::drain::Drain,
};

/// The answer of an auth server. `Debug` shows the status only.
///
/// Dropping it early closes an HTTP/1 connection.
pub struct Answer {
    head: response::Parts,
    /// The part of the body that [`is_page`](Self::is_page) has read.
    start: Vec<u8>,
    body: ResponseBody,
}

/// The body of an answer could not be read to its end.
#[derive(Debug)]
pub struct ReadError {
    status: StatusCode,
    kind: ReadErrorKind,
}

#[derive(Debug)]
enum ReadErrorKind {
    TooLong { limit: usize },
    Broken(BoxError),
}

/// The length of blank text after which a body is taken for no page.
const START: usize = 1024;
/// How long the start of a body is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

// === impl Answer ===

impl Answer {
    pub(super) fn new(response: Response<ResponseBody>) -> Self {
        let (head, body) = response.into_parts();
        Self { head, start: Vec::new(), body }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The time that a `Retry-After` header asks to wait. See [`retry_after`](fn@retry_after).
    pub fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        retry_after(&self.head.headers, now)
    }

    /// Appends the body to `content`, which gets at most `limit` bytes. An empty frame counts as a
    /// byte, so that a body of nothing else comes to an end.
    ///
    /// # Errors
    ///
    /// If the body is longer, or breaks off. `content` then has the part that has come.
    pub async fn read(&mut self, content: &mut Vec<u8>, limit: usize) -> Result<(), ReadError> {
        let status = self.head.status;
        let too_long = || ReadError { status, kind: ReadErrorKind::TooLong { limit } };
        // Room for the announced length, so that a secret is not copied when the buffer grows.
        content.reserve(
            usize::try_from(self.body.size_hint().lower()).map_or(limit, |n| n.min(limit)),
        );
        let start = mem::take(&mut self.start);
        let mut left = limit;
        if !start.is_empty() {
            left = take(content, &start, left).ok_or_else(too_long)?;
        }
        while let Some(data) = poll_fn(|cx| self.poll_data(cx)).await {
            let data =
                data.map_err(|error| ReadError { status, kind: ReadErrorKind::Broken(error) })?;
            left = take(content, &data, left).ok_or_else(too_long)?;
        }
        Ok(())
    }

    /// Whether the answer is a page for people, by [`is_page`](fn@is_page). The start of the body
    /// is waited for up to a second.
    pub async fn is_page(&mut self) -> bool {
        let has_time = Handle::try_current().is_ok();
        let mut patience = pin!(async move {
            if has_time {
                sleep(PATIENCE).await;
            }
        });
        let mut frames = 0;
        poll_fn(|cx| {
            let is_blank = |start: &[u8]| start.iter().all(u8::is_ascii_whitespace);
            // A limit for the frames, too, so that endless empty ones end.
            while is_blank(&self.start) && self.start.len().max(frames) < START {
                match self.poll_data(cx) {
                    Poll::Ready(Some(Ok(data))) => self.start.extend_from_slice(&data),
                    Poll::Ready(_) => break,
                    Poll::Pending => {
                        ready!(patience.as_mut().poll(cx));
                        break;
                    }
                }
                frames += 1;
            }
            Poll::Ready(())
        })
        .await;
        is_page(&self.head.headers, &self.start)
    }

    /// Reads the part of the body that has come by now, up to 64 KiB, and does not wait for more.
    /// If that was all, the connection can be used again.
    pub async fn skip(self) -> response::Parts {
        let mut drain = Drain::new(self.body);
        poll_fn(|cx| {
            let _ = drain.poll(cx);
            Poll::Ready(())
        })
        .await;
        self.head
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        loop {
            match ready!(self.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Poll::Ready(Some(Ok(data))),
                    Err(_trailers) => {}
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// Appends `data` as far as `left` allows, and returns what is then left.
fn take(content: &mut Vec<u8>, data: &[u8], left: usize) -> Option<usize> {
    content.extend_from_slice(&data[..data.len().min(left)]);
    left.checked_sub(data.len().max(1))
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.head.status).finish_non_exhaustive()
    }
}

// === impl ReadError ===

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the authorization server answered {}, ", self.status)?;
        match self.kind {
            ReadErrorKind::TooLong { limit } => write!(f, "with more than {limit} bytes"),
            ReadErrorKind::Broken(_) => f.write_str("and the answer broke off"),
        }
    }
}

impl error::Error for ReadError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.kind {
            ReadErrorKind::TooLong { .. } => None,
            ReadErrorKind::Broken(error) => Some(&**error),
        }
    }
}
