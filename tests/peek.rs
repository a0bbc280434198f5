//! Rejections in the body of a response.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod support;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use support::{
    bearer, get,
    stack::{Step, body_text, channel_body, data, frame, in_time, trailers},
    token,
};
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_refresh::{
    FailureMode, Origins, RefreshContext, RefreshLayer, ReplayBody, Session, Token,
    extension::{Anonymous, Rejected, Stamp},
    head::ResponseHead,
    peek::{BodyStart, PeekLayer},
    refresher_fn,
};

/// A body with a size hint, which waits once before each of its frames.
struct Script {
    steps: VecDeque<Step>,
    length: Option<u64>,
    is_frank: bool,
    has_waited: bool,
}

/// A body that must not be read.
struct Unreadable;

/// A body that rejects the credential, and the predicate that recognises such bodies.
type Detector = (&'static str, fn(&BodyStart<'_>) -> bool);

const GRAPHQL_ERROR: &str =
    r#"{"errors":[{"message":"expired","extensions":{"code":"UNAUTHENTICATED"}}],"data":null}"#;
const ARCGIS_ERROR: &str = r#"{"error":{"code":498,"message":"Invalid token.","details":[]}}"#;

fn is_json(response: &ResponseHead<'_>) -> bool {
    response.headers().get(CONTENT_TYPE).is_some_and(|value| value == "application/json")
}

fn is_graphql_error(start: &BodyStart<'_>) -> bool {
    start.contains(r#""errors""#) && start.contains(r#""code":"UNAUTHENTICATED""#)
}

fn is_arcgis_error(start: &BodyStart<'_>) -> bool {
    start.to_str_lossy().starts_with(r#"{"error":{"code":498,"#)
}

fn json<B>(body: B) -> Response<B> {
    Response::builder().header(CONTENT_TYPE, "application/json").body(body).unwrap()
}

fn stamped_session() -> (Session, Arc<AtomicUsize>) {
    let refreshes = Arc::<AtomicUsize>::default();
    let counter = refreshes.clone();
    let refresher = refresher_fn(move |_: RefreshContext| {
        counter.fetch_add(1, SeqCst);
        async { Ok(Token::bearer("at-2")?) }
    });
    (Session::new(token("at-1"), refresher), refreshes)
}

// === through the layers ===

#[tokio::test]
async fn a_rejection_inside_a_200_is_replayed_after_a_refresh() {
    let detectors: [Detector; 2] =
        [(GRAPHQL_ERROR, is_graphql_error), (ARCGIS_ERROR, is_arcgis_error)];
    for (rejection, is_rejection) in detectors {
        let (session, refreshes) = stamped_session();
        let upstream = service_fn(move |request: Request<ReplayBody<Full<Bytes>>>| async move {
            let is_good = bearer(&request) == Some("at-2");
            let text = if is_good { r#"{"data":{"me":"x"}}"# } else { rejection };
            Ok::<_, BoxError>(json(Full::<Bytes>::from(text)))
        });
        let client = ServiceBuilder::new()
            .layer(RefreshLayer::new(session, Origins::any()).expose_stamp(true))
            .layer(PeekLayer::new(is_json, is_rejection))
            .service(upstream);
        for _ in 0..2 {
            let response = client.clone().oneshot(get("/graphql")).await.unwrap();
            assert_eq!(body_text(response.into_body()).await, r#"{"data":{"me":"x"}}"#);
        }
        assert_eq!(refreshes.load(SeqCst), 1);
    }
}

#[tokio::test]
async fn a_second_rejection_reaches_the_caller_whole_and_without_the_marker() {
    for mode in [FailureMode::Error, FailureMode::Response] {
        let (session, refreshes) = stamped_session();
        let upstream = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
            Ok::<_, BoxError>(json(Full::<Bytes>::from(GRAPHQL_ERROR)))
        });
        let client = ServiceBuilder::new()
            .layer(RefreshLayer::new(session, Origins::any()).expose_stamp(true).failure_mode(mode))
            .layer(PeekLayer::new(is_json, is_graphql_error))
            .service(upstream);
        let response = client.oneshot(get("/graphql")).await.unwrap();
        assert!(response.extensions().get::<Rejected>().is_none());
        assert_eq!(response.body().size_hint().exact(), Some(GRAPHQL_ERROR.len() as u64));
        assert_eq!(body_text(response.into_body()).await, GRAPHQL_ERROR);
        assert_eq!(refreshes.load(SeqCst), 1);
    }
}

#[tokio::test]
async fn a_response_without_the_credential_is_not_read() {
    let (session, refreshes) = stamped_session();
    let upstream = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
        Ok::<_, BoxError>(json(Unreadable))
    });
    for expose in [true, false] {
        let layer = RefreshLayer::new(session.clone(), Origins::any()).expose_stamp(expose);
        let client = layer.layer(PeekLayer::new(is_json, |_| true).layer(upstream));
        let mut request = get("/");
        if expose {
            request.extensions_mut().insert(Anonymous);
        }
        let response = client.oneshot(request).await.unwrap();
        assert_eq!(response.into_body().size_hint().exact(), Some(4711));
    }
    assert_eq!(refreshes.load(SeqCst), 0);
}

