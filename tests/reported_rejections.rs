//! Rejections that a layer below or above the `RefreshLayer` reports: stamps and markers.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use support::{bearer, get, stack::in_time, token};
use tokio::sync::mpsc;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_refresh::{
    Origins, RefreshContext, RefreshLayer, ReplayBody, Session, Token,
    extension::{Rejected, Stamp},
    refresher::{Cause, Rejection},
    refresher_fn,
};

type Causes = mpsc::UnboundedReceiver<(Cause, Option<Rejection>)>;

#[tokio::test]
async fn a_reported_rejection_has_no_details_unless_they_are_given() {
    let headers = HeaderMap::from_iter([("x-claims".parse().unwrap(), "a".parse().unwrap())]);
    for details in [None, Some((StatusCode::IM_A_TEAPOT, headers))] {
        let (session, mut causes) = session();
        // A stamp does not keep the session alive.
        let client = RefreshLayer::new(session.clone(), Origins::any())
            .expose_stamp(true)
            .layer(service_fn(|_: Request<ReplayBody<_>>| answer(StatusCode::OK)));
        let response = client.oneshot(get("/")).await.unwrap();
        let stamp = response.extensions().get::<Stamp>().unwrap();
        match details.clone() {
            None => stamp.reject(),
            Some((status, headers)) => stamp.reject_with(status, headers),
        }
        let (cause, rejection) = in_time(causes.recv()).await.unwrap();
        assert_eq!(cause, Cause::Rejected);
        let seen = rejection.map(|rejection| (rejection.status(), rejection.headers().clone()));
        assert_eq!(seen, details);
    }
}

#[tokio::test]
async fn a_rejection_in_a_head_has_its_status_and_headers() {
    let (session, mut causes) = session();
    let upstream = service_fn(|request: Request<ReplayBody<_>>| {
        let is_good = bearer(&request) == Some("at-2");
        answer(if is_good { StatusCode::OK } else { StatusCode::UNAUTHORIZED })
    });
    let client = RefreshLayer::new(session, Origins::any()).layer(upstream);
    assert_eq!(client.oneshot(get("/")).await.unwrap().status(), StatusCode::OK);
    let (_, rejection) = causes.recv().await.unwrap();
    let rejection = rejection.unwrap();
    assert_eq!(rejection.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(rejection.headers()["x-reason"], "because");
}

#[tokio::test]
async fn a_marked_response_rejects_the_credential_of_the_layer_above_and_of_no_other() {
    let calls = Arc::<AtomicUsize>::default();
    let upstream = {
        let calls = calls.clone();
        // Rejects every token of the inner session, with a head that does not say so.
        service_fn(move |_: Request<ReplayBody<_>>| {
            calls.fetch_add(1, SeqCst);
            async {
                let mut response = answer(StatusCode::OK).await?;
                response.extensions_mut().insert(Rejected);
                Ok::<_, BoxError>(response)
            }
        })
    };
    let (inner, mut inner_causes) = session();
    let (outer, mut outer_causes) = session();
    let client = RefreshLayer::new(inner, Origins::any()).overwrite(true).layer(upstream);
    let client = RefreshLayer::new(outer, Origins::any()).layer(client);
    let response = client.oneshot(get("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.extensions().get::<Rejected>().is_none());
    assert_eq!(calls.load(SeqCst), 2, "one replay");
    assert_eq!(inner_causes.recv().await.unwrap().0, Cause::Rejected);
    assert!(outer_causes.try_recv().is_err());
}

// === helpers ===

/// A session that refreshes to `at-2`, and the causes of its flights.
fn session() -> (Session, Causes) {
    let (seen, causes) = mpsc::unbounded_channel();
    let refresher = refresher_fn(move |context: RefreshContext| {
        seen.send((context.cause(), context.rejection().cloned())).unwrap();
        async { Ok(Token::bearer("at-2")?) }
    });
    (Session::new(token("at-1"), refresher), causes)
}

async fn answer(status: StatusCode) -> Result<Response<Full<Bytes>>, BoxError> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response.headers_mut().insert("x-reason", HeaderValue::from_static("because"));
    Ok(response)
}
