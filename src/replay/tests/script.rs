use std::{
    cell::Cell,
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use crate::{error::BoxError, replay::ReplayBody};

/// The result of one poll of a scripted body.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    Data(Bytes),
    Trailers(HeaderMap),
    /// `Pending`, without a wake-up.
    Wait,
    /// `Pending`, with a wake-up at once.
    Yield,
    /// `Pending`, without a wake-up, until the gate is opened.
    Gate,
    Fail,
    Panic,
}

/// A body that follows a script, `Send` and not `Sync`. It panics when it is polled after its end.
pub(super) struct Script {
    acts: VecDeque<Act>,
    hint: SizeHint,
    /// Whether `is_end_stream` is true right after the last frame.
    is_frank: bool,
    is_done: bool,
    watch: Arc<ScriptProgress>,
    _not_sync: Cell<()>,
}

/// A view of the progress of a script.
#[derive(Debug, Default)]
pub(super) struct ScriptProgress {
    acts: AtomicUsize,
    polls: AtomicUsize,
    is_over: AtomicBool,
    is_dropped: AtomicBool,
    is_open: AtomicBool,
}

#[derive(Debug)]
pub(super) struct ScriptError;

/// The result of polling an attempt, in a form that can be compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Got {
    Data(Bytes),
    Trailers(HeaderMap),
    Waits,
    End,
    Failed(String),
}

pub(super) fn data(text: &'static str) -> Act {
    Act::Data(Bytes::from_static(text.as_bytes()))
}

/// Trailers that weigh twelve bytes.
pub(super) fn trailers() -> Act {
    let mut map = HeaderMap::new();
    map.insert("checksum", HeaderValue::from_static("beef"));
    Act::Trailers(map)
}

/// Polls once, with a waker that does nothing.
pub(super) fn poll<B>(body: &mut ReplayBody<B>) -> Got
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    poll_with(body, &mut Context::from_waker(std::task::Waker::noop()))
}

pub(super) fn poll_with<B>(body: &mut ReplayBody<B>, cx: &mut Context<'_>) -> Got
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    match Pin::new(body).poll_frame(cx) {
        Poll::Pending => Got::Waits,
        Poll::Ready(None) => Got::End,
        Poll::Ready(Some(Err(error))) => Got::Failed(error.to_string()),
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) => Got::Data(data),
            Err(frame) => {
                Got::Trailers(frame.into_trailers().expect("a frame is data or trailers"))
            }
        },
    }
}

/// All results of an attempt until its end. Asserts that it ends only once.
pub(super) fn drain<B>(body: &mut ReplayBody<B>) -> Vec<Got>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    let mut all = Vec::new();
    loop {
        let was_over = body.is_end_stream();
        let got = poll(body);
        assert!(!was_over || got == Got::End, "yielded after is_end_stream was true: {got:?}");
        match got {
            Got::Waits => {}
            Got::End | Got::Failed(_) => {
                all.push(got);
                assert_eq!(poll(body), Got::End, "yielded after its end");
                return all;
            }
            got => all.push(got),
        }
    }
}

/// The results of a script, as [`drain`] lists them.
pub(super) fn all(acts: &[Act]) -> Vec<Got> {
    let mut all = Vec::new();
    for act in acts {
        match act {
            Act::Data(data) => all.push(Got::Data(data.clone())),
            Act::Trailers(map) => all.push(Got::Trailers(map.clone())),
            Act::Wait | Act::Yield | Act::Gate => {}
            Act::Fail => {
                all.push(Got::Failed(ScriptError.to_string()));
                return all;
            }
            Act::Panic => return all,
        }
    }
    all.push(Got::End);
    all
}

pub(super) fn taken_over() -> Got {
    Got::Failed("upload was taken over by the replay".to_owned())
}

// === impl Script ===

impl Script {
    /// A body without a size hint, whose `is_end_stream` is false until it is polled.
    pub(super) fn new(acts: impl Into<VecDeque<Act>>) -> Self {
        let watch = Arc::default();
        let acts = acts.into();
        let hint = SizeHint::new();
        Self { acts, hint, is_frank: false, is_done: false, watch, _not_sync: Cell::new(()) }
    }

    pub(super) fn frank(mut self) -> Self {
        let is_over = self.acts.is_empty();
        self.watch.is_over.store(is_over, Ordering::SeqCst);
        self.is_frank = true;
        self
    }

    pub(super) fn hint(mut self, lower: u64, upper: Option<u64>) -> Self {
        self.hint.set_lower(lower);
        if let Some(upper) = upper {
            self.hint.set_upper(upper);
        }
        self
    }

    pub(super) fn watch(&self) -> Arc<ScriptProgress> {
        self.watch.clone()
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = ScriptError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ScriptError>>> {
        assert!(!self.is_done, "polled after the end");
        self.watch.polls.fetch_add(1, Ordering::SeqCst);
        if self.acts.front() == Some(&Act::Gate) {
            if !self.watch.is_open.load(Ordering::SeqCst) {
                return Poll::Pending;
            }
            self.acts.pop_front();
        }
        let act = self.acts.pop_front();
        self.watch.acts.fetch_add(usize::from(act.is_some()), Ordering::SeqCst);
        self.is_done = matches!(act, None | Some(Act::Fail | Act::Panic));
        let is_frame = matches!(act, Some(Act::Data(_) | Act::Trailers(_)));
        if act.is_none() || is_frame && self.is_end_stream() {
            self.watch.is_over.store(true, Ordering::SeqCst);
        }
        match act {
            None => Poll::Ready(None),
            Some(Act::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Act::Trailers(map)) => Poll::Ready(Some(Ok(Frame::trailers(map)))),
            Some(Act::Wait | Act::Gate) => Poll::Pending,
            Some(Act::Yield) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Act::Fail) => Poll::Ready(Some(Err(ScriptError))),
            Some(Act::Panic) => panic!("scripted"),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_frank && self.acts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.watch.is_dropped.store(true, Ordering::SeqCst);
    }
}

// === impl ScriptProgress ===

impl ScriptProgress {
    /// The number of acts that were played.
    pub(super) fn acts(&self) -> usize {
        self.acts.load(Ordering::SeqCst)
    }

    pub(super) fn open_gate(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }

    pub(super) fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }

    /// Whether the body has reported its end, in a poll or by `is_end_stream`.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    pub(super) fn is_dropped(&self) -> bool {
        self.is_dropped.load(Ordering::SeqCst)
    }
}

// === impl ScriptError ===

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("scripted")
    }
}

impl std::error::Error for ScriptError {}
