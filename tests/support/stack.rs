//! Services that check how they are called, and bodies that report how they are read.

use std::{
    cell::Cell,
    collections::VecDeque,
    marker::PhantomData,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use tokio::sync::{Notify, mpsc, oneshot};
use tower::{BoxError, Service};
use tower_refresh::{ReplayBody, refresher::BoxFuture};

pub type BoxedBody = UnsyncBoxBody<Bytes, BoxError>;
pub type ServiceResult = Result<Response<BoxedBody>, BoxError>;

/// A service that checks the contract of `Service`: every clone has to become ready, and a call
/// uses up readiness.
pub struct Probe<S> {
    inner: S,
    /// Whether an instance becomes ready only at its second poll.
    hesitates: bool,
    has_hesitated: bool,
    is_ready: bool,
    counts: Arc<ProbeCounts>,
}

/// The counters of all clones of a [`Probe`].
#[derive(Debug, Default)]
pub struct ProbeCounts {
    violations: AtomicUsize,
    held: AtomicUsize,
    asked: AtomicUsize,
    calls: AtomicUsize,
}

/// A service that sends every call to the test, which answers it.
pub struct ManualService<B>(mpsc::UnboundedSender<Exchange<B>>);

/// The calls of an [`ManualService`].
pub struct Exchanges<B>(mpsc::UnboundedReceiver<Exchange<B>>);

/// A call that waits for the answer of the test.
pub struct Exchange<B> {
    pub request: Request<ReplayBody<B>>,
    pub answer: oneshot::Sender<ServiceResult>,
}

/// A body that performs a list of steps. It is `Send` and not `Sync`.
pub struct ScriptedBody {
    steps: VecDeque<Step>,
    length: Option<u64>,
    polls: Arc<AtomicUsize>,
    _not_sync: PhantomData<Cell<()>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    /// Returns `Pending` once and wakes its task at once.
    Wait,
    Fail(&'static str),
}

/// A body whose frames the test sends.
pub struct ChannelBody(mpsc::UnboundedReceiver<Result<Frame<Bytes>, BoxError>>);

/// The sender of the frames of a [`ChannelBody`]. Dropping it ends the body.
pub type BodySender = mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>;

/// A body that is always ready and never ends.
pub struct EndlessBody(pub Bytes);

/// A body that reports how far it was read.
pub struct TrackedBody<B> {
    inner: B,
    reading: Arc<ReadProgress>,
}

#[derive(Debug, Default)]
pub struct ReadProgress {
    bytes: AtomicUsize,
    is_dropped: AtomicBool,
    ended: Notify,
    dropped: Notify,
}

/// Waits for a future for at most twenty seconds.
pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("the future hangs")
}

pub fn manual_service<B>() -> (ManualService<B>, Exchanges<B>) {
    let (calls, received) = mpsc::unbounded_channel();
    (ManualService(calls), Exchanges(received))
}

pub fn channel_body() -> (BodySender, ChannelBody) {
    let (feed, frames) = mpsc::unbounded_channel();
    (feed, ChannelBody(frames))
}

pub fn frame(data: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(data.as_bytes())))
}

pub fn data(data: &'static str) -> Step {
    Step::Data(Bytes::from_static(data.as_bytes()))
}

pub fn trailers(name: &'static str, value: &'static str) -> Step {
    Step::Trailers(HeaderMap::from_iter([(
        HeaderName::from_static(name),
        HeaderValue::from_static(value),
    )]))
}

pub fn boxed<B>(body: B) -> BoxedBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// A response with this status and body, for an [`Exchange`].
pub fn answer_with<B>(status: StatusCode, body: B) -> Response<BoxedBody>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut response = Response::new(boxed(body));
    *response.status_mut() = status;
    response
}

/// Reads a body to its end or its error, and returns its frames as steps.
pub async fn frames<B>(mut body: B) -> Vec<Step>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let mut steps = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            steps.push(Step::Fail("failed"));
            break;
        };
        steps.push(match frame.into_data() {
            Ok(data) => Step::Data(data),
            Err(frame) => Step::Trailers(
                frame.into_trailers().unwrap_or_else(|_| panic!("neither data nor trailers")),
            ),
        });
    }
    steps
}

pub async fn body_text<B>(body: B) -> String
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let collected = body.collect().await.map_err(Into::into).expect("the body has no error");
    String::from_utf8(collected.to_bytes().to_vec()).unwrap()
}

// === impl Probe ===

impl<S> Probe<S> {
    pub fn new(inner: S) -> (Self, Arc<ProbeCounts>) {
        let counts = Arc::<ProbeCounts>::default();
        let probe = Self {
            inner,
            hesitates: false,
            has_hesitated: false,
            is_ready: false,
            counts: counts.clone(),
        };
        (probe, counts)
    }

    /// A probe that becomes ready only at its second poll.
    pub fn hesitating(inner: S) -> (Self, Arc<ProbeCounts>) {
        let (mut probe, counts) = Self::new(inner);
        probe.hesitates = true;
        (probe, counts)
    }

    fn use_up(&mut self) -> bool {
        let was_ready = mem::take(&mut self.is_ready);
        if was_ready {
            self.counts.held.fetch_sub(1, SeqCst);
        }
        was_ready
    }
}