#[tokio::test]
async fn a_response_whose_head_does_not_match_is_not_read() {
    let (session, _) = stamped_session();
    let upstream = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
        let mut response = json(Unreadable);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        Ok::<_, BoxError>(response)
    });
    let peek = PeekLayer::new(
        |response: &ResponseHead<'_>| {
            assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
            assert_eq!(response.request().uri(), "/events?x=1");
            is_json(response)
        },
        |_| true,
    );
    let client = RefreshLayer::new(session, Origins::any()).expose_stamp(true);
    let response = client.layer(peek.layer(upstream)).oneshot(get("/events?x=1")).await.unwrap();
    assert_eq!(response.into_body().size_hint().exact(), Some(4711));
}

#[tokio::test]
async fn the_head_waits_for_the_beginning_of_its_body_and_no_longer() {
    let (sender, body) = channel_body();
    let mut response = tokio_test::task::spawn(peek(json(body), |_| false, 10));
    assert!(response.poll().is_pending());
    sender.send(frame("12345")).unwrap();
    assert!(response.is_woken() && response.poll().is_pending());
    sender.send(frame("67890")).unwrap();
    let Poll::Ready(response) = response.poll() else { panic!("the limit is reached") };
    // The rest arrives as it comes.
    let mut body = response.into_body();
    for expected in ["12345", "67890"] {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), expected);
    }
    sender.send(frame("abc")).unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
}

#[tokio::test]
async fn endless_tiny_frames_are_read_no_further_than_64_frames() {
    for text in ["", "x"] {
        let body = support::stack::EndlessBody(Bytes::from_static(text.as_bytes()));
        let response = in_time(peek(json(body), |start| start.is_whole(), 1 << 20)).await;
        assert!(response.extensions().get::<Rejected>().is_none());
    }
}

#[tokio::test]
async fn the_predicate_sees_no_more_than_the_limit_and_whether_that_is_all() {
    // At the limit, only a body that reports its end without another poll is known to be whole.
    for (limit, is_frank, expected) in [
        (5, false, ("01234", false)),
        (5, true, ("01234", false)),
        (10, false, ("0123456789", false)),
        (10, true, ("0123456789", true)),
        (11, false, ("0123456789", true)),
        (11, true, ("0123456789", true)),
    ] {
        for steps in [vec![data("0123456789")], vec![data("012"), data("34567"), data("89")]] {
            let body = Script { is_frank, ..Script::new(steps.clone()) };
            let is_expected =
                move |start: &BodyStart<'_>| (&*start.to_str_lossy(), start.is_whole()) == expected;
            let response = peek(json(body), is_expected, limit).await;
            let is_marked = response.extensions().get::<Rejected>().is_some();
            assert!(is_marked, "{limit} {is_frank} {steps:?}");
        }
    }
}

