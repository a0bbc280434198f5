//! Requests without an answer: sent or not?

use std::{
    future::{pending, ready},
    io,
    pin::pin,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::time::Instant;
use tower::{
    BoxError, Layer, ServiceBuilder, ServiceExt,
    buffer::Buffer,
    service_fn,
    util::{BoxCloneSyncService, BoxService},
};
use tower_refresh::{
    Origins, RefreshError,
    RefreshErrorKind::{self, Ambiguous, Transient},
    RefreshLayer, ReplayBody, Session,
    exchange::RequestBody,
    oauth2::RefreshTokenGrant,
    session::Phase,
};

use crate::hand::*;

fn failing<F, Fut>(f: F) -> Http
where
    F: Fn(Request<RequestBody>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Answer, BoxError>> + Send + 'static,
{
    BoxCloneSyncService::new(service_fn(f))
}

fn kind(result: Result<tower_refresh::Token, RefreshError>) -> RefreshErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn a_body_that_was_not_asked_for_was_not_sent() {
    let http = failing(|_| ready(Err("no such host".into())));
    let error = refresh(at(http)).unwrap_err();
    assert_eq!(error.kind(), Transient);
    assert_eq!(cause(&error), "the request to the authorization server was not sent");
}

#[test]
fn a_body_that_was_read_may_have_been_sent() {
    let http = failing(|request| async {
        request.into_body().collect().await?;
        Err(io::Error::from(io::ErrorKind::ConnectionReset).into())
    });
    let error = refresh(at(http)).unwrap_err();
    assert_eq!(error.kind(), Ambiguous);
    assert_eq!(cause(&error), "the authorization server did not answer");
}

#[test]
fn a_client_that_is_never_ready_has_sent_nothing() {
    #[derive(Clone)]
    struct Service;
    impl tower::Service<Request<RequestBody>> for Service {
        type Response = Response<Empty<Bytes>>;
        type Error = io::Error;
        type Future = std::future::Ready<Result<Self::Response, io::Error>>;
        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), io::Error>> {
            std::task::Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }
        fn call(&mut self, _: Request<RequestBody>) -> Self::Future {
            unreachable!("it was not ready")
        }
    }
    let url = URL.try_into().unwrap();
    let endpoint = tower_refresh::oauth2::TokenEndpoint::new(Service, url, me());
    assert_eq!(kind(refresh(endpoint)), Transient);
}

#[test]
fn a_body_of_a_failed_request_gives_its_content_to_no_caller() {
    let kept = Arc::new(Mutex::new(None));
    let keeping = kept.clone();
    let http = failing(move |request| {
        *keeping.lock().unwrap() = Some(request.into_body());
        ready(Err("time is over".into()))
    });
    assert_eq!(kind(refresh(at(http))), Transient);
    let form = kept.lock().unwrap().take().unwrap();
    let content = form.clone().into_bytes();
    assert!(content.is_empty());
    let error = now(form.collect()).unwrap_err();
    assert_eq!(error.to_string(), "the request was given up before it was sent");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_timed_out_is_not_sent_later() {
    let kept = Arc::new(Mutex::new(None));
    let keeping = kept.clone();
    let http = failing(move |request| {
        *keeping.lock().unwrap() = Some(request.into_body());
        pending()
    });
    let session = Session::builder(RefreshTokenGrant::new(at(http)))
        .credential(stale())
        .refresh_timeout(Duration::from_secs(5))
        .build();
    session.refresh().await.unwrap_err();
    let state = session.state();
    let Phase::Failed(failure) = state.phase() else { panic!("{:?}", state.phase()) };
    assert_eq!(failure.error().kind(), Ambiguous);
    let form = kept.lock().unwrap().take().unwrap();
    assert!(form.collect().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_made_in_time_is_transient() {
    let kept = Arc::new(Mutex::new(None));
    let keeping = kept.clone();
    let http = failing(move |request| {
        *keeping.lock().unwrap() = Some(request.into_body());
        pending()
    });
    for (endpoint, seconds) in
        [(at(http.clone()), 10), (at(http).connect_timeout(Duration::from_secs(3)), 3)]
    {
        let started = Instant::now();
        let session = Session::new(stale(), RefreshTokenGrant::new(endpoint));
        session.refresh().await.unwrap_err();
        assert_eq!(started.elapsed().as_secs(), seconds);
        let state = session.state();
        let Phase::Failed(failure) = state.phase() else { panic!("{:?}", state.phase()) };
        assert_eq!(failure.error().kind(), Transient);
        assert_eq!(cause(failure.error()), "the request to the authorization server was not sent");
        let form = kept.lock().unwrap().take().unwrap();
        assert!(form.collect().await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_take_longer_than_the_connection() {
    let http = |seconds| {
        at(failing(move |request| async move {
            request.into_body().collect().await?;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok(answer(200, GOOD))
        }))
    };
    let session = Session::new(stale(), RefreshTokenGrant::new(http(29)));
    assert_eq!(session.refresh().await.unwrap().access_token(), NEW_ACCESS);

    let session = Session::new(stale(), RefreshTokenGrant::new(http(31)));
    session.refresh().await.unwrap_err();
    let state = session.state();
    let Phase::Failed(failure) = state.phase() else { panic!("{:?}", state.phase()) };
    assert_eq!(failure.error().kind(), Ambiguous);
}

#[test]
fn a_body_as_bytes_counts_as_sent_unless_the_error_rules_it_out() {
    fn as_bytes(error: io::ErrorKind) -> Http {
        let inner = service_fn(move |_: Request<Full<Bytes>>| {
            ready(Err::<Answer, _>(io::Error::from(error)))
        });
        let http = ServiceBuilder::new()
            .map_request(|request: Request<RequestBody>| {
                request.map(|form| Full::new(form.into_bytes()))
            })
            .service(inner);
        BoxCloneSyncService::new(http.map_err(BoxError::from))
    }
    assert_eq!(kind(refresh(at(as_bytes(io::ErrorKind::TimedOut)))), Ambiguous);
    for (error, expected) in [
        (io::ErrorKind::ConnectionRefused, Transient),
        (io::ErrorKind::HostUnreachable, Transient),
        (io::ErrorKind::TimedOut, Transient),
        (io::ErrorKind::ConnectionReset, Ambiguous),
    ] {
        let endpoint = at(as_bytes(error)).unsent_if(|error| {
            let error = error.downcast_ref::<io::Error>();
            error.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        });
        assert_eq!(kind(refresh(endpoint)), expected);
    }
}

#[test]
fn an_answer_that_breaks_off_is_ambiguous_where_it_should_have_a_token() {
    for (code, expected) in [
        (200, Ambiguous),
        (201, Ambiguous),
        (400, Transient),
        (401, RefreshErrorKind::Terminal),
        (500, Transient),
    ] {
        let broken = move || {
            let frames = [
                Ok(Frame::data(Bytes::from(&GOOD.as_bytes()[..40]))),
                Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            ];
            let body = StreamBody::new(tokio_stream::iter(frames)).boxed_unsync();
            Response::builder().status(code).body(body).unwrap()
        };
        let error = refresh(at(http(broken).0)).unwrap_err();
        assert_eq!(error.kind(), expected, "{code}");
        assert!(!all_texts(&error).contains("hush"));
    }
}

#[test]
fn a_body_has_an_exact_length_and_an_end() {
    let http = failing(|request| async {
        let body = request.into_body();
        let length = body.size_hint().exact().unwrap();
        assert!(!body.is_end_stream());
        let mut body = pin!(body);
        let frame = body.frame().await.unwrap()?.into_data().unwrap();
        assert_eq!(frame.len() as u64, length);
        assert!(body.is_end_stream() && body.frame().await.is_none());
        Ok(answer(200, GOOD))
    });
    refresh(at(http)).unwrap();
}

/// A buffer hides the task of the request from the session.
#[tokio::test(start_paused = true)]
async fn a_client_that_uses_the_session_sends_the_refresh() {
    let slot: Arc<OnceLock<Http>> = Arc::default();
    let late = slot.clone();
    let endpoint = at(failing(move |request| late.get().unwrap().clone().oneshot(request)));
    let session = Session::new(stale(), RefreshTokenGrant::new(endpoint));

    let server = service_fn(|request: Request<ReplayBody<RequestBody>>| async move {
        assert!(
            !request.headers().get("authorization").unwrap().to_str().unwrap().contains("Bearer")
        );
        request.into_body().collect().await.map_err(|error| BoxError::from(error.to_string()))?;
        Ok::<_, BoxError>(answer(200, GOOD))
    });
    let client = RefreshLayer::new(session.clone(), Origins::any()).overwrite(true).layer(server);
    let buffered = Buffer::new(BoxService::new(client), 8);
    assert!(slot.set(BoxCloneSyncService::new(buffered)).is_ok());
    assert_eq!(session.refresh().await.unwrap().access_token(), NEW_ACCESS);
}
