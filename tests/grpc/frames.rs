//! Tests of single frames of a response. The test answers as the upstream, and time is paused.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use tokio::time::Instant;
use tower_refresh::{
    Error, ErrorKind, Origin, Origins, RefreshContext, RefreshLayer, Session, Token,
    detect::{GrpcUnauthenticated, Verdict, detect_fn},
    extension::{Anonymous, NoReplay},
    grpc::{self, TrailersLayer},
    refresher::Cause,
    refresher_fn,
};

use crate::{in_time, issuer::Issuer, upstream::*};

#[tokio::test(start_paused = true)]
async fn trailers_before_any_message_are_replayed() {
    for empty_data_frames in [0, 1] {
        let issuer = Issuer::default();
        let mut upstream = Upstream::below(TrailersLayer::new(), &issuer.expired_session());
        let call = upstream.call(unary());

        let first = upstream.next().await;
        assert_eq!(first.bearer(), "Bearer at-0");
        let feed = first.answer_with_headers();
        for _ in 0..empty_data_frames {
            feed.send(data("")).unwrap();
        }
        feed.send(trailers("16")).unwrap();

        let second = upstream.next().await;
        assert_eq!(second.bearer(), "Bearer at-1");
        let feed = second.answer_with_headers();
        feed.send(data("hello")).unwrap();
        feed.send(trailers("0")).unwrap();
        drop(feed);
        let frames = frames(call.await.unwrap().unwrap().into_body()).await;
        assert_eq!(frames, ["data hello", "trailers 0"]);
        assert_eq!(issuer.refreshes(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn other_frames_pass_unchanged_and_in_order() {
    let scripts: &[&[&str]] = &[
        &[],
        &["data a"],
        &["data a", "trailers 0"],
        &["data a", "data b", "trailers 0"],
        &["data ", "data a", "trailers 0"],
        &["data ", "data ", "trailers 16"],
        &["data ", "trailers 0"],
        &["data "],
        &["trailers 0"],
        &["trailers 7"],
        &["trailers 14"],
        &["trailers -"],
        &["data a", "trailers 16"],
        &["error"],
        &["data ", "error"],
        &["data a", "error"],
    ];
    for script in scripts {
        for at_once in [true, false] {
            let issuer = Issuer::default();
            let mut upstream = Upstream::below(TrailersLayer::new(), &issuer.session());
            let call = upstream.call(unary());
            let feed = upstream.next().await.answer_with_headers();
            let mut response = None;
            if !at_once {
                response = Some(call.await.unwrap().unwrap());
                for step in *script {
                    feed.send(frame(step)).unwrap();
                }
            } else {
                for step in *script {
                    feed.send(frame(step)).unwrap();
                }
                response.get_or_insert(call.await.unwrap().unwrap());
            }
            drop(feed);
            let response = response.unwrap();
            assert!(!response.headers().contains_key("grpc-status"));
            assert_eq!(frames(response.into_body()).await, *script, "at once: {at_once}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_after_a_message_reaches_the_caller_and_the_next_call_refreshes_first() {
    let issuer = Issuer::default();
    let session = issuer.session();
    let mut upstream = Upstream::below(TrailersLayer::new(), &session);
    let call = upstream.call(unary());
    let feed = upstream.next().await.answer_with_headers();
    feed.send(data("first")).unwrap();
    let response = call.await.unwrap().unwrap();

    issuer.expire();
    feed.send(trailers("16")).unwrap();
    drop(feed);
    assert_eq!(issuer.refreshes(), 0);
    assert_eq!(frames(response.into_body()).await, ["data first", "trailers 16"]);

    let call = upstream.call(unary());
    let next = upstream.next().await;
    assert_eq!(next.bearer(), "Bearer at-1", "it was not sent with the old token");
    drop(next.answer_with_headers());
    call.await.unwrap().unwrap();
    assert_eq!(issuer.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn trailers_after_the_grace_period_are_reported_to_the_session() {
    let issuer = Issuer::default();
    let session = issuer.session();
    let mut upstream = Upstream::below(TrailersLayer::new(), &session);
    let call = upstream.call(unary());
    let feed = upstream.next().await.answer_with_headers();
    let response = call.await.unwrap().unwrap();
    issuer.expire();
    feed.send(trailers("16")).unwrap();
    drop(feed);
    assert_eq!(frames(response.into_body()).await, ["trailers 16"]);
    in_time(session.subscribe().wait_for(|state| state.flights_settled() == 1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn headers_without_a_frame_are_passed_on_after_the_grace_period() {
    const DEFAULT: Duration = Duration::from_millis(20);
    let (_client, sending) = streaming();
    let cases = [
        (TrailersLayer::new(), sending, Duration::ZERO),
        (TrailersLayer::new().grace(Duration::ZERO), unary(), Duration::ZERO),
        (TrailersLayer::new(), unary(), DEFAULT),
    ];
    for (layer, request, delay) in cases {
        let issuer = Issuer::default();
        let mut upstream = Upstream::below(layer, &issuer.session());
        let start = Instant::now();
        let call = upstream.call(request);
        let mut exchange = upstream.next().await;
        if !delay.is_zero() {
            exchange = exchange.read_request().await;
        }
        let feed = exchange.answer_with_headers_to();
        let response = call.await.unwrap().unwrap();
        // Tokio's timer has a resolution of one millisecond, and rounds up.
        assert!(
            (delay..=delay + Duration::from_millis(1)).contains(&start.elapsed()),
            "{:?}",
            start.elapsed()
        );

        let mut body = response.into_body();
        feed.send(data("later")).unwrap();
        assert_eq!(describe(body.frame().await), Some("data later".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn headers_of_a_call_that_has_sent_everything_are_held_for_the_grace_period() {
    const GRACE: Duration = Duration::from_millis(50);
    let issuer = Issuer::default();
    let mut upstream =
        Upstream::below(TrailersLayer::new().grace(GRACE), &issuer.expired_session());

    // Rejected in time.
    let call = upstream.call(unary());
    let feed = upstream.next().await.read_request().await.answer_with_headers();
    tokio::time::advance(GRACE / 2).await;
    assert!(!call.is_finished());
    feed.send(trailers("16")).unwrap();

    // No frame at all.
    let second = upstream.next().await.read_request().await;
    assert_eq!(second.bearer(), "Bearer at-1");
    let start = Instant::now();
    let feed = second.answer_with_headers();
    let response = call.await.unwrap().unwrap();
    assert!(
        (GRACE..=GRACE + Duration::from_millis(1)).contains(&start.elapsed()),
        "{:?}",
        start.elapsed()
    );

    // The first message ends it early.
    feed.send(data("late")).unwrap();
    assert_eq!(describe(response.into_body().frame().await), Some("data late".to_owned()));
    let call = upstream.call(unary());
    let third = upstream.next().await.read_request().await;
    let start = Instant::now();
    let feed = third.answer_with_headers();
    tokio::time::advance(GRACE / 2).await;
    feed.send(data("hello")).unwrap();
    let response = call.await.unwrap().unwrap();
    assert_eq!(start.elapsed(), GRACE / 2);
    assert_eq!(describe(response.into_body().frame().await), Some("data hello".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn headers_of_a_call_that_is_still_sending_are_never_held() {
    let issuer = Issuer::default();
    let layer = TrailersLayer::new().grace(Duration::from_secs(3600));
    let mut upstream = Upstream::below(layer, &issuer.session());
    let start = Instant::now();
    let (client, request) = streaming();
    let call = upstream.call(request);
    let mut exchange = upstream.next().await;
    let feed = exchange.answer_with_headers_to();
    let response = call.await.unwrap().unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);

    // The client sends after it has the headers, and the server after that.
    client.send(data("ping")).unwrap();
    assert_eq!(describe(exchange.request.body_mut().frame().await), Some("data ping".to_owned()));
    feed.send(data("pong")).unwrap();
    assert_eq!(describe(response.into_body().frame().await), Some("data pong".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn headers_are_held_once_an_upload_has_ended() {
    let issuer = Issuer::default();
    let layer = TrailersLayer::new().grace(Duration::from_secs(1));
    let mut upstream = Upstream::below(layer, &issuer.expired_session());
    let (client, request) = streaming();
    client.send(data("all")).unwrap();
    drop(client);
    let call = upstream.call(request);
    let feed = upstream.next().await.read_request().await.answer_with_headers();
    tokio::time::advance(Duration::from_millis(500)).await;
    feed.send(trailers("16")).unwrap();

    let mut again = upstream.next().await;
    assert_eq!(again.bearer(), "Bearer at-1");
    assert_eq!(describe(again.request.body_mut().frame().await), Some("data all".to_owned()));
    call.abort();
}

#[tokio::test(start_paused = true)]
async fn a_call_has_sent_everything_with_the_last_frame_of_its_body() {
    const GRACE: Duration = Duration::from_millis(50);
    let issuer = Issuer::default();
    let mut upstream = Upstream::below(TrailersLayer::new().grace(GRACE), &issuer.session());
    let call = upstream.call(unary());
    let mut exchange = upstream.next().await;
    // A client need not poll for another frame, or drop the body.
    assert_eq!(
        describe(exchange.request.body_mut().frame().await),
        Some("data message".to_owned())
    );
    let start = Instant::now();
    let _feed = exchange.answer_with_headers_to();
    call.await.unwrap().unwrap();
    assert!(start.elapsed() >= GRACE);
}

#[tokio::test(start_paused = true)]
async fn a_second_rejection_in_trailers_reaches_the_caller_with_all_its_metadata() {
    let issuer = Issuer::default();
    let mut upstream = Upstream::below(TrailersLayer::new(), &issuer.expired_session());
    let call = upstream.call(unary());
    for _ in 0..2 {
        let (feed, body) = fed();
        let mut response = grpc_response(body);
        response.headers_mut().insert("x-both", HeaderValue::from_static("head"));
        response.headers_mut().insert("x-head", HeaderValue::from_static("1"));
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("16"));
        trailers.insert("grpc-message", HeaderValue::from_static("no"));
        trailers.append("x-both", HeaderValue::from_static("a"));
        trailers.append("x-both", HeaderValue::from_static("b"));
        feed.send(Ok(Frame::trailers(trailers))).unwrap();
        upstream.next().await.answer.send(Ok(response)).ok().unwrap();
    }
    let response = call.await.unwrap().unwrap();
    assert_eq!(issuer.refreshes(), 1);
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "16");
    assert_eq!(response.headers()["grpc-message"], "no");
    assert_eq!(response.headers()["x-head"], "1");
    let both: Vec<_> = response.headers().get_all("x-both").iter().collect();
    assert_eq!(both, ["head", "a", "b"]);
    assert!(response.body().is_end_stream());
    assert_eq!(response.body().size_hint().exact(), Some(0));
    assert!(frames(response.into_body()).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_cannot_be_replayed_gets_its_rejection_and_the_refresh_runs() {
    let issuer = Issuer::default();
    let session = issuer.expired_session();
    let mut upstream = Upstream::below(TrailersLayer::new(), &session);
    let mut request = unary();
    request.extensions_mut().insert(NoReplay);
    let call = upstream.call(request);
    upstream.next().await.answer_with_headers().send(trailers("16")).unwrap();
    assert_eq!(call.await.unwrap().unwrap().headers()["grpc-status"], "16");
    in_time(session.subscribe().wait_for(|state| state.flights_settled() == 1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rejection_in_the_head_is_left_to_the_layer_above() {
    for (status, grpc_status) in [(200, Some("16")), (401, None)] {
        let issuer = Issuer::default();
        let mut upstream = Upstream::below(TrailersLayer::new(), &issuer.expired_session());
        let call = upstream.call(unary());
        let mut rejection =
            grpc_response(Empty::new().map_err(|never| match never {}).boxed_unsync());
        *rejection.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(grpc_status) = grpc_status {
            rejection.headers_mut().insert("grpc-status", HeaderValue::from_static(grpc_status));
        }
        upstream.next().await.answer.send(Ok(rejection)).ok().unwrap();
        let second = upstream.next().await;
        assert_eq!(second.bearer(), "Bearer at-1");
        drop(second.answer_with_headers());
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn responses_that_are_not_grpc_are_not_read() {
    let issuer = Issuer::default();
    let layer = TrailersLayer::new().grace(Duration::from_secs(1));
    let mut upstream = Upstream::below(layer, &issuer.session());
    for content_type in [None, Some("text/html"), Some("application/json")] {
        let start = Instant::now();
        let call = upstream.call(unary());
        let mut response = Response::new(Unreadable.boxed_unsync());
        if let Some(content_type) = content_type {
            response.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
        }
        upstream.next().await.read_request().await.answer.send(Ok(response)).ok().unwrap();
        let response = call.await.unwrap().unwrap();
        assert_eq!(response.body().size_hint().exact(), Some(4711));
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

/// As with `tonic_web::GrpcWebClientLayer` below: that layer turns the last data of a response into
/// trailers, leaves the content type, and may report the end of its body before the trailers.
#[tokio::test(start_paused = true)]
async fn trailers_of_a_grpc_web_layer_below_are_inspected() {
    for content_type in ["application/grpc-web+proto", "application/grpc-web"] {
        let issuer = Issuer::default();
        let session = issuer.expired_session();
        let mut upstream = Upstream::below(TrailersLayer::new(), &session);
        let call = upstream.call(unary());
        for frames in [&["trailers 16"][..], &["data hello", "trailers 0"]] {
            let mut response = grpc_response(ends_early(frames));
            let content_type = HeaderValue::from_static(content_type);
            response.headers_mut().insert("content-type", content_type);
            upstream.next().await.answer.send(Ok(response)).ok().unwrap();
        }
        let body = call.await.unwrap().unwrap().into_body();
        assert_eq!(frames(body).await, ["data hello", "trailers 0"]);
        assert_eq!(issuer.refreshes(), 1);

        // A rejection after a message.
        issuer.expire();
        let call = upstream.call(unary());
        let mut response = grpc_response(ends_early(&["data hello", "trailers 16"]));
        response.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
        upstream.next().await.answer.send(Ok(response)).ok().unwrap();
        let body = call.await.unwrap().unwrap().into_body();
        assert_eq!(frames(body).await, ["data hello", "trailers 16"]);
        in_time(session.subscribe().wait_for(|state| state.flights_settled() == 2)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_detector_decides_about_trailers() {
    // The layer above has the default detector of gRPC, which knows nothing of this status.
    let detect = || {
        detect_fn(|trailers| {
            assert_eq!(trailers.status(), StatusCode::OK);
            assert_eq!(trailers.request().uri().path(), "/echo");
            assert_eq!(trailers.request().method(), Method::POST);
            match trailers.headers().get("grpc-status").map(HeaderValue::as_bytes) {
                Some(b"3") => Verdict::Rejected,
                Some(b"9") => Verdict::Retry,
                _ => Verdict::Accepted,
            }
        })
    };
    let issuer = Issuer::default();
    let session = issuer.expired_session();
    let mut upstream = Upstream::below(TrailersLayer::new().detect(detect()), &session);
    let call = upstream.call(unary());
    upstream.next().await.answer_with_headers().send(trailers("3")).unwrap();
    let second = upstream.next().await;
    assert_eq!(second.bearer(), "Bearer at-1");
    let feed = second.answer_with_headers();
    feed.send(data("hello")).unwrap();
    feed.send(trailers("16")).unwrap();
    drop(feed);
    // Status 16 is no rejection to this detector.
    let body = call.await.unwrap().unwrap().into_body();
    assert_eq!(frames(body).await, ["data hello", "trailers 16"]);
    assert_eq!(issuer.refreshes(), 1);

    // After a message.
    issuer.expire();
    let call = upstream.call(unary());
    let feed = upstream.next().await.answer_with_headers();
    feed.send(data("hello")).unwrap();
    feed.send(trailers("3")).unwrap();
    drop(feed);
    let body = call.await.unwrap().unwrap().into_body();
    assert_eq!(frames(body).await, ["data hello", "trailers 3"]);
    in_time(session.subscribe().wait_for(|state| state.flights_settled() == 2)).await.unwrap();
    assert_eq!(issuer.refreshes(), 2);

    // For a retry, the layer above decides by the head that has the trailers.
    let call = upstream.call(unary());
    upstream.next().await.answer_with_headers().send(trailers("9")).unwrap();
    let response = call.await.unwrap().unwrap();
    assert_eq!(response.headers()["grpc-status"], "9");
    assert_eq!(issuer.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_refresher_gets_the_status_and_the_trailers_of_a_rejection() {
    for has_message in [false, true] {
        let (seen, mut rejections) = tokio::sync::mpsc::unbounded_channel();
        let refresher = refresher_fn(move |context: RefreshContext| {
            let rejection = context.rejection().cloned();
            seen.send((context.cause(), rejection)).unwrap();
            async { Ok(Token::bearer("at-1")?) }
        });
        let session = Session::new(Token::bearer("at-0").unwrap(), refresher);
        let mut upstream = Upstream::below(TrailersLayer::new(), &session);
        let call = upstream.call(unary());
        let feed = upstream.next().await.answer_with_headers();
        if has_message {
            feed.send(data("hello")).unwrap();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("16"));
        trailers.insert("claims", HeaderValue::from_static("e30="));
        feed.send(Ok(Frame::trailers(trailers))).unwrap();
        drop(feed);
        if has_message {
            frames(call.await.unwrap().unwrap().into_body()).await;
        }
        let (cause, rejection) = in_time(rejections.recv()).await.unwrap();
        assert_eq!(cause, Cause::Rejected);
        let rejection = rejection.unwrap();
        assert_eq!(rejection.status(), StatusCode::OK);
        assert_eq!(rejection.headers()["claims"], "e30=");
        assert_eq!(rejection.headers()["grpc-status"], "16");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_not_grpc_are_not_tracked() {
    let issuer = Issuer::default();
    let layer = TrailersLayer::new().grace(Duration::from_secs(1));
    let mut upstream = Upstream::below(layer, &issuer.session());
    let mut request = unary();
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    let start = Instant::now();
    let call = upstream.call(request);
    let feed = upstream.next().await.read_request().await.answer_with_headers();
    let response = call.await.unwrap().unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    feed.send(trailers("16")).unwrap();
    drop(feed);
    assert_eq!(frames(response.into_body()).await, ["trailers 16"]);
    assert_eq!(issuer.refreshes(), 0);
}

#[tokio::test(start_paused = true)]
async fn calls_without_the_session_s_credential_pass_unchanged() {
    let issuer = Issuer::default();
    let mut upstream = Upstream::below(TrailersLayer::new(), &issuer.session());
    let mut anonymous = unary();
    anonymous.extensions_mut().insert(Anonymous);
    let mut authorised = unary();
    authorised.headers_mut().insert("authorization", HeaderValue::from_static("Basic eDp5"));
    for request in [anonymous, authorised] {
        let call = upstream.call(request);
        let feed = upstream.next().await.answer_with_headers();
        feed.send(trailers("16")).unwrap();
        drop(feed);
        let response = call.await.unwrap().unwrap();
        assert!(!response.headers().contains_key("grpc-status"));
        assert_eq!(frames(response.into_body()).await, ["trailers 16"]);
    }
    assert_eq!(issuer.refreshes(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_an_exposed_stamp_trailers_pass_unchanged() {
    let issuer = Issuer::default();
    let layer =
        RefreshLayer::new(issuer.expired_session(), Origins::any()).detect(GrpcUnauthenticated);
    let mut upstream = Upstream::below_layer(TrailersLayer::new(), layer);
    let call = upstream.call(unary());
    let feed = upstream.next().await.answer_with_headers();
    feed.send(trailers("16")).unwrap();
    drop(feed);
    assert_eq!(frames(call.await.unwrap().unwrap().into_body()).await, ["trailers 16"]);
}

/// A generated client sends URIs without an authority, which the channel completes.
#[tokio::test(start_paused = true)]
async fn a_relative_uri_carries_the_credential_in_cleartext_only_to_a_listed_origin() {
    let origin = Origin::from_static("http://api.example.com");
    let issuer = Issuer::default();
    let unlisted = Origins::any().relative_to(origin.clone());
    let layer = RefreshLayer::new(issuer.session(), unlisted);
    let call = Upstream::below_layer(TrailersLayer::new(), layer).call(unary());
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.downcast_ref::<Error>().unwrap().kind(), ErrorKind::Cleartext);

    let layer = grpc::refresh_layer(issuer.session(), origin);
    let mut upstream = Upstream::below_layer(TrailersLayer::new(), layer);
    let call = upstream.call(unary());
    let sent = upstream.next().await;
    assert_eq!(sent.bearer(), "Bearer at-0");
    drop(sent.answer_with_headers());
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_size_hint_of_a_body_includes_peeked_frames() {
    let issuer = Issuer::default();
    let mut upstream = Upstream::below(TrailersLayer::new(), &issuer.session());
    let call = upstream.call(unary());
    let body =
        Full::new(Bytes::from_static(b"12345")).map_err(|never| match never {}).boxed_unsync();
    upstream.next().await.answer.send(Ok(grpc_response(body))).ok().unwrap();
    let mut body = call.await.unwrap().unwrap().into_body();
    assert!(!body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(5));
    assert_eq!(describe(body.frame().await), Some("data 12345".to_owned()));
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_inner_service_pass_unchanged() {
    #[derive(Debug)]
    struct Unreachable;
    impl std::fmt::Display for Unreachable {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("unreachable")
        }
    }
    impl std::error::Error for Unreachable {}

    let issuer = Issuer::default();
    let mut upstream = Upstream::below(TrailersLayer::new(), &issuer.session());
    let call = upstream.call(unary());
    upstream.next().await.answer.send(Err(Unreachable.into())).ok().unwrap();
    assert!(call.await.unwrap().unwrap_err().is::<Unreachable>());
}
