//! Services that watch how they are used, and bodies that watch how they are read.

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

pub type AnyBody = UnsyncBoxBody<Bytes, BoxError>;
pub type AnyAnswer = Result<Response<AnyBody>, BoxError>;

/// Keeps an eye on the contract of `Service`: each clone is unready by itself, and a call uses its
/// readiness up.
pub struct Probe<S> {
    inner: S,
    /// Whether an instance is ready only when it is asked for the second time.
    hesitates: bool,
    has_hesitated: bool,
    is_ready: bool,
    book: Arc<Book>,
}

/// What all clones of a [`Probe`] have seen.
#[derive(Debug, Default)]
pub struct Book {
    violations: AtomicUsize,
    held: AtomicUsize,
    asked: AtomicUsize,
    calls: AtomicUsize,
}

/// A service whose calls the test answers, one by one.
pub struct Exchanging<B>(mpsc::UnboundedSender<Exchange<B>>);

/// The other end of an [`Exchanging`].
pub struct Exchanges<B>(mpsc::UnboundedReceiver<Exchange<B>>);

/// A call that waits for its answer.
pub struct Exchange<B> {
    pub request: Request<ReplayBody<B>>,
    pub answer: oneshot::Sender<AnyAnswer>,
}

/// A body that does one thing after another. It is `Send` and not `Sync`.
pub struct Steps {
    steps: VecDeque<Step>,
    length: Option<u64>,
    polls: Arc<AtomicUsize>,
    _not_sync: PhantomData<Cell<()>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    /// Not now, but at once.
    Wait,
    Fail(&'static str),
}

/// A body that is fed from outside.
pub struct Fed(mpsc::UnboundedReceiver<Result<Frame<Bytes>, BoxError>>);

/// The other end of a [`Fed`]. The body ends when it is dropped.
pub type Feed = mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>;

/// A body that has no end, and never waits.
pub struct Endless(pub Bytes);

/// A body that tells how far it was read.
pub struct Watched<B> {
    inner: B,
    reading: Arc<Reading>,
}

#[derive(Debug, Default)]
pub struct Reading {
    bytes: AtomicUsize,
    is_dropped: AtomicBool,
    ended: Notify,
    dropped: Notify,
}

/// No test waits longer than this, whatever is wrong.
pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it hangs")
}

pub fn exchanging<B>() -> (Exchanging<B>, Exchanges<B>) {
    let (calls, received) = mpsc::unbounded_channel();
    (Exchanging(calls), Exchanges(received))
}

pub fn fed() -> (Feed, Fed) {
    let (feed, frames) = mpsc::unbounded_channel();
    (feed, Fed(frames))
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

pub fn any<B>(body: B) -> AnyBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// A response with a body, for an [`Exchange`].
pub fn answer_with<B>(status: StatusCode, body: B) -> Response<AnyBody>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut response = Response::new(any(body));
    *response.status_mut() = status;
    response
}

/// The frames of a body up to its end or its error, as the steps that yield them.
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
    pub fn new(inner: S) -> (Self, Arc<Book>) {
        let book = Arc::<Book>::default();
        let probe = Self {
            inner,
            hesitates: false,
            has_hesitated: false,
            is_ready: false,
            book: book.clone(),
        };
        (probe, book)
    }

    /// One that is ready only when it is asked for the second time.
    pub fn hesitating(inner: S) -> (Self, Arc<Book>) {
        let (mut probe, book) = Self::new(inner);
        probe.hesitates = true;
        (probe, book)
    }

    fn use_up(&mut self) -> bool {
        let was_ready = mem::take(&mut self.is_ready);
        if was_ready {
            self.book.held.fetch_sub(1, SeqCst);
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
            book: self.book.clone(),
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
        self.book.asked.fetch_add(1, SeqCst);
        if self.hesitates && !mem::replace(&mut self.has_hesitated, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.inner.poll_ready(cx))?;
        if !mem::replace(&mut self.is_ready, true) {
            self.book.held.fetch_add(1, SeqCst);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> S::Future {
        self.book.calls.fetch_add(1, SeqCst);
        if !self.use_up() {
            self.book.violations.fetch_add(1, SeqCst);
        }
        self.has_hesitated = false;
        self.inner.call(request)
    }
}

// === impl Book ===

impl Book {
    /// Calls to instances that had not been polled ready.
    pub fn violations(&self) -> usize {
        self.violations.load(SeqCst)
    }

    /// Instances that are ready and not used.
    pub fn held(&self) -> usize {
        self.held.load(SeqCst)
    }

    /// How often any of them was asked whether it is ready.
    pub fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    pub fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }
}

// === impl Exchanging ===

impl<B> Clone for Exchanging<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B: Send + 'static> Service<Request<ReplayBody<B>>> for Exchanging<B> {
    type Response = Response<AnyBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, AnyAnswer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<B>>) -> Self::Future {
        let (answer, answered) = oneshot::channel();
        assert!(self.0.send(Exchange { request, answer }).is_ok(), "the test is still there");
        Box::pin(async move { answered.await.expect("the test answers its calls") })
    }
}

impl<B> Exchanges<B> {
    pub async fn next(&mut self) -> Exchange<B> {
        in_time(self.0.recv()).await.expect("the service is still there")
    }

    /// That nothing has been sent by now.
    pub async fn none(&mut self) {
        super::settle_tasks().await;
        assert!(self.0.try_recv().is_err(), "something was sent");
    }
}

impl<B> Exchange<B> {
    pub fn bearer(&self) -> Option<&str> {
        super::bearer(&self.request)
    }

    /// Answers, and drops the request unread.
    pub fn answer(self, response: Response<AnyBody>) {
        assert!(self.answer.send(Ok(response)).is_ok(), "the caller is still there");
    }

    /// Answers with no body.
    pub fn status(self, status: StatusCode) {
        self.answer(answer_with(status, http_body_util::Empty::new()));
    }
}

// === impl Steps ===

impl Steps {
    /// Its length is known.
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

    /// Its length is not known before its end.
    pub fn of_unknown_length(steps: Vec<Step>) -> Self {
        Self { steps: steps.into(), length: None, polls: Arc::default(), _not_sync: PhantomData }
    }

    /// How often it was polled.
    pub fn polls(&self) -> Arc<AtomicUsize> {
        self.polls.clone()
    }
}

impl Body for Steps {
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

// === impl Fed ===

impl Body for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx)
    }
}

// === impl Endless ===

impl Body for Endless {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(Some(Ok(Frame::data(self.0.clone()))))
    }
}

// === impl Watched ===

impl<B> Watched<B> {
    pub fn new(inner: B) -> (Self, Arc<Reading>) {
        let reading = Arc::<Reading>::default();
        (Self { inner, reading: reading.clone() }, reading)
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        self.reading.is_dropped.store(true, SeqCst);
        self.reading.dropped.notify_one();
    }
}

impl<B> Body for Watched<B>
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

    // Not the inner one's `is_end_stream`: the end must be seen in `poll_frame`.

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Reading {
    pub fn bytes(&self) -> usize {
        self.bytes.load(SeqCst)
    }

    pub fn is_dropped(&self) -> bool {
        self.is_dropped.load(SeqCst)
    }

    /// Until it is gone.
    pub async fn dropped(&self) {
        in_time(self.dropped.notified()).await;
    }

    /// Until it was read to its end, or to its error.
    pub async fn ended(&self) {
        in_time(self.ended.notified()).await;
    }
}