impl<S: Clone> Clone for Probe<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            hesitates: self.hesitates,
            has_hesitated: false,
            is_ready: false,
            counts: self.counts.clone(),
        }
    }
}

impl<S> Drop for Probe<S> {
    fn drop(&mut self) {
        self.use_up();
    }
}

impl<S, R> Service<R> for Probe<S>
where
    S: Service<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.counts.asked.fetch_add(1, SeqCst);
        if self.hesitates && !mem::replace(&mut self.has_hesitated, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.inner.poll_ready(cx))?;
        if !mem::replace(&mut self.is_ready, true) {
            self.counts.held.fetch_add(1, SeqCst);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> S::Future {
        self.counts.calls.fetch_add(1, SeqCst);
        if !self.use_up() {
            self.counts.violations.fetch_add(1, SeqCst);
        }
        self.has_hesitated = false;
        self.inner.call(request)
    }
}

// === impl ProbeCounts ===

impl ProbeCounts {
    /// The number of calls to instances that were not ready.
    pub fn violations(&self) -> usize {
        self.violations.load(SeqCst)
    }

    /// The number of instances that are ready and not yet called.
    pub fn held(&self) -> usize {
        self.held.load(SeqCst)
    }

    /// The number of polls of readiness.
    pub fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    pub fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }
}

// === impl ManualService ===

impl<B> Clone for ManualService<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B: Send + 'static> Service<Request<ReplayBody<B>>> for ManualService<B> {
    type Response = Response<BoxedBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, ServiceResult>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<B>>) -> Self::Future {
        let (answer, answered) = oneshot::channel();
        assert!(self.0.send(Exchange { request, answer }).is_ok(), "the test holds the receiver");
        Box::pin(async move { answered.await.expect("the test answers its calls") })
    }
}

impl<B> Exchanges<B> {
    pub async fn next(&mut self) -> Exchange<B> {
        in_time(self.0.recv()).await.expect("the test holds the service")
    }

    /// Checks that no further call has arrived, after all runnable tasks have run.
    pub async fn none(&mut self) {
        super::settle_tasks().await;
        assert!(self.0.try_recv().is_err(), "a request was sent");
    }
}

impl<B> Exchange<B> {
    pub fn bearer(&self) -> Option<&str> {
        super::bearer(&self.request)
    }

    /// Answers the call and drops its request unread.
    pub fn answer(self, response: Response<BoxedBody>) {
        assert!(self.answer.send(Ok(response)).is_ok(), "the caller holds the response future");
    }

    /// Answers with this status and an empty body.
    pub fn status(self, status: StatusCode) {
        self.answer(answer_with(status, http_body_util::Empty::new()));
    }
}

// === impl ScriptedBody ===

impl ScriptedBody {
    /// A body whose size hint is exact.
    pub fn sized(steps: Vec<Step>) -> Self {
        let mut body = Self::of_unknown_length(steps);
        let len = body
            .steps
            .iter()
            .map(|step| if let Step::Data(data) = step { data.len() } else { 0 })
            .sum::<usize>();
        body.length = Some(len as u64);
        body
    }

    /// A body without a size hint.
    pub fn of_unknown_length(steps: Vec<Step>) -> Self {
        Self { steps: steps.into(), length: None, polls: Arc::default(), _not_sync: PhantomData }
    }

    /// The number of polls.
    pub fn polls(&self) -> Arc<AtomicUsize> {
        self.polls.clone()
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        this.polls.fetch_add(1, SeqCst);
        Poll::Ready(match this.steps.pop_front() {
            None => None,
            Some(Step::Data(data)) => {
                this.length = this.length.map(|length| length - data.len() as u64);
                Some(Ok(Frame::data(data)))
            }
            Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Step::Fail(error)) => Some(Err(error.into())),
            Some(Step::Wait) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

// === impl ChannelBody ===

impl Body for ChannelBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx)
    }
}

// === impl EndlessBody ===

impl Body for EndlessBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(Some(Ok(Frame::data(self.0.clone()))))
    }
}

// === impl TrackedBody ===

impl<B> TrackedBody<B> {
    pub fn new(inner: B) -> (Self, Arc<ReadProgress>) {
        let reading = Arc::<ReadProgress>::default();
        (Self { inner, reading: reading.clone() }, reading)
    }
}

impl<B> Drop for TrackedBody<B> {
    fn drop(&mut self) {
        self.reading.is_dropped.store(true, SeqCst);
        self.reading.dropped.notify_one();
    }
}

impl<B> Body for TrackedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                self.reading.bytes.fetch_add(frame.data_ref().map_or(0, Bytes::len), SeqCst);
            }
            _ => self.reading.ended.notify_one(),
        }
        Poll::Ready(frame)
    }

    // `is_end_stream` is not forwarded, so that the reader sees the end in `poll_frame`.

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl ReadProgress {
    pub fn bytes(&self) -> usize {
        self.bytes.load(SeqCst)
    }

    pub fn is_dropped(&self) -> bool {
        self.is_dropped.load(SeqCst)
    }

    /// Waits until the body is dropped.
    pub async fn dropped(&self) {
        in_time(self.dropped.notified()).await;
    }

    /// Waits until the body was read to its end or its error.
    pub async fn ended(&self) {
        in_time(self.ended.notified()).await;
    }
}