// === bodies ===

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => "[a-z]{0,20}".prop_map(|text| Step::Data(text.into())),
        1 => Just(Step::Fail("failed")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_body_is_handed_on_whole_and_in_order(
        mut steps in prop::collection::vec(step(), 0..10),
        has_trailers in any::<bool>(),
        limit in 0..120_usize,
        is_frank in any::<bool>(),
        has_length in any::<bool>(),
        is_rejection in any::<bool>(),
    ) {
        if let Some(failed) = steps.iter().position(|step| matches!(step, Step::Fail(_))) {
            steps.truncate(failed + 1);
        } else if has_trailers {
            steps.push(trailers("x-sum", "1"));
        }
        let has_failed = matches!(steps.last(), Some(Step::Fail(_)));
        let length = steps.iter().map(length).sum::<u64>();
        let mut script = Script::new(steps.clone());
        (script.is_frank, script.length) = (is_frank, has_length.then_some(length));
        let (hint, was_over) = (script.size_hint(), script.is_end_stream());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let response = peek(json(script), move |_| is_rejection, limit).await;
            let is_marked = response.extensions().get::<Rejected>().is_some();
            // An error before the limit leaves the response as it is.
            if !is_rejection || was_over {
                assert!(!is_marked);
            } else if !has_failed {
                assert!(is_marked);
            }
            let mut body = response.into_body();
            assert_eq!(body.size_hint().upper(), hint.upper());
            assert!((hint.lower()..=length).contains(&body.size_hint().lower()));
            // An end that was read is reported.
            assert!(!body.is_end_stream() || steps.is_empty());
            let mut left = length;
            for step in &steps {
                assert!(!body.is_end_stream());
                if has_length {
                    assert_eq!(body.size_hint().exact(), Some(left));
                }
                left -= self::length(step);
                let got = in_time(body.frame()).await.unwrap();
                match (step, got) {
                    (Step::Fail(_), got) => assert!(got.is_err()),
                    (Step::Trailers(map), got) => {
                        assert_eq!(got.unwrap().into_trailers().unwrap(), *map);
                    }
                    (step, got) => {
                        assert_eq!(Step::Data(got.unwrap().into_data().unwrap()), *step);
                    }
                }
            }
            assert!(body.frame().await.is_none());
        });
    }
}

// === helpers ===

/// The response through a layer that reads every body.
async fn peek<B>(
    response: Response<B>,
    is_rejection: impl Fn(&BodyStart<'_>) -> bool + Send + Sync + 'static,
    limit: usize,
) -> Response<tower_refresh::peek::PeekBody<B>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (session, _) = stamped_session();
    let stamp = stamp(session).await;
    let response = std::cell::RefCell::new(Some(response));
    let upstream = service_fn(|_: Request<()>| {
        std::future::ready(Ok::<_, BoxError>(response.borrow_mut().take().unwrap()))
    });
    let request = Request::builder().extension(stamp).body(()).unwrap();
    let layer = PeekLayer::new(|_| true, is_rejection).limit(limit);
    layer.layer(upstream).oneshot(request).await.unwrap()
}

async fn stamp(session: Session) -> Stamp {
    let upstream = service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
        Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
    });
    let client = RefreshLayer::new(session, Origins::any()).expose_stamp(true).layer(upstream);
    client.oneshot(get("/")).await.unwrap().extensions().get::<Stamp>().unwrap().clone()
}

fn length(step: &Step) -> u64 {
    if let Step::Data(data) = step { data.len() as u64 } else { 0 }
}

// === impl Script ===

impl Script {
    fn new(steps: Vec<Step>) -> Self {
        Self { steps: steps.into(), length: None, is_frank: false, has_waited: false }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.has_waited = !self.has_waited;
        if self.has_waited {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let step = self.steps.pop_front();
        self.length = self.length.map(|left| left - step.as_ref().map_or(0, length));
        Poll::Ready(match step {
            Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Step::Trailers(map)) => Some(Ok(Frame::trailers(map))),
            Some(Step::Fail(text)) => Some(Err(text.into())),
            _ => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_frank && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Body for Unreadable {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        panic!("the body was read")
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(4711)
    }
}
